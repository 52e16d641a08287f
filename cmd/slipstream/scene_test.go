package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
)

// scene fills a desk with what there is to see:
//
//	orders   served by one executor that holds the Charge tasks of order-1, three others wait
//	idle     served by nobody, with nothing in it
func scene(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, "--appendonly", "yes", "--appendfsync", "no", "--maxmemory", "1gb")
	q := d.queue()
	ctx := t.Context()
	require.NoError(t, q.Announce(ctx, "idle", []string{"Charge"}))
	require.NoError(t, q.Announce(ctx, "orders", []string{"Charge", "Ship"}))
	started := make(chan struct{}, 2)
	e, err := q.NewExecutor(batchqueue.ExecutorOptions{
		Pool: "orders", ID: "executor-1", Worker: "worker-1", Types: []string{"Charge"}, Concurrency: 5, DrainTimeout: time.Millisecond,
		Handler: func(ctx context.Context, _ *batchqueue.Delivery) batchqueue.Result {
			started <- struct{}{}
			<-ctx.Done()
			return batchqueue.Result{Kind: batchqueue.KindFailed}
		},
		Deliver: func(context.Context, *batchqueue.Batch) error { return nil },
	})
	require.NoError(t, err)
	require.NoError(t, e.Start(ctx))
	t.Cleanup(func() { _ = e.Stop(context.Background()) })

	out, err := q.Enqueue(ctx, "orders", &batchqueue.Wave{Run: "order-1", ID: 1, Slot: -1, Tasks: []batchqueue.Task{
		job(1, "Charge"), job(2, "Charge"), job(3, "Ship"), job(4, "Ship"), job(5, "Ship"),
	}})
	require.NoError(t, err)
	for _, a := range out.Answers {
		require.Equal(t, batchqueue.AnswerQueued, a.State)
	}
	for range 2 {
		<-started
	}
	redistest.Eventually(t, 10*time.Second, "both slots are led", func() bool {
		executors, err := q.Executors(ctx, "orders")
		return err == nil && len(executors) == 1 && len(executors[0].Leads) == 2
	})
	return d
}

func job(n uint64, typ string) batchqueue.Task {
	return batchqueue.Task{Number: n, Fingerprint: n, Type: typ, Payload: fmt.Appendf(nil, "payload %d", n), Options: batchqueue.TaskOptions{
		StartToClose: time.Minute, Retry: batchqueue.RetryPolicy{MaximumAttempts: 3},
	}}
}

// queue is the queue as the desk's workers have it.
func (d *desk) queue() *batchqueue.Queue {
	d.Helper()
	q, err := batchqueue.New(d.redis.Client(), batchqueue.Options{Namespace: d.namespace, Slots: 2, Lease: 30 * time.Second})
	require.NoError(d, err)
	return q
}

// bury makes a dead letter of order-1's task: what the queue does once executors have died with a task too often. It
// returns the letter's ID.
func (d *desk) bury(n uint64) string {
	d.Helper()
	ctx, rdb := d.Context(), d.redis.Client()
	for slot := range 2 {
		prefix := fmt.Sprintf("slipstream:{shop/orders/%d}:", slot)
		entries, err := rdb.XRange(ctx, prefix+"ready:Ship", "-", "+").Result()
		require.NoError(d, err)
		for _, e := range entries {
			var wave string // the tasks of a wide wave have it in the name of their number
			for name, value := range e.Values {
				if name[0] == '@' && value == fmt.Sprint(n) {
					wave = name[1:9]
				}
			}
			if wave == "" {
				continue
			}
			e.Values["type"], e.Values["m"] = "Ship", "5:6:2:1"
			e.Values["common"] = rdb.HGet(ctx, prefix+"run:order-1", "w"+wave).Val()
			id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: prefix + "dead", Values: e.Values}).Result()
			require.NoError(d, err)
			return fmt.Sprintf("%d/%s", slot, id)
		}
	}
	require.FailNow(d, "no such task")
	return ""
}
