package activity_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/workflow"
)

func Translate(_ context.Context, sentence string) (string, error) { return "(" + sentence + ")", nil }

// openQueue stands in for plugin.Plugin.Queue, with a Redis in this process. A worker of the
// task queue "translate" has said that it handles Translate, and takes nothing for now.
func openQueue(ctx context.Context) (queue *activity.Queue, end func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	q, err := batchqueue.New(rdb, batchqueue.Options{Namespace: "default"})
	if err != nil {
		panic(err)
	}
	if err := q.Announce(ctx, activity.PoolName("translate", "", ""), []string{"Translate"}); err != nil {
		panic(err)
	}
	r := activity.NewRuntime(activity.NewClient(&client.Options{}), activity.RuntimeOptions{
		Queue: q, Marks: map[string]string{"Translate": ""}, MaxPayloadBytes: 2 << 20,
	})
	return activity.NewQueue(func() (*activity.Runtime, error) { return r, nil }), func() {
		_ = rdb.Close()
		server.Close()
	}
}

func tasks(sentences ...string) (out []activity.Task) {
	for _, s := range sentences {
		out = append(out, activity.Task{Activity: Translate, Args: []any{s}, StartToCloseTimeout: time.Minute})
	}
	return out
}

// Enqueue is for one task. Nobody is told of the result here; Status says how it ended.
func ExampleQueue_Enqueue() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	handle, err := queue.Enqueue(ctx, activity.BatchOptions{ID: "greeting", TaskQueue: "translate"},
		activity.Task{Activity: Translate, Args: []any{"Hello."}, StartToCloseTimeout: time.Minute})
	fmt.Println(handle.ID, err)
	// Output: greeting <nil>
}

// The same ID again adds what is missing and nothing else, so a caller that does not know
// whether it was heard may repeat itself.
func ExampleQueue_EnqueueBatch() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	options := activity.BatchOptions{ID: "order-17", TaskQueue: "translate"}
	for range 2 {
		if _, err := queue.EnqueueBatch(ctx, options, tasks("Hello.", "How are you?")); err != nil {
			fmt.Println(err)
		}
	}
	stats, err := queue.Stats(ctx, activity.Pool{TaskQueue: "translate"})
	fmt.Println(stats.Depth(), err)
	// Output: 2 <nil>
}

// Errors say whether something may have been enqueued.
func ExampleQueue_EnqueueBatch_errors() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	_, err := queue.EnqueueBatch(ctx, activity.BatchOptions{TaskQueue: "translate"},
		[]activity.Task{{Activity: "CountLetters", StartToCloseTimeout: time.Minute}})
	switch {
	case errors.Is(err, activity.ErrNotMarked):
		fmt.Println("mark it first")
	case errors.Is(err, activity.ErrNotHandled):
		fmt.Println("start a worker first")
	case errors.Is(err, activity.ErrUnsure):
		fmt.Println("enqueue it again with the same ID")
	}
	// Output: mark it first
}

// The handle is text that may be stored, and read by another process.
func ExampleQueue_Status() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	enqueued, err := queue.EnqueueBatch(ctx, activity.BatchOptions{ID: "order-17", TaskQueue: "translate"}, tasks("Hello.", "How are you?"))
	if err != nil {
		fmt.Println(err)
	}
	handle, err := activity.ParseHandle(enqueued.String())
	if err != nil {
		fmt.Println(err)
	}
	all, err := queue.Status(ctx, handle)
	for _, t := range all {
		fmt.Println(t.Index, t.ActivityType, t.State)
	}
	fmt.Println(err)
	// Output:
	// 0 Translate waiting
	// 1 Translate waiting
	// <nil>
}

// Tasks that wait end at once, those that run are told to.
func ExampleQueue_Cancel() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	handle, err := queue.EnqueueBatch(ctx, activity.BatchOptions{ID: "order-17", TaskQueue: "translate"}, tasks("Hello.", "How are you?"))
	if err != nil {
		fmt.Println(err)
	}
	if err := queue.Cancel(ctx, handle, 1); err != nil { // without an index: all
		fmt.Println(err)
	}
	all, err := queue.Status(ctx, handle)
	for _, t := range all {
		fmt.Println(t.Index, t.Outcome == workflow.OutcomeCanceled)
	}
	fmt.Println(err)
	// Output:
	// 0 false
	// 1 true
	// <nil>
}

// CancelAll is for emergencies: it ends every open batch of a pool. Calls of workflows go on.
func ExampleQueue_CancelAll() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	for _, id := range []string{"order-17", "order-18"} {
		if _, err := queue.EnqueueBatch(ctx, activity.BatchOptions{ID: id, TaskQueue: "translate"}, tasks("Hello.")); err != nil {
			fmt.Println(err)
		}
	}
	pool := activity.Pool{TaskQueue: "translate"}
	if err := queue.CancelAll(ctx, pool); err != nil {
		fmt.Println(err)
	}
	stats, err := queue.Stats(ctx, pool)
	fmt.Println(stats.Depth(), err)
	// Output: 0 <nil>
}

// Stats counts the tasks of a pool by type, those of workflows too.
func ExampleQueue_Stats() {
	ctx := context.Background()
	queue, end := openQueue(ctx)
	defer end()

	if _, err := queue.EnqueueBatch(ctx, activity.BatchOptions{TaskQueue: "translate"}, tasks("Hello.", "How are you?", "Goodbye.")); err != nil {
		fmt.Println(err)
	}
	stats, err := queue.Stats(ctx, activity.Pool{TaskQueue: "translate"})
	for _, t := range stats.Types {
		fmt.Println(t.Type, t.Waiting, "wait,", t.Claimed, "run")
	}
	fmt.Println(err)
	// Output:
	// Translate 3 wait, 0 run
	// <nil>
}

// Names of pools, as the slipstream command and metrics have them.
func ExamplePoolName() {
	fmt.Println(activity.PoolName("translate", "", ""))
	fmt.Println(activity.PoolName("translate", "slow", ""))
	fmt.Println(activity.PoolName("translate", "", "shop.v2"))
	fmt.Println(activity.UnpinnedPoolName("translate", "", "shop.v2"))
	// Output:
	// translate
	// translate/slow
	// translate@shop.v2
	// translate@shop.v2@unpinned
}
