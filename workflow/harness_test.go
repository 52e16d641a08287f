package workflow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

const pool = "tq"

// queue is a dispatcher without a queue behind it: it records what it is asked, and
// answers what a test says. By default every call is queued and stays so.
type queue struct {
	t testing.TB

	// answer decides for one call; nil means queued. decide sees the wave too, and is
	// called without the lock: it may take its time.
	answer func(c *wire.Call) wire.Answer
	decide func(w *wire.Wave, c *wire.Call) wire.Answer
	// err ends the dispatch of a wave.
	err func(w *wire.Wave) error
	// taken go into the next marker.
	taken []wire.Outcome
	// found answers an ask for one open call; nil means queued.
	found  func(ask *wire.Ask, c *wire.OpenCall) (wire.Answer, bool)
	askErr error
	// deaf says that Redis does not answer for an orphan.
	deaf func(ask *wire.Ask) bool
	// marker changes a marker's bytes.
	marker func([]byte) []byte
	// cancel answers a cancel request.
	cancel func(*wire.CancelRequest) error
	// clock, if set, dates dispatches and asks.
	clock func() time.Time

	mu       sync.Mutex // guards what follows
	runID    string
	waves    []*wire.Wave
	asks     []*wire.Ask
	canceled []*wire.CancelRequest
	start    time.Time // of the first dispatch
	askedAt  []time.Time
}

func (q *queue) Dispatch(ctx context.Context, w *wire.Wave) ([]byte, error) {
	q.mu.Lock()
	q.runID = sdkactivity.GetInfo(ctx).WorkflowExecution.RunID
	q.waves = append(q.waves, w)
	if q.clock != nil && q.start.IsZero() {
		q.start = q.clock()
	}
	q.mu.Unlock()
	decided := make([]wire.Answer, len(w.Calls))
	for i := range w.Calls {
		decided[i].State = wire.StateQueued
		if q.decide != nil {
			decided[i] = q.decide(w, &w.Calls[i])
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		if err := q.err(w); err != nil {
			return nil, err
		}
	}
	m := &wire.Marker{RunID: q.runID, First: w.First, Addresses: []wire.Address{{Pool: pool, Slot: 3}}, Taken: q.taken}
	q.taken = nil
	for i := range w.Calls {
		c := &w.Calls[i]
		a := decided[i]
		if q.answer != nil {
			a = q.answer(c)
		}
		a.Number, a.Type = c.Number, c.Name()
		a.Fingerprint = q.fingerprint(c)
		if a.State == wire.StatePlain || a.State == wire.StateRefused || a.State == wire.StateWaiting {
			a.Address = -1
		}
		if a.Outcome != nil {
			a.Outcome.Identity = wire.Identity{RunID: q.runID, Number: c.Number, Fingerprint: a.Fingerprint}
		}
		m.Answers = append(m.Answers, a)
	}
	encoded := wire.EncodeMarker(m)
	if q.marker != nil {
		encoded = q.marker(encoded)
	}
	return encoded, nil
}

func (q *queue) fingerprint(c *wire.Call) uint64 {
	if c.Fingerprint != 0 {
		return c.Fingerprint
	}
	return wire.Fingerprint(q.runID, c)
}

func (*queue) Progress(calls []wire.OpenCall) []workflow.Progress {
	return make([]workflow.Progress, len(calls))
}

func (q *queue) Reconcile(ctx context.Context, ask *wire.Ask) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asks = append(q.asks, ask)
	if q.clock != nil {
		q.askedAt = append(q.askedAt, q.clock())
	}
	if q.askErr != nil {
		return nil, q.askErr
	}
	reply := &wire.AskReply{
		RunID:     sdkactivity.GetInfo(ctx).WorkflowExecution.RunID,
		Addresses: []wire.Address{{Pool: pool, Slot: 3}},
		Taken:     q.taken,
	}
	q.taken = nil
	for i := range ask.Open {
		c := &ask.Open[i]
		if q.found == nil && c.Call == nil {
			continue
		}
		a, listed := wire.Answer{State: wire.StateQueued}, c.Call != nil
		if q.found != nil {
			a, listed = q.found(ask, c)
		}
		if !listed {
			continue
		}
		a.Number, a.Type, a.Fingerprint = c.Number, c.Type, c.Fingerprint
		if c.Call != nil {
			a.Fingerprint = wire.Fingerprint(reply.RunID, c.Call)
		}
		reply.Found = append(reply.Found, a)
	}
	for _, o := range ask.Orphans {
		if q.deaf != nil && q.deaf(ask) {
			reply.Found = append(reply.Found, wire.Answer{Number: o.Number, Type: o.Type, State: wire.StateUnsure, Address: -1})
		}
	}
	return wire.EncodeAskReply(reply), nil
}

