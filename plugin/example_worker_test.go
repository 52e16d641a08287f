package plugin_test

import (
	"context"
	"log"
	"os"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow" //nolint:importas // as in a user's program

	"github.com/slipstream-go/slipstream/plugin"
)

func CountLetters(_ context.Context, sentence string) (int, error) {
	return len(strings.Trim(sentence, "()")), nil
}

func Pipeline(ctx workflow.Context, sentence string) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})

	var spanish string
	if err := workflow.ExecuteActivity(ctx, Translate, sentence).Get(ctx, &spanish); err != nil {
		return 0, err
	}
	var letters int
	err := workflow.ExecuteActivity(ctx, CountLetters, spanish).Get(ctx, &letters)
	return letters, err
}

// A worker with the plugin. Workflow and activities know nothing of it.
func Example() { //nolint:testableexamples // it needs Temporal and Redis
	slip, err := plugin.New(plugin.Options{
		RedisURL: "redis://localhost:6379",
		Marks:    []plugin.Mark{{Activity: Translate}, {Activity: "CountLetters"}},
	})
	if err != nil {
		log.Fatalln(err)
	}
	c, err := client.Dial(client.Options{
		HostPort: "localhost:7233",
		Plugins:  []client.Plugin{slip},
	})
	if err != nil {
		log.Fatalln(err)
	}
	defer c.Close()

	w := worker.New(c, "translate", worker.Options{})
	w.RegisterWorkflow(Pipeline)
	w.RegisterActivity(Translate)
	w.RegisterActivity(CountLetters)
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatalln(err) //nolint:gocritic // the program ends here
	}
}

// The first release that has the plugin routes nothing yet; the next one does.
func ExampleOptions_disabled() { //nolint:testableexamples // it needs a Redis
	slip, err := plugin.New(plugin.Options{
		RedisURL: os.Getenv("REDIS_URL"),
		Marks:    []plugin.Mark{{Activity: Translate}, {Activity: "CountLetters"}},
		Disabled: os.Getenv("SLIPSTREAM") != "on",
	})
	if err != nil {
		log.Fatalln(err)
	}
	_ = slip // for client.Options.Plugins
}
