package batchqueue

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// BenchmarkCore is the queue without Temporal: enqueue, claim, complete and deliver
// tasks of 200 bytes in waves of 1,000.
func BenchmarkCore(b *testing.B) {
	rdb := redistest.Start(b).Client()
	q, err := New(rdb, Options{Namespace: "bench", Slots: 1})
	require.NoError(b, err)
	ctx := b.Context()
	payload := make([]byte, 200)
	b.ReportAllocs()
	next := uint64(1)
	b.ResetTimer()
	for left := b.N; left > 0; left -= 1000 {
		width := min(left, 1000)
		tasks := make([]Task, width)
		for i := range tasks {
			tasks[i] = Task{Number: next, Fingerprint: next, Type: "A", Payload: payload}
			next++
		}
		out, err := q.Enqueue(ctx, "p", &Wave{Run: run, ID: tasks[0].Number, Tasks: tasks, HeldBelow: tasks[0].Number, Common: []byte("common")})
		require.NoError(b, err)
		require.NoError(b, out.Answers[0].Err)
		r, err := q.claim(ctx, "p", 0, claimRequest{executor: "e", types: []string{"A"}, count: 1000, bytes: 8 << 20, lease: time.Minute, outboxLimit: 1 << 20})
		require.NoError(b, err)
		require.Len(b, r.deliveries, width)
		for d := r.deliveries; len(d) > 0; {
			n := min(len(d), 200)
			s := make([]settlement, n)
			for i := range s {
				s[i] = settlement{d: d[i], action: actionFinish, outcome: Outcome{Kind: KindCompleted, Payload: payload[:20]}}
			}
			_, err := q.settle(ctx, "p", 0, s)
			require.NoError(b, err)
			d = d[n:]
		}
		batches, _, err := q.batches(ctx, "p", 0, 10)
		require.NoError(b, err)
		for _, batch := range batches {
			require.NoError(b, q.acked(ctx, batch))
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkBacklogMemory reports what a waiting task of 200 bytes costs in Redis, and how
// many times a bare stream entry that is.
func BenchmarkBacklogMemory(b *testing.B) {
	const n = 48_000
	rdb := redistest.Start(b).Client()
	used := func() int64 {
		return number(parseInfo(rdb.Info(b.Context(), "memory").Val())["used_memory"])
	}
	bare := func() float64 {
		before := used()
		for range n / 1000 {
			pipe := rdb.Pipeline()
			for range 1000 {
				pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "bare", Values: []any{"d", make([]byte, 200)}})
			}
			_, err := pipe.Exec(b.Context())
			require.NoError(b, err)
		}
		return float64(used()-before) / n
	}()
	for _, width := range []int{1000, 10, 1} {
		b.Run(fmt.Sprintf("wave-%d", width), func(b *testing.B) {
			require.NoError(b, rdb.FlushAll(b.Context()).Err())
			q, err := New(rdb, Options{Namespace: "default", Slots: 1})
			require.NoError(b, err)
			fill := func(pool string, n int) {
				var producers sync.WaitGroup
				for p := range 16 {
					producers.Go(func() {
						for first := p * width; first < n; first += 16 * width {
							tasks := make([]Task, width)
							for i := range tasks {
								tasks[i] = Task{Number: uint64(i + 1), Fingerprint: 7, Type: "TranslateToSpanish", Payload: make([]byte, 200)}
							}
							w := Wave{Run: fmt.Sprintf("0190c2a4-5b1e-7c3a-9f00-%012x", first), Slot: 0, Tasks: tasks, Common: make([]byte, 60)}
							out, err := q.Enqueue(b.Context(), pool, &w)
							if err != nil || out.Answers[0].Err != nil {
								b.Errorf("enqueue: %v, %v", err, out.Answers)
							}
						}
					})
				}
				producers.Wait()
			}
			fill("other", 16*width) // what a server needs once: scripts, connections
			before := used()
			fill("translate", n)
			cost := float64(used()-before) / n
			b.ReportMetric(cost, "B/task")
			b.ReportMetric(cost/bare, "x-bare")
		})
	}
}
