package activity

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// BenchmarkHandle is the cost of one routed call beside the queue and the handler.
func BenchmarkHandle(b *testing.B) {
	var s bench
	w, h := s.worker(b, noContext)
	d := s.delivery(b, "noContext", "x")
	b.ReportAllocs()
	for b.Loop() {
		if w.handle(context.Background(), h, d).Kind != batchqueue.KindCompleted {
			b.Fatal("not completed")
		}
	}
}

// BenchmarkWaitingHandler reports the memory that a handler holds while it waits, its
// goroutine's stack left out.
func BenchmarkWaitingHandler(b *testing.B) {
	const handlers = 10_000
	for b.Loop() {
		var s bench
		var begun, ended sync.WaitGroup
		release := make(chan struct{})
		waiting := func(context.Context) error {
			begun.Done()
			<-release
			return nil
		}
		w, h := s.worker(b, noContext)
		w.registry.handlers["waiting"] = &handler{fn: waiting}
		d := s.delivery(b, "waiting")
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		begun.Add(handlers)
		for range handlers {
			ended.Go(func() { w.handle(context.Background(), h, d) })
		}
		begun.Wait()
		b.ReportMetric(float64(heap()-before)/handlers, "B/handler")
		close(release)
		ended.Wait()
	}
}
