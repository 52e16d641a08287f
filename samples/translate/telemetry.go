package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
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
	page    *metricsPage        // with -metrics
}

// goodbye is how long the last spans and metrics may take.
const goodbye = 5 * time.Second

func newTelemetry(ctx context.Context, c config) (*telemetry, error) {
	t := &telemetry{}
	// The instance tells processes apart: without it a collector takes the counters of two for one that jumps.
	service := resource.NewSchemaless(attribute.String("service.name", "translate"), attribute.String("service.instance.id", uuid.NewString()))
	var spans []sdktrace.TracerProviderOption
	var readers []sdkmetric.Option
	if c.trace {
		t.kept = &tracetree.Exporter{}
		spans = append(spans, sdktrace.WithSyncer(t.kept))
	}
	if c.metrics != "" {
		var err error
		if t.page, err = serveMetrics(ctx, c.metrics); err != nil {
			return nil, err
		}
		readers = append(readers, sdkmetric.WithReader(t.page.reader))
	}
	if c.otlp != "" {
		sent, measured, err := export(ctx, c.otlp)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("-otlp %s: %w", c.otlp, err), t.stop())
		}
		spans = append(spans, sdktrace.WithBatcher(sent))
		readers = append(readers, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(measured)))
	}
	if len(spans) > 0 {
		t.traces = sdktrace.NewTracerProvider(append(spans, sdktrace.WithResource(service))...)
	}
	if len(readers) > 0 {
		t.metrics = sdkmetric.NewMeterProvider(append(readers, sdkmetric.WithResource(service))...)
	}
	return t, nil
}

// export connects to a collector.
func export(ctx context.Context, address string) (sdktrace.SpanExporter, sdkmetric.Exporter, error) {
	spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithInsecure())
	if err != nil {
		return nil, nil, err
	}
	measured, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(address), otlpmetricgrpc.WithInsecure())
	if err != nil {
		return nil, nil, errors.Join(err, spans.Shutdown(ctx))
	}
	return spans, measured, nil
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
	if t.page != nil {
		err = errors.Join(err, t.page.stop(ctx))
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
	links := tracetree.Links(spans, nameSpan)
	for _, line := range tracetree.Tree(spans, func(s sdktrace.ReadOnlySpan) string { return describeSpan(s, links(s), began) }) {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
}

// nameSpan tells spans apart that have one name.
func nameSpan(s sdktrace.ReadOnlySpan) string {
	line := []string{s.Name()}
	set := attribute.NewSet(s.Attributes()...)
	for _, key := range []attribute.Key{"slipstream.activity.type", "slipstream.attempt", "slipstream.delivery.way"} {
		if v, ok := set.Value(key); ok {
			line = append(line, fmt.Sprintf("%s=%s", key, v.String()))
		}
	}
	return strings.Join(line, " ")
}

func describeSpan(s sdktrace.ReadOnlySpan, links string, began time.Time) string {
	line := []string{nameSpan(s)}
	if s.Status().Code == codes.Error {
		line = append(line, "failed: "+s.Status().Description)
	}
	if kind := s.SpanKind(); kind != trace.SpanKindInternal {
		line = append(line, "["+kind.String()+"]")
	}
	return fmt.Sprintf("%s%s +%.1fms %.1fms", strings.Join(line, " "), links, milliseconds(s.StartTime().Sub(began)), milliseconds(s.EndTime().Sub(s.StartTime())))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
