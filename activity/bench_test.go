package activity

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"

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

// BenchmarkEnvelope is what a task carries for the handler: its own part, and the part of
// its wave.
func BenchmarkEnvelope(b *testing.B) {
	c := &call{Input: make([]byte, 200)}
	a := &address{
		Namespace: "default", WorkflowID: "order-0123456789", RunID: "0190c2a4-5b1e-7c3a-9f00-0123456789ab", WorkflowType: "Translate", TaskQueue: "translate",
		Header: &commonpb.Header{Fields: map[string]*commonpb.Payload{"trace": {Data: make([]byte, 55)}}},
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			encodeCall(c)
		}
	})
	b.Run("decode", func(b *testing.B) {
		raw := encodeCall(c)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeCall(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	common, err := encodeAddress(a)
	require.NoError(b, err)
	b.Run("encode-address", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encodeAddress(a); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode-address", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeAddress(common); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode-address-of-wave", func(b *testing.B) {
		var last lastAddress
		b.ReportAllocs()
		for b.Loop() {
			if _, err := last.of(common); err != nil {
				b.Fatal(err)
			}
		}
	})
}
