package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"go.temporal.io/sdk/client"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/workflow"
)

func Translate(_ context.Context, sentence string) (string, error) { return "(" + sentence + ")", nil }

// Collect is told of the sentences of an order as they are done.
func Collect(ctx sdkworkflow.Context, sentences int) error {
	for sentences > 0 {
		var completions []workflow.Completion
		sdkworkflow.GetSignalChannel(ctx, "translated").Receive(ctx, &completions)
		for _, c := range completions {
			var spanish string
			if err := c.Get(ctx, &spanish); err != nil {
				return err // a *temporal.ActivityError, as from ExecuteActivity
			}
			sdkworkflow.GetLogger(ctx).Info("Translated.", "Order", c.Batch, "Sentence", c.Index, "Spanish", spanish)
		}
		sentences -= len(completions)
	}
	return nil
}

// A process that is neither workflow nor worker, such as an HTTP server, enqueues a batch.
// The workflow that collects the results is started by the first of them.
func ExamplePlugin_Queue() { //nolint:testableexamples // it needs a Temporal server and a worker
	slip, err := plugin.New(plugin.Options{
		RedisURL: "redis://localhost:6379",
		Marks:    []plugin.Mark{{Activity: Translate}},
	})
	if err != nil {
		log.Fatalln(err)
	}
	c, err := client.Dial(client.Options{Plugins: []client.Plugin{slip}})
	if err != nil {
		log.Fatalln(err)
	}
	defer c.Close()
	ctx := context.Background()

	var tasks []activity.Task
	for _, sentence := range []string{"Hello.", "How are you?"} {
		tasks = append(tasks, activity.Task{Activity: Translate, Args: []any{sentence}, StartToCloseTimeout: time.Minute})
	}
	handle, err := slip.Queue().EnqueueBatch(ctx, activity.BatchOptions{
		ID:        "order-17", // the same ID again adds nothing
		TaskQueue: "translate",
		OnComplete: &activity.OnComplete{
			WorkflowID: "order-17", SignalName: "translated",
			Start: &activity.StartWorkflow{
				Options:  client.StartWorkflowOptions{TaskQueue: "translate"},
				Workflow: Collect, Args: []any{len(tasks)},
			},
		},
	}, tasks)
	if errors.Is(err, activity.ErrUnsure) {
		log.Println("enqueue the same batch again:", handle.ID)
	}
	fmt.Println(handle, err) // the handle is text that may be stored, for Status and Cancel
}

// What became of tasks that nobody is told of can be asked.
func ExamplePlugin_Queue_status() { //nolint:testableexamples // same
	var slip *plugin.Plugin // given to a client
	handle, err := activity.ParseHandle("v1/translate/2/order-17")
	if err != nil {
		log.Fatalln(err)
	}
	tasks, err := slip.Queue().Status(context.Background(), handle)
	if err != nil {
		log.Fatalln(err) // batchqueue.ErrNotFound: over for longer than its retention
	}
	for _, t := range tasks {
		if t.Outcome == workflow.OutcomeFailed {
			fmt.Println("sentence", t.Index, "failed")
		}
	}
}