func (q *queue) Cancel(_ context.Context, r *wire.CancelRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.canceled = append(q.canceled, r)
	if q.cancel != nil {
		return q.cancel(r)
	}
	return nil
}

// identity is that of call number n, as the queue saw it.
func (q *queue) identity(n uint64) wire.Identity {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	id, ok := q.find(n)
	require.True(q.t, ok, "no call %d", n)
	return id
}

func (q *queue) find(n uint64) (wire.Identity, bool) {
	for _, w := range q.waves {
		for i := range w.Calls {
			if c := &w.Calls[i]; c.Number == n {
				return wire.Identity{RunID: q.runID, Number: n, Fingerprint: q.fingerprint(c)}, true
			}
		}
	}
	return wire.Identity{}, false
}

// waitIdentity is identity for a call that is on its way.
func (q *queue) waitIdentity(n uint64) wire.Identity {
	for {
		q.mu.Lock()
		id, ok := q.find(n)
		q.mu.Unlock()
		if ok {
			return id
		}
		runtime.Gosched()
	}
}

// done is the outcome of call n with a result. Virtual time may be faster than the dispatch.
func (q *queue) done(n uint64, result any) wire.Outcome {
	q.t.Helper()
	require.Eventually(q.t, func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		_, ok := q.find(n)
		return ok
	}, 10*time.Second, time.Millisecond, "call %d", n)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.doneLocked(n, result)
}

func (q *queue) doneLocked(n uint64, result any) wire.Outcome {
	q.t.Helper()
	id, ok := q.find(n)
	require.True(q.t, ok, "no call %d", n)
	p, err := encodeJSON(result)
	require.NoError(q.t, err)
	return wire.Outcome{Identity: id, Kind: wire.KindCompleted, Attempt: 1, Worker: "executor", Payloads: p.GetPayloads()}
}

func encodeJSON(values ...any) (*commonpb.Payloads, error) {
	return converter.GetDefaultDataConverter().ToPayloads(values...)
}

// withID gives a copied call the activity ID that the router derives from its number.
func withID(c *wire.Call) *wire.Call {
	c.ActivityID = fmt.Sprint(c.Number)
	return c
}

func (q *queue) numbers() [][]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all [][]uint64
	for _, w := range q.waves {
		var wave []uint64
		for _, c := range w.Calls {
			wave = append(wave, c.Number)
		}
		all = append(all, wave)
	}
	return all
}

// echo answers a dispatch at once with the call's own argument.
func echo(c *wire.Call) wire.Answer {
	return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{
		Kind: wire.KindCompleted, Attempt: 1, Payloads: c.Input.GetPayloads(),
	}}
}

// raw lets the test environment, which encodes one value per signal, deliver signals
// with several payloads: the value is the input's bytes. It also counts the router's
// coroutines.
type raw struct {
	interceptor.WorkerInterceptorBase
	// Only touched by the workflow's dispatcher.
	live      map[string]int
	dropped   map[string]int    // outcomes, by reason
	priority  temporal.Priority // of the workflow; the environment knows none
	signalErr error             // of the router's signal handler; the environment would hide it
}

func (r *raw) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &rawInbound{raw: r}
	in.Next = next
	return in
}

type rawInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	raw *raw
}

func (in *rawInbound) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	out := &rawOutbound{raw: in.raw}
	out.Next = outbound
	return in.Next.Init(out)
}

type rawOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	raw *raw
}

func (out *rawOutbound) Go(ctx sdkworkflow.Context, name string, f func(sdkworkflow.Context)) sdkworkflow.Context {
	return out.Next.Go(ctx, name, func(ctx sdkworkflow.Context) {
		out.raw.live[name]++
		f(ctx)
		out.raw.live[name]--
	})
}

func (in *rawInbound) HandleSignal(ctx sdkworkflow.Context, input *interceptor.HandleSignalInput) error {
	if input.SignalName == wire.SignalName {
		var b []byte
		if err := converter.GetDefaultDataConverter().FromPayloads(input.Arg, &b); err == nil {
			input.Arg = &commonpb.Payloads{}
			if err := proto.Unmarshal(b, input.Arg); err != nil {
				return fmt.Errorf("test signal: %w", err)
			}
		}
	}
	err := in.Next.HandleSignal(ctx, input)
	in.raw.signalErr = errors.Join(in.raw.signalErr, err)
	return err
}

func (out *rawOutbound) GetMetricsHandler(ctx sdkworkflow.Context) client.MetricsHandler {
	return drops{MetricsHandler: out.Next.GetMetricsHandler(ctx), raw: out.raw}
}

