package e2e

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/plugin"
)

// refusals stand before Temporal's frontend, and refuse signals as it might.
type refusals struct {
	mu     sync.Mutex
	refuse error       // protected by mu: nil passes signals on
	tries  []time.Time // protected by mu: when signals came
	sizes  []int       // protected by mu: of their payloads
}

func (r *refusals) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if path.Base(method) == "SignalWorkflowExecution" {
		signal, _ := req.(*workflowservice.SignalWorkflowExecutionRequest)
		r.mu.Lock()
		r.tries = append(r.tries, time.Now())
		r.sizes = append(r.sizes, proto.Size(signal.GetInput()))
		err := r.refuse
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

func (r *refusals) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

func (r *refusals) signals() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.tries...)
}

// ward is a bed whose signals may be refused, with what its worker logs and counts.
type ward struct {
	*bed
	*refusals
	*echoes
	log    *logLines
	reader *metric.ManualReader
}

func newWard(t *testing.T, o bedOptions, workflows ...any) *ward {
	t.Helper()
	w := &ward{refusals: &refusals{}, echoes: &echoes{}, log: &logLines{}, reader: metric.NewManualReader()}
	o.dial = append(o.dial, grpc.WithChainUnaryInterceptor(w.intercept))
	o.logger, o.plugin.Window = w.log, -1
	o.plugin.MeterProvider = metric.NewMeterProvider(metric.WithReader(w.reader))
	w.bed = newBed(t, o, workflows, w.Echo)
	return w
}

// failedDeliveries is what the metric says.
func (w *ward) failedDeliveries(t *testing.T) (n uint64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, w.reader.Collect(t.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			data, ok := m.Data.(metricdata.Histogram[int64])
			if m.Name != "slipstream.delivery.size" || !ok {
				continue
			}
			for _, point := range data.DataPoints {
				if result, _ := point.Attributes.Value("slipstream.delivery.result"); result.AsString() == "failed" {
					n += point.Count
				}
			}
		}
	}
	return n
}

// logLines keeps warnings and errors.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) note(msg string, keyvals []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, msg+" "+fmt.Sprint(keyvals...))
}

func (*logLines) Debug(string, ...any)               {}
func (*logLines) Info(string, ...any)                {}
func (l *logLines) Warn(msg string, keyvals ...any)  { l.note(msg, keyvals) }
func (l *logLines) Error(msg string, keyvals ...any) { l.note(msg, keyvals) }

func (l *logLines) with(part string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// manyEchoes calls Echo n times side by side.
func manyEchoes(ctx sdkworkflow.Context, n int) (int, error) {
	ctx = withOptions(ctx)
	calls := make([]sdkworkflow.Future, n)
	for i := range calls {
		calls[i] = sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, fmt.Sprint(i))
	}
	good := 0
	for i, call := range calls {
		var r string
		if err := call.Get(ctx, &r); err != nil {
			return good, err
		}
		if r == fmt.Sprint("echo ", i) {
			good++
		}
	}
	return good, nil
}

// Whatever Temporal's frontend refuses a signal for, the outcomes are kept, it is tried again with back-off, said once,
// counted each time, and delivered when the frontend takes signals again. No step runs twice for it.
func TestRefusedSignals(t *testing.T) {
	refusals := map[string]error{
		"permission denied":      serviceerror.NewPermissionDenied("request unauthorized", "wrong credentials"),
		"unauthenticated":        status.Error(codes.Unauthenticated, "the token has expired"),
		"namespace not found":    serviceerror.NewNamespaceNotFound("gone"),
		"namespace rate limit":   serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "namespace rate limit exceeded"),
		"the workflow is busy":   serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW, "workflow is busy"),
		"frontend not available": serviceerror.NewUnavailable("no hosts are available to serve the request"),
	}
	var wg sync.WaitGroup
	for name, refusal := range refusals {
		wg.Go(func() {
			t.Run(name, func(t *testing.T) {
				const refused = 5
				w := newWard(t, bedOptions{}, manyEchoes)
				w.set(serviceerror.ToStatus(refusal).Err())
				run := w.start(manyEchoes, 3)
				require.Eventually(t, func() bool { return len(w.signals()) >= refused }, time.Minute, 5*time.Millisecond)
				tries := w.signals()
				// At 0.1 s, twice as much each time. (The gap cannot be shorter, however slow the machine is.)
				for i, least := 1, 100*time.Millisecond; i < refused; i, least = i+1, 2*least {
					require.GreaterOrEqual(t, tries[i].Sub(tries[i-1]), least, "try %d", i)
				}
				require.Len(t, w.log.with("deliveries fail, will be tried again"), 1, "said once a minute")
				require.GreaterOrEqual(t, w.failedDeliveries(t), uint64(refused-1), "counted")
				w.set(nil)
				var good int
				require.NoError(t, run.Get(t.Context(), &good))
				require.Equal(t, 3, good)
				require.EqualValues(t, 3, w.starts.Load())
				w.requireRouted(run)
			})
		})
	}
	wg.Wait()
}

