package activity

import (
	"context"
	"iter"
	"slices"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// A trace context travels through the queue in a field of its own, beside the header that
// the workflow propagated: interceptors and propagators around the handler see that one
// untouched. The same field may follow any encoded message that comes back: a result, a
// failure, a report. Who does not know it skips it, as every unknown field.
const fieldTrace protowire.Number = 15

const (
	traceSpan    protowire.Number = 1 // trace ID, span ID, flags
	traceState   protowire.Number = 2 // as in the W3C header
	traceBaggage protowire.Number = 3 // as in the W3C header
)

// spanBytes is the length of a traceSpan.
const spanBytes = 16 + 8 + 1

// encodeTrace encodes the span of ctx and its baggage; nil if there is no span.
func encodeTrace(ctx context.Context) []byte {
	b := encodeSpan(trace.SpanContextFromContext(ctx))
	if bag := baggage.FromContext(ctx); b != nil && bag.Len() > 0 {
		b = appendString(b, traceBaggage, bag.String())
	}
	return b
}

// encodeSpan encodes what a link needs; nil if the span context is not valid.
func encodeSpan(sc trace.SpanContext) []byte {
	if !sc.IsValid() {
		return nil
	}
	span, traceID, spanID := make([]byte, 0, spanBytes), sc.TraceID(), sc.SpanID()
	span = append(append(append(span, traceID[:]...), spanID[:]...), byte(sc.TraceFlags()))
	b := appendBytes(make([]byte, 0, spanBytes+2), traceSpan, span)
	if state := sc.TraceState().String(); state != "" {
		b = appendString(b, traceState, state)
	}
	return b
}

// decodeTrace returns ctx with the remote span and the baggage that were encoded. It is
// lenient: a trace that cannot be read is no reason not to run a task.
func decodeTrace(ctx context.Context, b []byte) context.Context {
	sc, bag := readTrace(b)
	if sc.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	if bag.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, bag)
	}
	return ctx
}

func readTrace(b []byte) (sc trace.SpanContext, bag baggage.Baggage) {
	var c trace.SpanContextConfig
	for number, value := range lengthFields(b) {
		switch {
		case number == traceSpan && len(value) == spanBytes:
			c.TraceID, c.SpanID, c.TraceFlags = trace.TraceID(value[:16]), trace.SpanID(value[16:24]), trace.TraceFlags(value[24])
		case number == traceState:
			c.TraceState, _ = trace.ParseTraceState(string(value))
		case number == traceBaggage:
			bag, _ = baggage.Parse(string(value))
		}
	}
	return trace.NewSpanContext(c), bag
}

// lengthFields walks over the fields of a message that have a length, up to its end or to
// where it cannot be read.
func lengthFields(b []byte) iter.Seq2[protowire.Number, []byte] {
	return func(yield func(protowire.Number, []byte) bool) {
		for len(b) > 0 {
			number, kind, length := protowire.ConsumeField(b)
			if length < 0 {
				return
			}
			if kind == protowire.BytesType {
				_, _, tag := protowire.ConsumeTag(b)
				value, _ := protowire.ConsumeBytes(b[tag:])
				if !yield(number, value) {
					return
				}
			}
			b = b[length:]
		}
	}
}

// withTrace appends a trace context to an encoded message.
func withTrace(message, encoded []byte) []byte {
	if encoded == nil {
		return message
	}
	// Never in place: the message may be a part of something else.
	return appendBytes(slices.Clip(message), fieldTrace, encoded)
}

// spanOf returns the span context that follows an encoded message; it is not valid where
// there is none.
func spanOf(message []byte) trace.SpanContext {
	for number, value := range lengthFields(message) {
		if number == fieldTrace {
			sc, _ := readTrace(value)
			return sc
		}
	}
	return trace.SpanContext{}
}
