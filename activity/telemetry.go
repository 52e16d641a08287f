package activity

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// instrumentation is the name under which spans and metrics appear.
const instrumentation = "github.com/slipstream-go/slipstream"

// Telemetry is where spans and metrics go. The zero value is OpenTelemetry's global
// providers, which do nothing until the program sets others, and the propagator that the
// SDK's tracing interceptor has by default.
type Telemetry struct {
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Propagator reads the context that a tracing interceptor has put into the header of a
	// call; it must be that interceptor's.
	Propagator propagation.TextMapPropagator
}

func (t Telemetry) withDefaults() Telemetry {
	if t.TracerProvider == nil {
		t.TracerProvider = otel.GetTracerProvider()
	}
	if t.MeterProvider == nil {
		t.MeterProvider = otel.GetMeterProvider()
	}
	if t.Propagator == nil {
		t.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return t
}
