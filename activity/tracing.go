package activity

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// tracing makes the spans of tasks: enqueue, below the span of the call; process, one for
// each attempt, below enqueue; deliver, below the process whose outcome it carries. All of
// them are made where things happen once, never in workflow code, which replays.
type tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	namespace  string // of Temporal: pools are unique within it
}

func newTracing(t Telemetry, namespace string) *tracing {
	return &tracing{tracer: t.TracerProvider.Tracer(instrumentation), propagator: t.Propagator, namespace: namespace}
}

// callerField is the field of a header in which the SDK's tracing interceptors keep the
// context of the call's own span.
const callerField = "_tracer-data"

// baggageField is what propagators that carry baggage name among their fields.
const baggageField = "baggage"

// caller returns ctx with the span and the baggage that the header has; without, those of
// ctx are the caller's.
func (t *tracing) caller(ctx context.Context, h *commonpb.Header) context.Context {
	p := h.GetFields()[callerField]
	if p == nil {
		return ctx
	}
	var carrier propagation.MapCarrier
	if err := converter.GetDefaultDataConverter().FromPayload(p, &carrier); err != nil {
		return ctx // another tracing library's
	}
	return t.propagator.Extract(ctx, carrier)
}

// travelling returns ctx without baggage that the propagator would not send to another
// process: Redis keeps it readable.
func (t *tracing) travelling(ctx context.Context) context.Context {
	if baggage.FromContext(ctx).Len() == 0 || slices.Contains(t.propagator.Fields(), baggageField) {
		return ctx
	}
	return baggage.ContextWithoutBaggage(ctx)
}

// span is a span of ours. Where no provider makes spans, it is the one above.
type span struct {
	trace.Span
	ctx  context.Context // with the span and the baggage that travels
	real bool
}

// start begins a span below that of ctx. Attributes come later, and only if somebody
// records them: most programs trace few tasks or none.
func (t *tracing) start(ctx context.Context, operation, pool string, kind trace.SpanKind, began time.Time, links ...trace.Link) span {
	above := trace.SpanContextFromContext(ctx)
	options := append(make([]trace.SpanStartOption, 0, 3), trace.WithSpanKind(kind), trace.WithTimestamp(began))
	if len(links) > 0 {
		options = append(options, trace.WithLinks(links...))
	}
	ctx, s := t.tracer.Start(ctx, operation+" "+pool, options...) //nolint:spancheck // the caller ends it
	sc := s.SpanContext()
	// A tracer that makes no spans hands out the one above.
	return span{Span: s, ctx: t.travelling(ctx), real: sc.IsValid() && sc.SpanID() != above.SpanID()} //nolint:spancheck // the caller ends it
}

// encoded is what the task carries; nil if there is no such span.
func (s span) encoded() []byte {
	if !s.real {
		return nil
	}
	return encodeTrace(s.ctx)
}

// linkTo returns a link to a span if there is one.
func linkTo(sc trace.SpanContext) []trace.Link {
	if !sc.IsValid() {
		return nil
	}
	return []trace.Link{{SpanContext: sc}}
}

// Attributes beside the conventions for messaging. The first three have the names that the
// SDK's tracing interceptor gives them.
const (
	keyWorkflowID   = attribute.Key("temporalWorkflowID")
	keyRunID        = attribute.Key("temporalRunID")
	keyActivityID   = attribute.Key("temporalActivityID")
	keyActivityType = attribute.Key("slipstream.activity.type")
	keyAttempt      = attribute.Key("slipstream.attempt")
	keyOutcome      = attribute.Key("slipstream.outcome")
	keyWay          = attribute.Key("slipstream.delivery.way")
	keyBatch        = attribute.Key("slipstream.batch")
	keyNamespace    = attribute.Key("slipstream.namespace")
)

const messagingSystem = "slipstream"

func partition(slot int) attribute.KeyValue {
	return semconv.MessagingDestinationPartitionID(strconv.Itoa(slot))
}

func (t *tracing) messaging(operation string, kind attribute.KeyValue, pool string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String(messagingSystem), semconv.MessagingOperationName(operation), kind, semconv.MessagingDestinationName(pool),
		keyNamespace.String(t.namespace),
	}
}

// messageID names a task: numbers are unique within their run.
func messageID(run string, number uint64) string { return run + "/" + strconv.FormatUint(number, 10) }

func (a *address) attributes() []attribute.KeyValue {
	if a.Batch != "" {
		return []attribute.KeyValue{keyBatch.String(a.Batch)}
	}
	return workflowAttributes(a.WorkflowID, a.RunID)
}

func workflowAttributes(workflowID, run string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.MessagingMessageConversationID(workflowID), keyWorkflowID.String(workflowID), keyRunID.String(run)}
}

// enqueueSpan is the span of tasks that go into the queue under one header: those of a
// wave have one together, unless a tracer gave each call a span of its own.
type enqueueSpan struct {
	span
	tasks []int            // in the wave or batch
	wave  *batchqueue.Wave // that they are in: it has their slot in the end
}

// enqueue begins the span of tasks that have this header.
func (t *tracing) enqueue(ctx context.Context, pool string, a *address, h *commonpb.Header) *enqueueSpan {
	s := &enqueueSpan{span: t.start(t.caller(ctx, h), "enqueue", pool, trace.SpanKindProducer, time.Now())}
	if s.IsRecording() {
		s.SetAttributes(append(t.messaging("enqueue", semconv.MessagingOperationTypeSend, pool), a.attributes()...)...)
	}
	return s
}

