package batchqueue

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// BenchmarkHandlersInFlight reports the memory that a waiting handler costs, its own
// goroutine's stack included.
func BenchmarkHandlersInFlight(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		f := newFake(4)
		release := make(chan struct{})
		e, err := newExecutor(f.backend("e"), ExecutorOptions{Pool: f.pool, Types: []string{"A"}, Concurrency: n,
			Deliver: func(context.Context, *Batch) error { return nil },
			Handler: func(ctx context.Context, d *Delivery) Result {
				<-release
				return Result{Kind: KindCompleted}
			}})
		require.NoError(b, err)
		payload := make([]byte, 200)
		for slot := range 4 {
			ts := make([]Task, n/4)
			for i := range ts {
				ts[i] = Task{Number: uint64(i + 1), Type: "A", Payload: payload, Options: TaskOptions{StartToClose: time.Hour, Heartbeat: time.Minute}}
			}
			f.enqueue(slot, fmt.Sprint("run", slot), ts...)
		}
		before := inUse()
		require.NoError(b, e.Start(b.Context()))
		redistest.Eventually(b, time.Minute, "all run", func() bool { return e.Stats().Running == n })
		b.ReportMetric(float64(inUse()-before)/n, "B/handler")
		close(release)
		require.NoError(b, e.Stop(context.Background()))
	}
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkExecutors is enqueue, claim, handle, settle and deliver of no-op tasks of 200
// bytes in waves of 1,000, by two executors in this process, as tasks per second.
func BenchmarkExecutors(b *testing.B) {
	for _, slots := range []int{1, 4} {
		b.Run(fmt.Sprintf("slots-%d", slots), func(b *testing.B) {
			q, err := New(redistest.Start(b).Client(), Options{Namespace: "bench", Slots: slots})
			require.NoError(b, err)
			var delivered atomic.Int64
			var executors []*Executor
			for range 2 {
				e, err := q.NewExecutor(ExecutorOptions{Pool: "p", Types: []string{"A"}, Handler: echo,
					Deliver: func(_ context.Context, batch *Batch) error {
						delivered.Add(int64(len(batch.Outcomes)))
						return nil
					}})
				require.NoError(b, err)
				require.NoError(b, e.Start(b.Context()))
				executors = append(executors, e)
			}
			payload := make([]byte, 200)
			redistest.Eventually(b, 10*time.Second, "permits", func() bool { return executors[0].Stats().Permits > 0 && executors[1].Stats().Permits > 0 })
			b.ReportAllocs()
			b.ResetTimer()
			wave := 0
			for left := b.N; left > 0; left -= 1000 {
				tasks := make([]Task, min(left, 1000))
				for i := range tasks {
					tasks[i] = Task{Number: uint64(i + 1), Fingerprint: 1, Type: "A", Payload: payload}
				}
				wave++
				out, err := q.Enqueue(b.Context(), "p", &Wave{Run: fmt.Sprintf("run-%d", wave), ID: 1, Tasks: tasks, Slot: -1})
				require.NoError(b, err)
				require.NoError(b, out.Answers[0].Err)
			}
			redistest.Eventually(b, time.Minute, "all are delivered", func() bool { return delivered.Load() >= int64(b.N) })
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			for _, e := range executors {
				require.NoError(b, e.Stop(context.Background()))
			}
		})
	}
}