// drops counts the outcomes that the router drops.
type drops struct {
	client.MetricsHandler
	raw    *raw
	reason string
}

func (d drops) WithTags(tags map[string]string) client.MetricsHandler {
	d.MetricsHandler, d.reason = d.MetricsHandler.WithTags(tags), tags["reason"]
	return d
}

func (d drops) Counter(name string) client.MetricsCounter {
	if name != "slipstream_outcomes_dropped" {
		return d.MetricsHandler.Counter(name)
	}
	return d
}

func (d drops) Inc(n int64) { d.raw.dropped[d.reason] += int(n) }

func (out *rawOutbound) GetInfo(ctx sdkworkflow.Context) *sdkworkflow.Info {
	info := *out.Next.GetInfo(ctx)
	info.Priority = out.raw.priority
	return &info
}

// routing adapts the router to the SDK's interceptor interface, as the plugin does.
type routing struct {
	interceptor.WorkerInterceptorBase
	*workflow.Interceptor
}

func (r *routing) InterceptWorkflow(ctx sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return r.Interceptor.InterceptWorkflow(ctx, next)
}

// bench is one test environment with a router in it.
type bench struct {
	*testsuite.TestWorkflowEnvironment
	t     *testing.T
	queue *queue
	raw   *raw
	log   bytes.Buffer // to be read after the run
}

func newBench(t *testing.T, change ...func(*workflow.Config)) *bench {
	t.Helper()
	return newBenchWith(t, nil, change...)
}

// newBenchWith has the user's own interceptors, after the router as in a real worker.
func newBenchWith(t *testing.T, users []interceptor.WorkerInterceptor, change ...func(*workflow.Config)) *bench {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	b := &bench{t: t, queue: &queue{t: t}, raw: &raw{live: map[string]int{}, dropped: map[string]int{}}}
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(&b.log, nil))))
	env := suite.NewTestWorkflowEnvironment()
	b.TestWorkflowEnvironment = env
	config := workflow.Config{
		Enabled:    func() bool { return true },
		Marks:      map[string]string{"Echo": "", "Other": "slow"},
		Dispatcher: func() workflow.Dispatcher { return b.queue },
	}
	for _, f := range change {
		f(&config)
	}
	env.SetWorkerOptions(worker.Options{
		EnableSessionWorker: true,
		// Ten thousand calls at once take a while under the race detector on a busy machine;
		// what hangs is caught by the test's own time-out.
		DeadlockDetectionTimeout: time.Minute,
		Interceptors: append([]interceptor.WorkerInterceptor{
			b.raw, &routing{Interceptor: workflow.NewInterceptor(config)},
		}, users...),
	})
	env.SetTestTimeout(time.Minute)
	env.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) {
		return "plain " + s, nil
	}, sdkactivity.RegisterOptions{Name: "Echo"})
	env.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) {
		return "plain " + s, nil
	}, sdkactivity.RegisterOptions{Name: "Unmarked"})
	return b
}

// after runs f in the workflow's virtual time.
func (b *bench) after(d time.Duration, f func()) {
	b.RegisterDelayedCallback(func() {
		// Each event of a real run comes with a workflow task, and the history grows.
		b.SetCurrentHistoryLength(int(b.Now().UnixMilli() % (1 << 30)))
		f()
	}, d)
}

// tick lets the history grow with time, as it does in a real run: every second of
// virtual time is another workflow task.
func (b *bench) tick() {
	for i := range 600 {
		b.after(time.Duration(i)*time.Second+time.Millisecond, func() {})
	}
}

func (b *bench) signal(outcomes ...wire.Outcome) {
	b.t.Helper()
	b.signalRaw(wire.EncodeSignal(outcomes))
}

func (b *bench) signalRaw(input *commonpb.Payloads) {
	b.t.Helper()
	encoded, err := proto.Marshal(input)
	require.NoError(b.t, err)
	b.SignalWorkflow(wire.SignalName, encoded)
}

// run executes a workflow function that returns a string.
func (b *bench) run(f func(sdkworkflow.Context) (string, error)) (string, error) {
	b.t.Helper()
	b.RegisterWorkflow(f)
	b.ExecuteWorkflow(f)
	require.True(b.t, b.IsWorkflowCompleted())
	require.NoError(b.t, b.raw.signalErr)
	if err := b.GetWorkflowError(); err != nil {
		return "", err
	}
	var s string
	require.NoError(b.t, b.GetWorkflowResult(&s))
	return s, nil
}

func options(ctx sdkworkflow.Context) sdkworkflow.Context {
	return sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
}