// end ends the span of tasks of a run; missed is why not all of them are in the queue, nil
// if they are.
func (s *enqueueSpan) end(run string, task func(int) (number uint64, activityType string), missed error) {
	if s.IsRecording() {
		if s.wave != nil && s.wave.Slot >= 0 {
			s.SetAttributes(partition(s.wave.Slot))
		}
		if len(s.tasks) == 1 {
			number, name := task(s.tasks[0])
			s.SetAttributes(semconv.MessagingMessageID(messageID(run, number)), keyActivityType.String(name))
		} else {
			s.SetAttributes(semconv.MessagingBatchMessageCount(len(s.tasks)))
		}
		if missed != nil {
			s.fail(kindOfError(missed), missed.Error())
		}
	}
	s.End()
}

var errNotQueued = errors.New("not in the queue; the run sends the call in another way")

// process begins the span of an attempt.
func (t *tracing) process(d *batchqueue.Delivery, a *address, c *call, h *commonpb.Header) span {
	return t.attempt("process", semconv.MessagingOperationTypeProcess, d, a, c, h)
}

// attempt begins a span below enqueue that is linked to the attempt before. The task of a
// process that makes no spans is below its caller.
func (t *tracing) attempt(operation string, kind attribute.KeyValue, d *batchqueue.Delivery, a *address, c *call, h *commonpb.Header) span {
	ctx := context.Background()
	switch {
	case c.Trace != nil:
		ctx = decodeTrace(ctx, c.Trace)
	case a.Trace != nil && c.Header == nil:
		ctx = decodeTrace(ctx, a.Trace)
	default:
		ctx = t.caller(ctx, h)
	}
	s := t.start(ctx, operation, d.Pool, trace.SpanKindConsumer, time.Now(), linkTo(spanOf(d.LastFailure))...)
	if s.IsRecording() {
		s.SetAttributes(append(append(t.messaging(operation, kind, d.Pool), a.attributes()...),
			semconv.MessagingMessageID(messageID(d.Run, d.Number)), partition(d.Slot()),
			keyActivityType.String(d.Type), keyAttempt.Int(d.Attempt))...)
	}
	return s
}

// reclaim records that an attempt's executor went away, and its span with it. What it
// returns is what the next attempt links to.
func (t *tracing) reclaim(d *batchqueue.Delivery, a *address, kind batchqueue.Kind) []byte {
	c, err := decodeCall(d.Payload)
	if err != nil {
		c = &call{}
	}
	h, err := c.headerOr(a.Header)
	if err != nil {
		h = nil
	}
	s := t.attempt("reclaim", semconv.MessagingOperationTypeSettle, d, a, c, h)
	if s.IsRecording() {
		s.SetAttributes(keyOutcome.String(kind.String()))
		s.fail(kind.String(), "the executor of this attempt is gone")
	}
	s.End()
	return s.encoded()
}

// maxLinks is how many outcomes of a batch a deliver span links to; OpenTelemetry keeps
// 128 by default.
const maxLinks = 128

// Ways in which outcomes come to their run.
const (
	waySignal = "signal"
	wayWindow = "window"
	wayAsk    = "ask"
	wayToken  = "token"
)

// deliver begins the span of the delivery of outcomes: below the first one's process, and
// linked to the others'. Where no process is known it is below the enqueue that common
// tells; what nobody traced has no span.
func (t *tracing) deliver(pool string, slot int, way string, began time.Time, common []byte, outcomes []batchqueue.Outcome, attributes ...attribute.KeyValue) span {
	var first trace.SpanContext
	var links []trace.Link
	for i := range outcomes {
		sc := outcomeSpan(&outcomes[i])
		switch {
		case !sc.IsValid():
		case !first.IsValid():
			first = sc
		case len(links) < maxLinks:
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	if !first.IsValid() { // no attempt has ended by itself
		first, _ = readTrace(common)
	}
	if !first.IsValid() {
		ctx := context.Background()
		return span{Span: trace.SpanFromContext(ctx), ctx: ctx} // which does nothing
	}
	s := t.start(trace.ContextWithRemoteSpanContext(context.Background(), first), "deliver", pool, trace.SpanKindClient, began, links...)
	if s.IsRecording() {
		s.SetAttributes(append(append(t.messaging("deliver", semconv.MessagingOperationTypeSettle, pool), attributes...),
			partition(slot), keyWay.String(way), semconv.MessagingBatchMessageCount(len(outcomes)))...)
	}
	return s
}

// outcomeSpan is the span of the attempt that an outcome comes from.
func outcomeSpan(o *batchqueue.Outcome) trace.SpanContext {
	if sc := spanOf(o.Payload); sc.IsValid() {
		return sc
	}
	return spanOf(o.LastFailure)
}

// finish ends a span, with the error if there is one.
func (s span) finish(err error) {
	if err != nil && s.IsRecording() {
		s.RecordError(err)
		s.fail(kindOfError(err), err.Error())
	}
	s.End()
}

// fail makes it a failed span. kind is one of few: people group by it.
func (s span) fail(kind, message string) {
	s.SetAttributes(semconv.ErrorTypeKey.String(kind))
	s.SetStatus(codes.Error, message)
}

// errorKinds are the words for what keeps tasks out of the queue, or outcomes from their
// run. The first that matches is an error's.
var errorKinds = []struct {
	err  error
	kind string
}{
	{errNotQueued, "not_queued"},
	{errInPlace, "in_place"},
	{ErrUnsure, "unsure"},
	{ErrNotHandled, "not_handled"},
	{ErrDraining, "draining"},
	{batchqueue.ErrInvalid, "invalid"},
	{batchqueue.ErrFull, "full"},
	{batchqueue.ErrUnavailable, "unavailable"},
	{batchqueue.ErrRunGone, "run_gone"},
	{batchqueue.ErrRunDeaf, "run_deaf"},
}

func kindOfError(err error) string {
	for _, e := range errorKinds {
		if errors.Is(err, e.err) {
			return e.kind
		}
	}
	return "failed"
}
