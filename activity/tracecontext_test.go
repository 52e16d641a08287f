package activity

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func spanContext(t *testing.T) trace.SpanContext {
	t.Helper()
	state, err := trace.ParseTraceState("vendor=x")
	require.NoError(t, err)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled, TraceState: state})
}

func TestTraceContextTravels(t *testing.T) {
	bag, err := baggage.Parse("tenant=acme")
	require.NoError(t, err)
	encoded := encodeTrace(baggage.ContextWithBaggage(trace.ContextWithSpanContext(t.Context(), spanContext(t)), bag))
	ctx := decodeTrace(t.Context(), encoded)
	require.True(t, spanContext(t).WithRemote(true).Equal(trace.SpanContextFromContext(ctx)))
	require.Equal(t, "acme", baggage.FromContext(ctx).Member("tenant").Value())
	require.Nil(t, encodeTrace(t.Context()), "nothing to carry")
}

// Redis keeps baggage readable, so it gets none that the propagator keeps in the process.
func TestBaggageTravelsOnlyIfThePropagatorCarriesIt(t *testing.T) {
	bag, err := baggage.Parse("tenant=acme")
	require.NoError(t, err)
	ctx := baggage.ContextWithBaggage(t.Context(), bag)
	for propagator, want := range map[propagation.TextMapPropagator]string{propagation.Baggage{}: "acme", propagation.TraceContext{}: ""} {
		started := newTracing(Telemetry{TracerProvider: noop.NewTracerProvider(), Propagator: propagator}, "namespace").start(ctx, "enqueue", "pool", trace.SpanKindProducer, time.Now())
		require.Equal(t, want, baggage.FromContext(started.ctx).Member("tenant").Value())
	}
}

// A release that knows nothing of traces reads the message as if there were none.
func TestTraceContextFollowsAMessage(t *testing.T) {
	message, err := wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{{Data: []byte("x")}, {Data: []byte("y")}}})
	require.NoError(t, err)
	traced := withTrace(message, encodeSpan(spanContext(t)))
	require.True(t, spanContext(t).Equal(spanOf(traced)))
	require.False(t, spanOf(message).IsValid())
	require.Equal(t, "y", string(decodedPayloads(traced)[1].GetData()))
	require.Empty(t, decodedPayloads(withTrace(nil, encodeSpan(spanContext(t)))))

	r, err := decodeReport(withTrace(encodeReport(&report{Payloads: message}), encodeSpan(spanContext(t))))
	require.NoError(t, err)
	require.Equal(t, message, r.Payloads, "Temporal gets the result alone")
}

func TestDamagedTraceContextsAreNone(t *testing.T) {
	whole := withTrace([]byte("\x0a\x01x"), encodeSpan(spanContext(t)))
	for n := range len(whole) - 1 {
		require.False(t, spanOf(whole[:n]).IsValid(), "%d bytes", n)
	}
	require.False(t, trace.SpanContextFromContext(decodeTrace(t.Context(), []byte{0xff})).IsValid())
}
