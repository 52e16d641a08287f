package activity

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// Where the spans of tasks begin and end; what they are is in tracing.go.

// startSpan begins the span of calls of the wave that have this header.
func (d *dispatch) startSpan(ctx context.Context, pool string, a *address, h *commonpb.Header) *enqueueSpan {
	s := d.r.tracing.enqueue(ctx, pool, a, h)
	d.spans = append(d.spans, s)
	return s
}

// endSpans ends the spans of the wave. It may be called again: a span ends once.
func (d *dispatch) endSpans() {
	for _, s := range d.spans {
		if !s.IsRecording() {
			continue
		}
		var missed error
		for _, i := range s.tasks {
			switch d.marker.Answers[i].State {
			case wire.StateQueued, wire.StateDone, wire.StateEarly:
			default:
				missed = errNotQueued
			}
		}
		s.end(d.marker.RunID, func(i int) (uint64, string) { return d.wave.Calls[i].Number, d.wave.Calls[i].Type }, missed)
	}
}

// startSpan begins the span of tasks of the batch that have this header.
func (b *batch) startSpan(ctx context.Context, t *tracing, a *address, h *commonpb.Header) *enqueueSpan {
	s := t.enqueue(ctx, b.pool, a, h)
	b.spans = append(b.spans, s)
	return s
}

// endSpans ends the spans of the batch; err is why not all of it is in the queue.
func (b *batch) endSpans(err error) {
	for _, s := range b.spans {
		s.end(b.wave.Run, func(i int) (uint64, string) { return b.wave.Tasks[i].Number, b.wave.Tasks[i].Type }, err)
	}
}

// errInPlace is why the span of a task that was not diverted ends with an error.
var errInPlace = errors.New("not in the queue; the task runs in place")

// endSpan ends the span of a task that was to be diverted; missed is why it was not, nil
// if it was.
func (d *diversion) endSpan(missed error) {
	d.span.end(d.wave.Run, func(int) (uint64, string) { return divertedNumber, d.wave.Tasks[0].Type }, missed)
}

// beginSpan begins the span of the attempt, and lets who ends it know which one that is.
func (v *invocation) beginSpan() {
	var header *commonpb.Header
	if v.diverted != nil {
		header = v.diverted.task.GetHeader()
	} else {
		header, _ = v.call.headerOr(v.address.Header) // what cannot be read fails the attempt later
	}
	v.span = v.w.rt.tracing.process(v.d, v.address, v.call, header)
	if v.span.real {
		v.d.Annotate(encodeSpan(v.span.SpanContext()))
	}
}

// withSpan shows the span and its baggage to interceptors and handler. It comes after the
// propagators, whose span is that of the caller.
func (v *invocation) withSpan(ctx context.Context) context.Context {
	if !v.span.real {
		return ctx
	}
	if bag := baggage.FromContext(v.span.ctx); bag.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, bag)
	}
	return trace.ContextWithSpan(ctx, v.span.Span)
}

// endSpan ends the attempt's span. The result carries it to the next attempt, or to who
// delivers it.
func (v *invocation) endSpan(queueCtx context.Context, result batchqueue.Result) batchqueue.Result {
	if !v.span.real {
		return result
	}
	if v.span.IsRecording() {
		outcome := result.Kind.String()
		switch {
		case v.dropped(queueCtx):
			outcome = "released"
			if errors.Is(context.Cause(queueCtx), batchqueue.ErrLeaseLost) {
				outcome = "lost"
			}
		case v.late:
			outcome = "timed_out"
			v.span.fail(outcome, "the attempt's deadline has passed")
		case v.err != nil && !isBenign(v.err):
			v.span.RecordError(v.err)
			v.span.fail(cmp.Or(v.errType, outcome), v.err.Error())
		}
		v.span.SetAttributes(keyActivityID.String(v.info.ActivityID), keyOutcome.String(outcome))
	}
	v.span.End()
	if result.Kind == batchqueue.KindCompleted && !v.d.Last() {
		return result // the next step has it already
	}
	if result.Kind == batchqueue.KindCompleted && v.address.Batch != "" && v.address.Receiver == "" {
		return result // nobody is told of it
	}
	result.Payload = withTrace(result.Payload, encodeSpan(v.span.SpanContext()))
	return result
}

// abandonSpan ends the span of an attempt whose handler ended its goroutine; every other
// one has ended before.
func (v *invocation) abandonSpan() {
	if v.span.real && v.span.IsRecording() {
		v.span.fail("goexit", "the handler ended its goroutine")
		v.span.End()
	}
}

// traceForNext is the trace context of a chain's next step: its attempts are below the
// attempt that it follows from.
func (v *invocation) traceForNext() []byte {
	if v.span.real {
		return v.span.encoded()
	}
	return v.call.Trace
}

// traceOf is the span of an attempt that timed out, or was lost with its executor.
func (w *Worker) traceOf(d *batchqueue.Delivery, kind batchqueue.Kind) []byte {
	if note := d.Note(); note != nil {
		return note
	}
	a, err := decodeAddress(d.Common)
	if err != nil {
		return nil
	}
	return w.rt.tracing.reclaim(d, a, kind)
}

// handedOver records the delivery of outcomes that a run has fetched itself.
func (t *tracing) handedOver(began time.Time, pool string, slot int, way string, common []byte, outcomes []batchqueue.Outcome, run, workflowID string) {
	if len(outcomes) == 0 {
		return
	}
	t.deliver(pool, slot, way, began, common, outcomes, workflowAttributes(workflowID, run)...).End()
}
