package activity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// spanCount makes spans that do nothing but count those that have not ended.
type spanCount struct {
	noop.TracerProvider
	begun, open atomic.Int64
}

func (c *spanCount) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return &countedTracer{count: c}
}

type countedTracer struct {
	noop.Tracer
	count *spanCount
}

func (c *countedTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	c.count.begun.Add(1)
	c.count.open.Add(1)
	s := &countedSpan{count: c.count, id: byte(c.count.begun.Load())}
	return trace.ContextWithSpan(ctx, s), s
}

type countedSpan struct {
	noop.Span
	count *spanCount
	id    byte
	ended atomic.Bool
}

func (s *countedSpan) IsRecording() bool { return !s.ended.Load() }

func (s *countedSpan) SpanContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{s.id}, TraceFlags: trace.FlagsSampled})
}

func (s *countedSpan) End(...trace.SpanEndOption) {
	if !s.ended.Swap(true) {
		s.count.open.Add(-1)
	}
}

func TestSpansEndWhereABatchIsRefused(t *testing.T) {
	c := newCounter(t, client.Options{})
	count := &spanCount{}
	c.rt.tracing = newTracing(Telemetry{TracerProvider: count, Propagator: propagation.TraceContext{}}, "namespace")
	_, err := c.EnqueueBatch(context.Background(), options("batch"), []Task{taskA("x"), taskA(strings.Repeat("x", 70_000))})
	require.ErrorContains(t, err, "Args have 70")
	require.EqualValues(t, 1, count.begun.Load())
	require.Zero(t, count.open.Load())
}

func TestSpansEndWhereAHandlerEndsItsGoroutine(t *testing.T) {
	s := newSite(t, client.Options{})
	count := &spanCount{}
	s.plugin.rt.tracing = newTracing(Telemetry{TracerProvider: count, Propagator: propagation.TraceContext{}}, "namespace")
	s.start(t, worker.Options{}, func() (string, error) {
		runtime.Goexit()
		return "", nil
	})
	s.enqueue(t, "noContext", nil)
	require.Eventually(t, func() bool { return count.begun.Load() > 0 && count.open.Load() == 0 }, 10*time.Second, 10*time.Millisecond)
	slots := s.onlyWorker().slots
	require.Eventually(t, func() bool {
		slots.mu.Lock()
		defer slots.mu.Unlock()
		return slots.running == 0
	}, 10*time.Second, 10*time.Millisecond)
}

func TestSpansEndWhereATaskRunsInPlace(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	count := &spanCount{}
	s.plugin.rt.tracing = newTracing(Telemetry{TracerProvider: count, Propagator: propagation.TraceContext{}}, "namespace")
	s.start(t, worker.Options{}, noContext)
	s.plugin.rt.breaker.report(false)
	s.plugin.rt.breaker.lock()
	s.frontend.tasks <- taskOf(t, "noContext", "x")
	completed(t, s.frontend.answer(t))
	require.EqualValues(t, 1, count.begun.Load())
	require.Zero(t, count.open.Load())
}

// What error.type may be is listed in docs/telemetry.md.
func TestErrorTypesOfSpansAreThoseOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/telemetry.md")
	require.NoError(t, err)
	for _, e := range errorKinds {
		require.Contains(t, string(page), "`"+e.kind+"`")
		require.Equal(t, e.kind, kindOfError(fmt.Errorf("outer: %w", e.err)))
	}
	require.Equal(t, "unsure", kindOfError(fmt.Errorf("%w: %w", ErrUnsure, batchqueue.ErrUnavailable)))
	require.Equal(t, "failed", kindOfError(errors.New("else")))
}