// A frontend, or what stands before it, that says how long it wants to be left alone is left alone by the whole slot.
func TestRetryHintsOfTheFrontendHold(t *testing.T) {
	const hint = 2 * time.Second
	info, err := proto.Marshal(durationpb.New(hint))
	require.NoError(t, err)
	p := status.New(codes.ResourceExhausted, "slow down").Proto()
	p.Details = append(p.Details, &anypb.Any{
		TypeUrl: "type.googleapis.com/google.rpc.RetryInfo",
		Value:   append([]byte{1<<3 | 2, byte(len(info))}, info...), // its one field, the delay
	})
	w := newWard(t, bedOptions{plugin: plugin.Options{Slots: 1}}, manyEchoes)
	w.set(status.FromProto(p).Err())
	first := w.start(manyEchoes, 1)
	require.Eventually(t, func() bool { return len(w.log.with("deliveries fail")) > 0 }, time.Minute, 5*time.Millisecond, "the hint is known")
	second := w.start(manyEchoes, 1)
	require.Eventually(t, func() bool { return w.starts.Load() == 2 }, time.Minute, 5*time.Millisecond)
	w.set(nil)
	require.NoError(t, first.Get(t.Context(), nil))
	require.NoError(t, second.Get(t.Context(), nil))
	tries := w.signals()
	for _, at := range tries[1:] {
		require.GreaterOrEqual(t, at.Sub(tries[0]), hint)
	}
}

// While Temporal takes nothing for long, outcomes wait in Redis, up to the pool's bound. Then nothing more is claimed, and
// the tasks wait, until there is room again.
func TestALongOutageFillsTheOutboxAndNoMore(t *testing.T) {
	const limit, concurrency, calls, refused = 20, 5, 500, 6
	w := newWard(t, bedOptions{plugin: plugin.Options{Slots: 1, Concurrency: concurrency}}, manyEchoes)
	q := newQueue(t, newRedis(t))
	pool := activity.PoolName(w.taskQueue, "", "")
	_, err := q.ChangeConfig(t.Context(), pool, func(c *batchqueue.PoolConfig) error {
		c.Slots, c.OutboxLimit = 1, limit
		return nil
	})
	require.NoError(t, err)
	w.set(serviceerror.ToStatus(serviceerror.NewUnavailable("away")).Err())
	run := w.start(manyEchoes, calls)
	outbox := func() int64 {
		s, err := q.Stats(t.Context(), pool)
		require.NoError(t, err)
		return s.Outbox
	}
	redistest.Eventually(t, time.Minute, "the outbox is full", func() bool { return outbox() >= limit })
	// These take three seconds at least, in which everything would run. Some run beyond the limit, while what has ended is
	// on its way to Redis, and others once the run has asked for what waits.
	redistest.Eventually(t, time.Minute, "refusals", func() bool { return len(w.signals()) >= refused })
	require.Less(t, w.starts.Load(), int64(calls/2), "claiming pauses long before all have run")
	w.set(nil)
	var good int
	require.NoError(t, run.Get(t.Context(), &good))
	require.Equal(t, calls, good)
	require.EqualValues(t, calls, w.starts.Load())
	redistest.Eventually(t, time.Minute, "all is acknowledged", func() bool { return outbox() == 0 })
	w.requireRouted(run)
}

// The frontend is restarted: every connection breaks, and for a while there is nobody to connect to. Handlers do not
// notice, and what they computed arrives when it is back.
func TestAFrontendThatIsRestarted(t *testing.T) {
	c := redistest.NewCable(t, stack.Temporal())
	e := &echoes{hold: make(chan struct{})}
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		var out string
		call := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "slow")
		if err := call.Get(ctx, &out); err != nil {
			return "", err
		}
		err := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, out).Get(ctx, &out)
		return out, err
	}
	log := &logLines{}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}, hostPort: c.Address(), logger: log}, []any{workflow}, e.Echo)
	run := b.start(workflow)
	require.Eventually(t, func() bool { return e.starts.Load() == 1 }, time.Minute, 5*time.Millisecond)
	c.Cut()
	close(e.hold)
	require.Eventually(t, func() bool { return len(log.with("deliveries fail")) > 0 }, time.Minute, 5*time.Millisecond)
	require.Equal(t, 1, e.times("slow"), "its handler has not noticed")
	c.Mend()
	var out string
	direct := dial(t).GetWorkflow(t.Context(), run.GetID(), run.GetRunID())
	require.NoError(t, direct.Get(t.Context(), &out))
	require.Equal(t, "echo echo slow", out)
	require.EqualValues(t, 2, e.starts.Load())
}

// Results that are too many for one signal come in several, each within the bound.
func TestManyLargeResultsAreSplitOverSignals(t *testing.T) {
	const calls, size, bound = 8, 200 << 10, 512 << 10
	big := func(_ context.Context, n int) (string, error) { return strings.Repeat(fmt.Sprint(n), size), nil }
	workflow := func(ctx sdkworkflow.Context) (int, error) {
		ctx = withOptions(ctx)
		futures := make([]sdkworkflow.Future, calls)
		for i := range futures {
			futures[i] = sdkworkflow.ExecuteActivity(ctx, "big", i)
		}
		good := 0
		for i, f := range futures {
			var s string
			if err := f.Get(ctx, &s); err != nil {
				return good, err
			}
			if s == strings.Repeat(fmt.Sprint(i), size) {
				good++
			}
		}
		return good, nil
	}
	r := &refusals{refuse: serviceerror.ToStatus(serviceerror.NewUnavailable("not yet")).Err()}
	b := newBed(t, bedOptions{
		plugin: plugin.Options{Window: -1, Slots: 1, Marks: []activity.Mark{{Activity: "big"}}},
		dial:   []grpc.DialOption{grpc.WithChainUnaryInterceptor(r.intercept)}, named: map[string]any{"big": big},
	}, []any{workflow})
	run := b.start(workflow)
	require.Eventually(t, func() bool { return len(r.signals()) > 2 }, time.Minute, 5*time.Millisecond) // they gather meanwhile
	r.set(nil)
	var good int
	require.NoError(t, run.Get(t.Context(), &good))
	require.Equal(t, calls, good)
	require.GreaterOrEqual(t, b.events(run, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED), calls*size/bound)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.sizes {
		require.LessOrEqual(t, n, bound+bound/16)
	}
}
