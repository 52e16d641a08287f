package batchqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// openQueue is a queue on a Redis in this process.
func openQueue() (q *batchqueue.Queue, end func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	q, err = batchqueue.New(rdb, batchqueue.Options{Namespace: "shop"})
	if err != nil {
		panic(err)
	}
	return q, func() {
		_ = rdb.Close()
		server.Close()
	}
}

// A run enqueues tasks, an executor runs them, and sends what became of them back to the run.
func Example() {
	q, end := openQueue()
	defer end()
	ctx := context.Background()

	delivered := make(chan *batchqueue.Batch)
	e, err := q.NewExecutor(batchqueue.ExecutorOptions{
		Pool:  "mail",
		Types: []string{"shout"},
		Handler: func(_ context.Context, d *batchqueue.Delivery) batchqueue.Result {
			return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: []byte(strings.ToUpper(string(d.Payload)))}
		},
		Deliver: func(_ context.Context, b *batchqueue.Batch) error {
			delivered <- b
			return nil // acknowledged: the outcomes leave the queue
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := e.Start(ctx); err != nil {
		fmt.Println(err)
	}

	_, err = q.Enqueue(ctx, "mail", &batchqueue.Wave{
		Run:   "order-17",
		Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 1, Type: "shout", Payload: []byte("hello")}},
		Slot:  -1, // not known yet
	})
	if err != nil {
		fmt.Println(err)
	}
	b := <-delivered
	for _, o := range b.Outcomes {
		fmt.Printf("%s/%d %s: %s\n", b.Run, o.Number, o.Kind, o.Payload)
	}
	if err := e.Stop(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: order-17/1 completed: HELLO
}

// An enqueue that is repeated adds nothing. The same number with another fingerprint is
// another question, and takes the place of the first.
func ExampleQueue_Enqueue() {
	q, end := openQueue()
	defer end()
	ctx := context.Background()

	for _, fingerprint := range []uint64{1, 1, 2} {
		out, err := q.Enqueue(ctx, "mail", &batchqueue.Wave{
			Run: "order-17", Slot: -1,
			Tasks: []batchqueue.Task{{Number: 1, Fingerprint: fingerprint, Type: "shout"}},
		})
		if err != nil {
			fmt.Println(err)
		}
		for _, a := range out.Answers {
			if a.State == batchqueue.AnswerUnsure {
				fmt.Println("enqueue it again:", a.Err)
			}
		}
	}
	stats, err := q.Stats(ctx, "mail")
	fmt.Println(stats.Depth(), err)
	// Output: 1 <nil>
}

// A run that has heard nothing for long asks. What the queue does not know is to be enqueued
// again.
func ExampleQueue_Ask() {
	q, end := openQueue()
	defer end()
	ctx := context.Background()

	out, err := q.Enqueue(ctx, "mail", &batchqueue.Wave{
		Run: "order-17", Slot: -1, Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 1, Type: "shout"}},
	})
	if err != nil {
		fmt.Println(err)
	}
	reply, err := q.Ask(ctx, "mail", out.Slot, batchqueue.AskRequest{
		Run:  "order-17",
		Open: []batchqueue.Identity{{Number: 1, Fingerprint: 1}, {Number: 2, Fingerprint: 1}},
		Room: batchqueue.Room{Bytes: 1 << 20},
	})
	for _, a := range reply.Answers {
		fmt.Println(a.Number, a.State == batchqueue.AnswerNotHere)
	}
	fmt.Println(err)
	// Output:
	// 1 false
	// 2 true
	// <nil>
}

