package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
	"github.com/slipstream-go/slipstream/samples/internal/tracetree"
)

// tracer is a client whose spans, and those of its plugin, are kept.
type tracer struct {
	t        *testing.T
	exporter *tracetree.Exporter
	provider *sdktrace.TracerProvider
	client.Client
}

type tracerOptions struct {
	plugin      plugin.Options // RedisURL and Marks are filled in
	interceptor bool           // the SDK's tracing interceptor is there too
	activities  []any
}

func newTracer(t *testing.T, o tracerOptions) *tracer {
	t.Helper()
	exporter := &tracetree.Exporter{}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.WithoutCancel(t.Context()))) })
	o.plugin.RedisURL, o.plugin.TracerProvider = stack.RedisURL(), provider
	for _, a := range o.activities {
		o.plugin.Marks = append(o.plugin.Marks, activity.Mark{Activity: a})
	}
	p, err := plugin.New(o.plugin)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	options := client.Options{HostPort: stack.Temporal(), Namespace: stack.Namespace(), Plugins: []client.Plugin{p}, Logger: quiet()}
	if o.interceptor {
		i, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: provider.Tracer("temporal")})
		require.NoError(t, err)
		options.Interceptors = []interceptor.ClientInterceptor{i}
	}
	c, err := client.DialContext(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &tracer{t: t, exporter: exporter, provider: provider, Client: c}
}

// worker starts one; the test stops it, or calls what is returned to have all of its spans.
func (tr *tracer) worker(taskQueue string, o worker.Options, register func(worker.Worker)) (stop func()) {
	tr.t.Helper()
	w := worker.New(tr.Client, taskQueue, o)
	register(w)
	require.NoError(tr.t, w.Start())
	tr.t.Cleanup(w.Stop)
	return w.Stop
}

// requireTree waits for the trace: one line per span, with what it links to.
func (tr *tracer) requireTree(taskQueue string, want ...string) {
	tr.t.Helper()
	var got []string
	require.Eventually(tr.t, func() bool {
		got = describeTree(tr.exporter.Spans(), taskQueue)
		return slices.Equal(got, want)
	}, 20*time.Second, 50*time.Millisecond, "%s", stringer(func() string { return "\n" + strings.Join(got, "\n") }))
}

// stringer is a message that is made when it is needed.
type stringer func() string

func (s stringer) String() string { return s() }

func describeTree(spans []sdktrace.ReadOnlySpan, taskQueue string) []string {
	names := map[trace.SpanID]string{}
	for _, s := range spans {
		names[s.SpanContext().SpanID()] = describeSpan(s, taskQueue)
	}
	return tracetree.Tree(spans, func(s sdktrace.ReadOnlySpan) string {
		line := fmt.Sprintf("%s [%s]", describeSpan(s, taskQueue), s.SpanKind())
		if s.Status().Code.String() == "Error" {
			line += " failed"
		}
		for _, l := range s.Links() {
			line += " -> " + names[l.SpanContext.SpanID()]
		}
		return line
	})
}

func describeSpan(s sdktrace.ReadOnlySpan, taskQueue string) string {
	name := strings.ReplaceAll(s.Name(), taskQueue, "Q")
	set := attribute.NewSet(s.Attributes()...)
	for _, key := range []attribute.Key{"slipstream.activity.type", "slipstream.attempt", "slipstream.delivery.way", "messaging.batch.message_count"} {
		if v, ok := set.Value(key); ok {
			name += " " + v.String()
		}
	}
	return name
}

