package batchqueue

import (
	"fmt"
	"testing"
	"time"

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

// BenchmarkBacklogMemory reports what a waiting task of 200 bytes costs in Redis, alone and
// with two steps behind it.
func BenchmarkBacklogMemory(b *testing.B) {
	steps := []Step{{Type: "TranslateToFrench", Payload: make([]byte, 4)}, {Type: "TranslateToGerman", Payload: make([]byte, 4)}}
	for _, c := range []struct {
		name  string
		width int
		then  []Step
	}{{"wave-1000", 1000, nil}, {"wave-1", 1, nil}, {"steps-wave-1000", 1000, steps}, {"steps-wave-1", 1, steps}} {
		width := c.width
		b.Run(c.name, func(b *testing.B) {
			rdb := redistest.Start(b).Client()
			q, err := New(rdb, Options{Namespace: "default", Slots: 1})
			require.NoError(b, err)
			ctx := b.Context()
			used := func() int64 {
				info := parseInfo(rdb.Info(ctx, "memory").Val())
				return number(info["used_memory"])
			}
			before, n := used(), 20000
			for i := 0; i < n; i += width {
				tasks := make([]Task, width)
				for j := range tasks {
					tasks[j] = Task{Number: uint64(j + 1), Fingerprint: 7, Type: "TranslateToSpanish", Payload: make([]byte, 200), Then: c.then}
				}
				_, err := q.Enqueue(ctx, "translate", &Wave{Run: fmt.Sprintf("0190c2a4-5b1e-7c3a-9f00-%012x", i), Slot: 0, Tasks: tasks, Common: make([]byte, 60)})
				require.NoError(b, err)
			}
			b.ReportMetric(float64(used()-before)/float64(n), "B/task")
		})
	}
}
