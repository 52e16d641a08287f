package batchqueue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// Executors' clocks are an hour from Redis's, which is the only one that counts: nothing is
// due, lost or over too early or too late.
func TestClocksMayDisagree(t *testing.T) {
	for name, skew := range map[string]time.Duration{"behind": time.Hour, "ahead": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for leases
			server := miniredis.RunT(t)
			began := time.Now()
			last := began
			server.SetTime(began.Add(skew))
			var slack atomic.Int64 // the longest that the server's clock stood still
			tick := func() {
				now := time.Now()
				server.SetTime(now.Add(skew))
				server.FastForward(now.Sub(last)) // what expires
				slack.Store(max(slack.Load(), int64(time.Since(last))))
				last = now
			}
			// A time that runs by that clock, as a real one shows it at least.
			least := func(d time.Duration) time.Duration { return d - time.Duration(slack.Load()) }
			stop := make(chan struct{})
			var clock sync.WaitGroup
			clock.Go(func() {
				ticker := time.NewTicker(2 * time.Millisecond)
				defer ticker.Stop()
				for {
					select {
					case <-ticker.C:
						tick()
					case <-stop:
						return
					}
				}
			})
			defer func() { close(stop); clock.Wait() }()

			m := newMortal(before, nil)
			dead := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
			dead.AddHook(m)
			rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
			defer func() { _, _ = dead.Close(), rdb.Close() }()
			r := &rig{T: t, rdb: rdb, pool: "pool", lease: shortLease, mail: make(map[string]map[uint64]Outcome)}
			r.q = r.queue(rdb, 1)
			var mu sync.Mutex
			started := map[string]time.Time{} // by task and attempt
			handler := func(ctx context.Context, d *Delivery) Result {
				mu.Lock()
				started[fmt.Sprint(d.Number, "/", d.Attempt)] = time.Now()
				mu.Unlock()
				switch {
				case d.Number == 1 && d.Attempt == 1: // is lost
					<-ctx.Done()
				case d.Number == 2 && d.Attempt == 1:
					return Result{Kind: KindFailed}
				case d.Number == 3: // runs out of time
					<-ctx.Done()
				}
				return echo(ctx, d)
			}
			at := func(key string) (time.Time, bool) {
				mu.Lock()
				defer mu.Unlock()
				at, ok := started[key]
				return at, ok
			}
			a := r.start(r.queue(dead, 1), ExecutorOptions{ID: "a", Handler: handler, DrainTimeout: time.Millisecond})
			r.ready(a)
			r.enqueue("lost", with(1, TaskOptions{ScheduleToClose: time.Minute, Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond}}))
			r.eventually("it runs", func() bool { _, ok := at("1/1"); return ok })
			m.die()
			died := time.Now()
			r.start(r.q, ExecutorOptions{ID: "b", Handler: handler})
			enqueued := time.Now()
			r.enqueue("retried", with(2, TaskOptions{ScheduleToClose: time.Minute, Retry: RetryPolicy{InitialInterval: 300 * time.Millisecond, BackoffCoefficient: 1}}))
			r.enqueue("late", with(3, TaskOptions{ScheduleToClose: 700 * time.Millisecond}))
			nobody := with(4, TaskOptions{ScheduleToStart: 500 * time.Millisecond})
			nobody.Type = "nobody handles it"
			r.enqueue("waits", nobody)

			require.Equal(t, KindScheduleToStart, r.awaitOutcome("waits", 4).Kind)
			require.GreaterOrEqual(t, time.Since(enqueued), least(500*time.Millisecond))
			require.Equal(t, KindScheduleToClose, r.awaitOutcome("late", 3).Kind)
			require.GreaterOrEqual(t, time.Since(enqueued), least(700*time.Millisecond))
			require.Equal(t, 2, r.awaitOutcome("retried", 2).Attempt)
			first, _ := at("2/1")
			second, _ := at("2/2")
			require.GreaterOrEqual(t, second.Sub(first), least(300*time.Millisecond))
			require.Equal(t, 2, r.awaitOutcome("lost", 1).Attempt)
			again, _ := at("1/2")
			require.Greater(t, again.Sub(died), shortLease/4, "not before its lease ended")
			require.Less(t, time.Since(enqueued), 20*time.Second, "an hour would show")
		})
	}
}
