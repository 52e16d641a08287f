package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OpenTelemetry collector that keeps what it gets.
type collector struct {
	collectortrace.UnimplementedTraceServiceServer
	address string

	mu      sync.Mutex
	spans   []*tracepb.Span              // protected by mu
	metrics map[string]*metricspb.Metric // protected by mu: the last of each name
}

// collectorMetrics is its other service: both have a method of the same name.
type collectorMetrics struct {
	collectormetrics.UnimplementedMetricsServiceServer
	*collector
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &collector{address: listener.Addr().String(), metrics: map[string]*metricspb.Metric{}}
	server := grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(server, c)
	collectormetrics.RegisterMetricsServiceServer(server, collectorMetrics{collector: c})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return c
}

func (c *collector) Export(_ context.Context, r *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

func (c collectorMetrics) Export(_ context.Context, r *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				c.metrics[m.GetName()] = m
			}
		}
	}
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

// sum is the sum of a metric over its attributes.
func (c *collector) sum(t *testing.T, name string) (n int64) {
	t.Helper()
	require.Contains(t, c.metrics, name)
	for _, p := range c.metrics[name].GetSum().GetDataPoints() {
		n += p.GetAsInt()
	}
	return n
}

// The sample sends what it does to a real receiver: every step's spans, below each other, and the metrics of
// docs/telemetry.md, those that are levels included.
func TestTranslateSendsTracesAndMetrics(t *testing.T) {
	const steps = 3 * 20
	c := startCollector(t)
	cmd := exec.CommandContext(t.Context(), build(t, "translate", raceEnabled), "-mode", "slipstream", "-n", "20", "-per-workflow", "10", "-latency", "5ms",
		"-temporal", stack.Temporal(), "-namespace", stack.Namespace(), "-redis", stack.RedisURL(), "-task-queue", freshTaskQueue(t), "-otlp", c.address)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	c.mu.Lock()
	defer c.mu.Unlock()

	byID := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		byID[string(s.GetSpanId())] = s
	}
	operations := map[string]int{}
	delivered := map[string]bool{} // by the spans of their attempts: a signal may be sent twice
	above := map[string]string{"enqueue": "StartActivity", "process": "enqueue", "RunActivity": "process", "deliver": "process", "StartActivity": "RunWorkflow"}
	for _, s := range c.spans {
		name := operation(s)
		operations[name]++
		if want := above[name]; want != "" {
			require.Contains(t, byID, string(s.GetParentSpanId()), "%s has its parent", s.GetName())
			require.Equal(t, want, operation(byID[string(s.GetParentSpanId())]), "above %s", s.GetName())
		}
		if name == "deliver" {
			delivered[string(s.GetParentSpanId())] = true
			for _, link := range s.GetLinks() {
				delivered[string(link.GetSpanId())] = true
			}
		}
	}
	// A workflow task that times out begins anew.
	require.GreaterOrEqual(t, operations["RunWorkflow"], 2)
	for _, name := range []string{"StartActivity", "enqueue"} {
		require.GreaterOrEqual(t, operations[name], steps, name)
	}
	for _, name := range []string{"process", "RunActivity"} {
		require.Equal(t, steps, operations[name], name)
	}
	require.Len(t, delivered, steps, "each outcome")

	page, err := os.ReadFile("../../docs/telemetry.md")
	require.NoError(t, err)
	for name := range c.metrics {
		if strings.HasPrefix(name, "slipstream.") {
			require.Contains(t, string(page), "`"+name+"`")
		}
	}
	for _, name := range []string{"slipstream.tasks.enqueued", "slipstream.tasks.settled", "slipstream.calls.dispatched"} {
		require.EqualValues(t, steps, c.sum(t, name), name)
	}
	require.EqualValues(t, 1000, c.sum(t, "slipstream.executor.permits"))
	require.Zero(t, c.sum(t, "slipstream.pool.depth"))
	require.Zero(t, c.sum(t, "slipstream.pool.in_flight"))
	require.Contains(t, c.metrics, "slipstream.handler.duration")
	require.Contains(t, c.metrics, "temporal_activity_execution_latency", "the SDK's own")
	require.Contains(t, c.metrics, "temporal_worker_task_slots_used")
}

func operation(s *tracepb.Span) string {
	name, _, _ := strings.Cut(s.GetName(), " ")
	name, _, _ = strings.Cut(name, ":")
	return name
}
