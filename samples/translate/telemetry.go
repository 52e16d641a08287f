package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"

	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/internal/tracetree"
)

// telemetry is where spans and metrics go. Both providers are nil where nobody asked for them: then the program is
// as it would be without OpenTelemetry.
type telemetry struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	kept    *tracetree.Exporter // with -trace
}

// goodbye is how long the last spans and metrics may take.
const goodbye = 5 * time.Second

func newTelemetry(ctx context.Context, c config) (*telemetry, error) {
	t := &telemetry{}
	if c.otlp == "" && !c.trace {
		return t, nil
	}
	service := resource.NewSchemaless(attribute.String("service.name", "translate"))
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(service)}
	if c.trace {
		t.kept = &tracetree.Exporter{}
		options = append(options, sdktrace.WithSyncer(t.kept))
	}
	if c.otlp != "" {
		spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(c.otlp), otlptracegrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("-otlp %s: %w", c.otlp, err)
		}
		measured, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(c.otlp), otlpmetricgrpc.WithInsecure())
		if err != nil {
			return nil, fmt.Errorf("-otlp %s: %w", c.otlp, errors.Join(err, spans.Shutdown(ctx)))
		}
		options = append(options, sdktrace.WithBatcher(spans))
		t.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(service), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(measured)))
	}
	t.traces = sdktrace.NewTracerProvider(options...)
	return t, nil
}

// useClient gives a client the SDK's own tracing and metrics.
func (t *telemetry) useClient(o *client.Options) error {
	if t.traces != nil {
		tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: t.traces.Tracer("translate")})
		if err != nil {
			return err
		}
		o.Interceptors = append(o.Interceptors, tracing)
	}
	if t.metrics != nil {
		o.MetricsHandler = opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{Meter: t.metrics.Meter("temporal-sdk-go")})
	}
	return nil
}

// usePlugin gives the plugin the providers that there are.
func (t *telemetry) usePlugin(o *plugin.Options) {
	if t.traces != nil {
		o.TracerProvider = t.traces
	}
	if t.metrics != nil {
		o.MeterProvider = t.metrics
	}
}

// flush sends what there is while workers still run: levels are only there as long as they do.
func (t *telemetry) flush() error {
	if t.metrics == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	return t.metrics.ForceFlush(ctx)
}

// stop sends the rest.
func (t *telemetry) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	var err error
	if t.traces != nil {
		err = t.traces.Shutdown(ctx)
	}
	if t.metrics != nil {
		err = errors.Join(err, t.metrics.Shutdown(ctx))
	}
	if err != nil {
		return fmt.Errorf("send telemetry: %w", err)
	}
	return nil
}

// printTrace writes the one pipeline's spans as a tree.
func (t *telemetry) printTrace(w io.Writer) {
	if t.kept == nil {
		return
	}
	spans := t.kept.Spans()
	if len(spans) == 0 {
		return
	}
	fmt.Fprintf(w, "Trace %s\n", spans[0].SpanContext().TraceID())
	began := spans[0].StartTime()
	for _, line := range tracetree.Tree(spans, func(s sdktrace.ReadOnlySpan) string { return describeSpan(s, began) }) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
}

func describeSpan(s sdktrace.ReadOnlySpan, began time.Time) string {
	line := []string{s.Name()}
	set := attribute.NewSet(s.Attributes()...)
	for _, key := range []attribute.Key{"slipstream.activity.type", "slipstream.attempt", "slipstream.delivery.way"} {
		if v, ok := set.Value(key); ok {
			line = append(line, fmt.Sprintf("%s=%s", key, v.String()))
		}
	}
	if s.Status().Code == codes.Error {
		line = append(line, "failed: "+s.Status().Description)
	}
	if kind := s.SpanKind(); kind != trace.SpanKindInternal {
		line = append(line, "["+kind.String()+"]")
	}
	return fmt.Sprintf("%s +%.1fms %.1fms", strings.Join(line, " "), milliseconds(s.StartTime().Sub(began)), milliseconds(s.EndTime().Sub(s.StartTime())))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