// The pipeline of scenario has three steps. The first one's executor is killed with it, the second one fails once.
func TestTraceOfAPipelineWithARetryAndAReclaim(t *testing.T) {
	steps := &tracedSteps{}
	tr := newTracer(t, tracerOptions{interceptor: true, activities: []any{"Double"}})
	taskQueue := freshTaskQueue(t)
	// A worker that has no executor, and another one that will be killed: the first claim is the latter's.
	stopWorkflows := tr.worker(taskQueue, worker.Options{MaxConcurrentWorkflowTaskPollers: 2}, func(w worker.Worker) { w.RegisterWorkflow(scenario.Pipelines) })
	doomed := startWorkerProcess(t, workerOptions{name: "doomed", taskQueue: taskQueue, concurrency: 10, stuck: true, activitiesOnly: true})
	bag, err := baggage.Parse("tenant=acme")
	require.NoError(t, err)
	ctx, root := tr.provider.Tracer("caller").Start(baggage.ContextWithBaggage(t.Context(), bag), "caller")
	run, err := tr.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, scenario.Pipelines, scenario.Input{First: 1, Count: 1})
	root.End()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return doomed.started() == 1 }, time.Minute, 10*time.Millisecond, "the first step must be claimed")

	stopSteps := tr.worker(taskQueue, worker.Options{DisableWorkflowWorker: true}, func(w worker.Worker) {
		w.RegisterActivityWithOptions(steps.double, sdkactivity.RegisterOptions{Name: "Double"})
	})
	doomed.kill()
	require.NoError(t, run.Get(t.Context(), nil))
	stopSteps()
	stopWorkflows()

	tr.requireTree(taskQueue,
		"caller [internal]",
		"  StartWorkflow:Pipelines [client]",
		"    RunWorkflow:Pipelines [server]",
		"      StartActivity:Double [client]",
		"        enqueue Q Double [producer]",
		"          reclaim Q Double 1 [consumer] failed",
		"          process Q Double 2 [consumer] -> reclaim Q Double 1",
		"            RunActivity:Double [server]",
		"            deliver Q signal 1 [client]",
		"      StartActivity:Double [client]",
		"        enqueue Q Double [producer]",
		"          process Q Double 1 [consumer] failed",
		"            RunActivity:Double [server] failed",
		"          process Q Double 2 [consumer] -> process Q Double 1",
		"            RunActivity:Double [server]",
		"            deliver Q signal 1 [client]",
		"      StartActivity:Double [client]",
		"        enqueue Q Double [producer]",
		"          process Q Double 1 [consumer]",
		"            RunActivity:Double [server]",
		"            deliver Q signal 1 [client]",
	)
	require.Equal(t, []string{"acme", "acme", "acme", "acme"}, steps.tenants, "baggage")
}

// tracedSteps are the pipeline's, of a worker that is not killed.
type tracedSteps struct {
	calls   int
	tenants []string
}

func (s *tracedSteps) double(ctx context.Context, value int, _ time.Duration) (scenario.Doubled, error) {
	s.tenants = append(s.tenants, baggage.FromContext(ctx).Member("tenant").Value())
	if s.calls++; s.calls == 2 {
		return scenario.Doubled{}, errors.New("no luck")
	}
	return scenario.Doubled{Value: 2 * value}, nil
}

// fanOut makes calls side by side, and then one more.
func fanOut(ctx sdkworkflow.Context, calls int) error {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	var futures []sdkworkflow.Future
	for range calls {
		futures = append(futures, sdkworkflow.ExecuteActivity(ctx, "Noop"))
	}
	for _, f := range futures {
		if err := f.Get(ctx, nil); err != nil {
			return err
		}
	}
	if err := sdkworkflow.Sleep(ctx, time.Millisecond); err != nil { // another workflow task
		return err
	}
	return sdkworkflow.ExecuteActivity(ctx, "Noop").Get(ctx, nil)
}

// Without the SDK's interceptor there is no span of a call: the tasks of a wave have one enqueue together. Every
// workflow task replays the run from its beginning here, and makes nothing twice.
func TestTraceOfAWaveWithoutTheInterceptor(t *testing.T) {
	const calls = 50
	worker.SetStickyWorkflowCacheSize(0)
	t.Cleanup(func() { worker.SetStickyWorkflowCacheSize(10_000) })
	tr := newTracer(t, tracerOptions{activities: []any{"Noop"}, plugin: plugin.Options{Window: 2 * time.Second}})
	taskQueue := freshTaskQueue(t)
	inHandlers := make(chan trace.SpanContext, calls+1)
	stop := tr.worker(taskQueue, worker.Options{}, func(w worker.Worker) {
		w.RegisterWorkflowWithOptions(fanOut, sdkworkflow.RegisterOptions{Name: "fanOut"})
		w.RegisterActivityWithOptions(func(ctx context.Context) error {
			inHandlers <- trace.SpanContextFromContext(ctx)
			return nil
		}, sdkactivity.RegisterOptions{Name: "Noop"})
	})
	run, err := tr.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue + uuid.NewString()}, "fanOut", calls)
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	stop()

	counts := map[string]int{}
	var links int
	for _, s := range tr.exporter.Spans() {
		name, _, _ := strings.Cut(s.Name(), " ")
		counts[name]++
		if name == "deliver" {
			set := attribute.NewSet(s.Attributes()...)
			n, _ := set.Value("messaging.batch.message_count")
			links += len(s.Links())
			require.Len(t, s.Links(), min(int(n.AsInt64())-1, 128), "the first is its parent")
		}
	}
	require.Equal(t, 2, counts["enqueue"], "one per wave")
	require.Equal(t, calls+1, counts["process"])
	require.Equal(t, calls+1-counts["deliver"], links)
	require.Len(t, counts, 3)
	require.Len(t, inHandlers, calls+1)
	for range calls + 1 {
		require.True(t, (<-inHandlers).IsValid(), "the handler sees its span")
	}
}
