package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	enumspb "go.temporal.io/api/enums/v1"
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
	"github.com/slipstream-go/slipstream/workflow"
)

// tracer is a client whose spans, and those of its plugin, are kept.
type tracer struct {
	t        *testing.T
	exporter *tracetree.Exporter
	provider *sdktrace.TracerProvider
	plugin   *plugin.Plugin
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
		options.Interceptors = tracedBySDK(t, provider)
	}
	c, err := client.DialContext(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &tracer{t: t, exporter: exporter, provider: provider, plugin: p, Client: c}
}

// tracedBySDK are the interceptors of a client whose calls the SDK traces.
func tracedBySDK(t *testing.T, provider *sdktrace.TracerProvider) []interceptor.ClientInterceptor {
	t.Helper()
	i, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: provider.Tracer("temporal")})
	require.NoError(t, err)
	return []interceptor.ClientInterceptor{i}
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

// awaitDelivery waits until a delivery has ended with the code.
func (tr *tracer) awaitDelivery(code codes.Code) {
	tr.t.Helper()
	require.Eventually(tr.t, func() bool {
		return slices.ContainsFunc(tr.exporter.Spans(), func(s sdktrace.ReadOnlySpan) bool {
			return strings.HasPrefix(s.Name(), "deliver ") && s.Status().Code == code
		})
	}, time.Minute, 10*time.Millisecond, "no delivery ended with %s", code)
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
	links := tracetree.Links(spans, func(s sdktrace.ReadOnlySpan) string { return describeSpan(s, taskQueue) })
	return tracetree.Tree(spans, func(s sdktrace.ReadOnlySpan) string {
		line := fmt.Sprintf("%s [%s]", describeSpan(s, taskQueue), s.SpanKind())
		if s.Status().Code.String() == "Error" {
			line += " failed"
		}
		return line + links(s)
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

// pipelineWithAReclaim runs the pipeline of scenario, which has three steps. The first one's executor is killed with it, the
// second one fails once. What enqueue adds meanwhile, if it is not nil, is killed too, and its delivery must fail.
func pipelineWithAReclaim(t *testing.T, steps *tracedSteps, enqueue func(q *activity.Queue, taskQueue string)) (tr *tracer, taskQueue string) {
	t.Helper()
	// Without windows: a step whose window was missed keeps them closed for the next, but not for ever.
	tr = newTracer(t, tracerOptions{interceptor: true, activities: []any{"Double"}, plugin: plugin.Options{Window: -1}})
	taskQueue = freshTaskQueue(t)
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
	if enqueue != nil {
		enqueue(tr.plugin.Queue(), taskQueue)
		require.Eventually(t, func() bool { return doomed.started() == 2 }, time.Minute, 10*time.Millisecond, "and what is beside it")
	}

	stopSteps := tr.worker(taskQueue, worker.Options{DisableWorkflowWorker: true}, func(w worker.Worker) {
		w.RegisterActivityWithOptions(steps.double, sdkactivity.RegisterOptions{Name: "Double"})
	})
	doomed.kill()
	require.NoError(t, run.Get(t.Context(), nil))
	if enqueue != nil {
		tr.awaitDelivery(codes.Error)
	}
	stopSteps()
	stopWorkflows()
	return tr, taskQueue
}

func TestTraceOfAPipelineWithARetryAndAReclaim(t *testing.T) {
	steps := &tracedSteps{}
	tr, taskQueue := pipelineWithAReclaim(t, steps, nil)
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
	mu      sync.Mutex // protects what follows
	calls   int
	tenants []string
}

func (s *tracedSteps) double(ctx context.Context, value int, _ time.Duration) (scenario.Doubled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// A chain is one call of the workflow, with one enqueue. What begins a step is the step before, and only the last has an
// outcome to deliver.
func TestTraceOfAChain(t *testing.T) {
	tr := newTracer(t, tracerOptions{interceptor: true, activities: []any{"Add", "Double"}, plugin: plugin.Options{Window: -1}})
	taskQueue := freshTaskQueue(t)
	failed := false
	stop := tr.worker(taskQueue, worker.Options{}, func(w worker.Worker) {
		w.RegisterWorkflowWithOptions(func(ctx sdkworkflow.Context) (n int, err error) {
			ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
				StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond},
			})
			err = workflow.Chain(ctx, 1, workflow.Step{Activity: "Add"}, workflow.Step{Activity: "Double"}, workflow.Step{Activity: "Add"}).Get(ctx, &n)
			return n, err
		}, sdkworkflow.RegisterOptions{Name: "chain"})
		w.RegisterActivityWithOptions(func(_ context.Context, n int) (int, error) { return n + 1, nil }, sdkactivity.RegisterOptions{Name: "Add"})
		w.RegisterActivityWithOptions(func(_ context.Context, n int) (int, error) {
			if !failed {
				failed = true
				return 0, errors.New("no luck")
			}
			return 2 * n, nil
		}, sdkactivity.RegisterOptions{Name: "Double"})
	})
	run, err := tr.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, "chain")
	require.NoError(t, err)
	var n int
	require.NoError(t, run.Get(t.Context(), &n))
	require.Equal(t, 5, n)
	stop()

	tr.requireTree(taskQueue,
		"StartWorkflow:chain [client]",
		"  RunWorkflow:chain [server]",
		"    StartActivity:Add [client]",
		"      enqueue Q Add [producer]",
		"        process Q Add 1 [consumer]",
		"          RunActivity:Add [server]",
		"          process Q Double 1 [consumer] failed",
		"            RunActivity:Double [server] failed",
		"          process Q Double 2 [consumer] -> process Q Double 1",
		"            RunActivity:Double [server]",
		"            process Q Add 1 [consumer]",
		"              RunActivity:Add [server]",
		"              deliver Q signal 1 [client]",
	)
}