// What is in a pool, and what became of one of its tasks.
func ExampleQueue_Stats() {
	q, end := openQueue()
	defer end()
	ctx := context.Background()

	_, err := q.Enqueue(ctx, "mail", &batchqueue.Wave{Run: "order-17", Slot: -1, Tasks: []batchqueue.Task{
		{Number: 1, Fingerprint: 1, Type: "shout"}, {Number: 2, Fingerprint: 1, Type: "shout"},
	}})
	if err != nil {
		fmt.Println(err)
	}
	if err := q.CancelTask(ctx, "mail", "order-17", 2); err != nil {
		fmt.Println(err)
	}
	stats, err := q.Stats(ctx, "mail")
	fmt.Println(stats.Depth(), "waiting,", stats.Outbox, "ended", err)
	tasks, err := q.Tasks(ctx, "mail", "order-17")
	for _, t := range tasks {
		fmt.Println(t.Number, t.State)
	}
	fmt.Println(err)
	// Output:
	// 1 waiting, 1 ended <nil>
	// 1 waiting
	// 2 finished
	// <nil>
}

// Check says whether the Redis server is fit for the queue, and how to make it so.
func ExampleQueue_Check() {
	q, end := openQueue()
	defer end()

	report, err := q.Check(context.Background())
	fmt.Println(report.Embedded, report.Persistence, err)
	for _, f := range report.Findings {
		if f.Verdict != batchqueue.VerdictGood {
			fmt.Println(f.Setting, f.Found, f.Advice)
		}
	}
	// Output: true none <nil>
}

// A pool's configuration is changed while it runs, whoever else changes it meanwhile.
func ExampleQueue_ChangeConfig() {
	q, end := openQueue()
	defer end()

	c, err := q.ChangeConfig(context.Background(), "mail", func(c *batchqueue.PoolConfig) error {
		c.Concurrency, c.RatePerSecond = 50, 200
		return nil
	})
	fmt.Println(c.Version, c.Concurrency, c.RatePerSecond, err)
	// Output: 1 50 200 <nil>
}

// Who may wait a moment opens a window: outcomes are kept for the one who waits.
func ExampleQueue_CloseWindow() {
	q, end := openQueue()
	defer end()
	ctx := context.Background()

	inbox := q.NewInbox()
	if err := inbox.Start(ctx); err != nil {
		fmt.Println(err)
	}
	defer func() { _ = inbox.Stop() }()
	heard := inbox.Expect("order-17", []uint64{1}) // before the tasks are enqueued
	defer heard.Cancel()

	out, err := q.Enqueue(ctx, "mail", &batchqueue.Wave{
		Run: "order-17", ID: 1, Slot: -1, Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 1, Type: "shout"}},
		Window: time.Second, Inbox: inbox.ID(),
	})
	if err != nil {
		fmt.Println(err)
	}
	if err := q.Cancel(ctx, "mail", out.Slot, "order-17", []batchqueue.Identity{{Number: 1, Fingerprint: 1}}); err != nil {
		fmt.Println(err)
	}
	select { // what an inbox says is a hint, which may be lost
	case <-heard.Done():
	case <-time.After(time.Second):
	}
	outcomes, err := q.CloseWindow(ctx, "mail", out.Slot, "order-17", 1, batchqueue.Room{Bytes: 1 << 20})
	for _, o := range outcomes {
		fmt.Println(o.Number, o.Kind)
	}
	fmt.Println(err)
	// Output:
	// 1 canceled
	// <nil>
}

// Errors tell what was wrong, by errors.Is.
func ExampleQueue_Redrive() {
	q, end := openQueue()
	defer end()

	err := q.Redrive(context.Background(), "mail", 0, "1526919030474-0")
	fmt.Println(errors.Is(err, batchqueue.ErrNotFound))
	// Output: true
}

// Executors that share a budget share its permits; work from elsewhere counts as a guest.
func ExampleBudget() {
	budget, err := batchqueue.NewBudget(batchqueue.BudgetOptions{Concurrency: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := budget.Acquire(context.Background()); err != nil {
		fmt.Println(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println("full:", errors.Is(budget.Acquire(ctx), context.DeadlineExceeded))
	budget.Release()
	fmt.Println("free:", budget.Acquire(context.Background()))
	budget.Release()
	// Output:
	// full: true
	// free: <nil>
}