// batchToldByASignal enqueues two tasks without a workflow. The second one waits until a workflow was told of the first.
func batchToldByASignal(t *testing.T) (tr *tracer, taskQueue string) {
	t.Helper()
	tr = newTracer(t, tracerOptions{activities: []any{"Echo"}})
	taskQueue = freshTaskQueue(t)
	told := make(chan struct{})
	stop := tr.worker(taskQueue, worker.Options{}, func(w worker.Worker) {
		w.RegisterWorkflow(collect)
		w.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) {
			if s == "second" {
				<-told
			}
			return s, nil
		}, sdkactivity.RegisterOptions{Name: "Echo"})
	})
	run, err := tr.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, collect, 2)
	require.NoError(t, err)
	task := func(s string) activity.Task {
		return activity.Task{Activity: "Echo", Args: []any{s}, StartToCloseTimeout: time.Minute}
	}
	_, err = tr.plugin.Queue().EnqueueBatch(t.Context(), activity.BatchOptions{TaskQueue: taskQueue, OnComplete: tell(run)}, []activity.Task{task("first"), task("second")})
	require.NoError(t, err)
	tr.awaitDelivery(codes.Unset)
	close(told)
	require.NoError(t, run.Get(t.Context(), nil))
	stop()
	return tr, taskQueue
}

func TestTraceOfABatchWithoutAWorkflow(t *testing.T) {
	tr, taskQueue := batchToldByASignal(t)
	tr.requireTree(taskQueue,
		"enqueue Q 2 [producer]",
		"  process Q Echo 1 [consumer]",
		"    deliver Q signal 1 [client]",
		"  process Q Echo 1 [consumer]",
		"    deliver Q signal 1 [client]",
	)
}

// divertedTask has a workflow whose worker is without the plugin, so that its call arrives as an ordinary activity task.
// Before that a task of nobody goes through the queue.
func divertedTask(t *testing.T) (tr *tracer, taskQueue string) {
	t.Helper()
	tr = newTracer(t, tracerOptions{interceptor: true, activities: []any{"Noop"}})
	taskQueue = freshTaskQueue(t)
	stop := tr.worker(taskQueue, worker.Options{DisableWorkflowWorker: true}, func(w worker.Worker) {
		w.RegisterActivityWithOptions(func(context.Context) error { return nil }, sdkactivity.RegisterOptions{Name: "Noop"})
	})
	awaitRoom(t, tr.plugin.Queue(), taskQueue, "Noop")

	plain, err := client.DialContext(t.Context(), client.Options{
		HostPort: stack.Temporal(), Namespace: stack.Namespace(), Interceptors: tracedBySDK(t, tr.provider), Logger: quiet(),
	})
	require.NoError(t, err)
	t.Cleanup(plain.Close)
	w := worker.New(plain, taskQueue, worker.Options{LocalActivityWorkerOnly: true})
	w.RegisterWorkflowWithOptions(func(ctx sdkworkflow.Context) error {
		_, err := calling(ctx, "Noop", sdkworkflow.ActivityOptions{})
		return err
	}, sdkworkflow.RegisterOptions{Name: "one"})
	require.NoError(t, w.Start())
	run, err := plain.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, "one")
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	w.Stop()
	stop()
	return tr, taskQueue
}

func TestTraceOfADivertedActivityTask(t *testing.T) {
	tr, taskQueue := divertedTask(t)
	tr.requireTree(taskQueue,
		"StartActivity:Noop [client]",
		"  enqueue Q Noop [producer]",
		"    process Q Noop 1 [consumer]",
		"      RunActivity:Noop [server]",
		"StartWorkflow:one [client]",
		"  RunWorkflow:one [server]",
		"    StartActivity:Noop [client]",
		"      enqueue Q Noop [producer]",
		"        process Q Noop 1 [consumer]",
		"          RunActivity:Noop [server]",
		"          deliver Q token 1 [client]",
	)
}

// callsInWindows makes a call, a timer and a call.
func callsInWindows(t *testing.T) (tr *tracer, taskQueue string) {
	t.Helper()
	tr = newTracer(t, tracerOptions{interceptor: true, activities: []any{"Noop"}, plugin: plugin.Options{Window: longWindow}})
	taskQueue = freshTaskQueue(t)
	stop := tr.worker(taskQueue, worker.Options{}, func(w worker.Worker) {
		w.RegisterWorkflowWithOptions(fanOut, sdkworkflow.RegisterOptions{Name: "fanOut"})
		w.RegisterActivityWithOptions(func(context.Context) error { return nil }, sdkactivity.RegisterOptions{Name: "Noop"})
	})
	run, err := tr.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, "fanOut", 1)
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	stop()
	return tr, taskQueue
}

func TestTraceOfCallsInWindows(t *testing.T) {
	run := []string{"  RunWorkflow:fanOut [server]"}
	call := []string{
		"    StartActivity:Noop [client]",
		"      enqueue Q Noop [producer]",
		"        process Q Noop 1 [consumer]",
		"          RunActivity:Noop [server]",
		"          deliver Q window 1 [client]",
	}
	for _, c := range []struct {
		name   string
		cached int
		want   []string
	}{
		{"cached", 10_000, slices.Concat(run, call, call)},
		// The second workflow task replays the first call. The SDK makes a RunWorkflow for each such start, and no call twice.
		{"replayed", 0, slices.Concat(run, call, run, call)},
	} {
		t.Run(c.name, func(t *testing.T) {
			worker.SetStickyWorkflowCacheSize(c.cached)
			t.Cleanup(func() { worker.SetStickyWorkflowCacheSize(10_000) })
			tr, taskQueue := callsInWindows(t)
			for range 2 { // a machine that stands still misses the longest window
				if countEvents(history(t, tr, tr.GetWorkflow(t.Context(), taskQueue, "")))[enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED] > 0 {
					tr, taskQueue = callsInWindows(t)
				}
			}
			tr.requireTree(taskQueue, append([]string{"StartWorkflow:fanOut [client]"}, c.want...)...)
		})
	}
}

// The table of docs/telemetry.md has what spans have: "yes" is on each, nothing on none, and anything else on some.
func TestAttributesOfSpansAreThoseOfTheDocumentation(t *testing.T) {
	cells := documentedAttributes(t)
	seen := map[[2]string]bool{} // attribute and kind of span
	check := func(tr *tracer, _ string) {
		for _, s := range tr.exporter.Spans() {
			kind, _, _ := strings.Cut(s.Name(), " ")
			if s.InstrumentationScope().Name != "github.com/slipstream-go/slipstream" {
				continue
			}
			set := attribute.NewSet(s.Attributes()...)
			for _, a := range set.ToSlice() {
				cell := [2]string{string(a.Key), kind}
				seen[cell] = true
				require.NotEmpty(t, cells[cell], "%s has %s, which is not documented", s.Name(), a.Key)
			}
			for cell, text := range cells {
				if cell[1] == kind && text == "yes" {
					require.True(t, set.HasValue(attribute.Key(cell[0])), "%s has no %s", s.Name(), cell[0])
				}
			}
			require.Equal(t, s.Status().Code == codes.Error, set.HasValue("error.type"), "%s: %s", s.Name(), s.Status().Description)
		}
	}
	check(pipelineWithAReclaim(t, &tracedSteps{}, func(q *activity.Queue, taskQueue string) {
		// Nobody has this workflow: the delivery fails.
		_, err := q.Enqueue(t.Context(), activity.BatchOptions{TaskQueue: taskQueue, OnComplete: &activity.OnComplete{WorkflowID: uuid.NewString(), SignalName: "done"}},
			activity.Task{Activity: "Double", Args: []any{1, 0}, StartToCloseTimeout: time.Minute})
		require.NoError(t, err)
		_, err = q.Enqueue(t.Context(), activity.BatchOptions{TaskQueue: taskQueue + "-of-nobody"}, activity.Task{Activity: "Double", StartToCloseTimeout: time.Minute})
		require.ErrorIs(t, err, activity.ErrNotHandled)
	}))
	check(batchToldByASignal(t))
	check(divertedTask(t))
	check(callsInWindows(t))
	for cell, text := range cells {
		require.True(t, text == "" || seen[cell], "no %s has %s", cell[1], cell[0])
	}
}

// documentedAttributes are the cells of the table, by attribute and kind of span.
func documentedAttributes(t *testing.T) map[[2]string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/telemetry.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "\n| Attribute |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	cells := map[[2]string]string{}
	var kinds []string
	for line := range strings.Lines(table) {
		row := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|"), "|")
		for i := range row {
			row[i] = strings.Trim(row[i], " `")
		}
		switch {
		case kinds == nil:
			kinds = row
		case !strings.HasPrefix(row[0], "---"):
			for i, kind := range kinds {
				cells[[2]string{row[0], kind}] = row[i+1]
			}
		}
	}
	require.Equal(t, []string{"enqueue", "process", "reclaim", "deliver"}, kinds)
	return cells
}
