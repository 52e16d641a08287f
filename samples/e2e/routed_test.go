package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
)

// bed is one worker with the plugin, on a task queue of its own.
type bed struct {
	t         *testing.T
	c         client.Client
	taskQueue string
}

type bedOptions struct {
	plugin      plugin.Options // RedisURL and Marks are filled in
	worker      worker.Options
	propagators []sdkworkflow.ContextPropagator
	converter   converter.DataConverter
	named       map[string]any // more activities, registered under these names
	hostPort    string         // where it is not the stack's own
	dial        []grpc.DialOption
	logger      log.Logger
}

// newBed starts a worker with the activities, all of them marked, and waits until their calls are routed: where Redis is
// slow a worker announces them later than it starts.
func newBed(t *testing.T, o bedOptions, workflows []any, activities ...any) *bed {
	t.Helper()
	if o.plugin.RedisURL == "" {
		o.plugin.RedisURL = stack.RedisURL()
	}
	if o.plugin.Marks == nil {
		for _, a := range activities {
			o.plugin.Marks = append(o.plugin.Marks, activity.Mark{Activity: a})
		}
	}
	p, err := plugin.New(o.plugin)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	c, err := client.DialContext(t.Context(), client.Options{
		HostPort: cmp.Or(o.hostPort, stack.Temporal()), Namespace: stack.Namespace(), Plugins: []client.Plugin{p},
		ContextPropagators: o.propagators, DataConverter: o.converter, Logger: cmp.Or(o.logger, quiet()),
		ConnectionOptions: client.ConnectionOptions{DialOptions: o.dial},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	b := &bed{t: t, c: c, taskQueue: freshTaskQueue(t)}
	w := worker.New(c, b.taskQueue, o.worker)
	for _, f := range workflows {
		w.RegisterWorkflow(f)
	}
	for _, f := range activities {
		w.RegisterActivity(f)
	}
	for name, f := range o.named {
		w.RegisterActivityWithOptions(f, sdkactivity.RegisterOptions{Name: name})
	}
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	if len(o.plugin.Marks) > 0 && !o.plugin.Disabled {
		awaitAnnounced(t, o.plugin.RedisURL, b.taskQueue)
	}
	return b
}

// awaitAnnounced waits until a worker of the task queue has announced what it handles.
func awaitAnnounced(t *testing.T, redisURL, taskQueue string) {
	t.Helper()
	options, err := redis.ParseURL(redisURL)
	require.NoError(t, err)
	rdb := redis.NewClient(options)
	defer rdb.Close()
	q := newQueue(t, rdb)
	require.Eventually(t, func() bool {
		types, err := q.Announced(t.Context(), activity.PoolName(taskQueue, "", ""))
		return err == nil && len(types) > 0
	}, time.Minute, 10*time.Millisecond, "no worker announces anything")
}

func (b *bed) start(workflow any, args ...any) client.WorkflowRun {
	b.t.Helper()
	run, err := b.c.ExecuteWorkflow(b.t.Context(), client.StartWorkflowOptions{TaskQueue: b.taskQueue, ID: b.taskQueue + "-" + uuid.NewString()}, workflow, args...)
	require.NoError(b.t, err)
	return run
}

func (b *bed) events(run client.WorkflowRun, kind enumspb.EventType) int {
	return countEvents(history(b.t, b.c, run))[kind]
}

func (b *bed) requireRouted(run client.WorkflowRun) {
	b.t.Helper()
	require.Zero(b.t, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), "activities scheduled")
}

func withOptions(ctx sdkworkflow.Context) sdkworkflow.Context {
	return sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
}

// echoes counts how often each argument ran.
type echoes struct {
	mu     sync.Mutex
	ran    map[string]int
	hold   chan struct{} // if set, "slow" arguments wait for it
	starts atomic.Int64
}

func (e *echoes) Echo(ctx context.Context, s string) (string, error) {
	e.starts.Add(1)
	if strings.HasPrefix(s, "slow") && e.hold != nil {
		select {
		case <-e.hold:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ran == nil {
		e.ran = map[string]int{}
	}
	e.ran[s]++
	return "echo " + s, nil
}

func (e *echoes) times(s string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ran[s]
}

// A number is not an identity: the workflow task that dispatched call 1 is lost, and
// the next attempt asks something else under the same number.
func TestLostWorkflowTaskWithAnotherCallUnderTheSameNumber(t *testing.T) {
	var attempts atomic.Int64
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		var key, r string
		if err := sdkworkflow.SideEffect(ctx, func(sdkworkflow.Context) any { return uuid.NewString() }).Get(&key); err != nil {
			return "", err
		}
		if err := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, key).Get(ctx, &r); err != nil {
			return "", err
		}
		if attempts.Add(1) == 1 {
			panic("the worker is lost before its workflow task was committed")
		}
		if r != "echo "+key {
			return "", temporal.NewNonRetryableApplicationError(fmt.Sprintf("asked %q, got %q", key, r), "Wrong", nil)
		}
		return r, nil
	}
	b := newBed(t, bedOptions{}, []any{workflow}, (&echoes{}).Echo)
	run := b.start(workflow)
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, int64(2), attempts.Load())
	b.requireRouted(run)
}

// The same call again gets the same result, without a second run.
func TestLostWorkflowTaskWithTheSameCallComputesOnce(t *testing.T) {
	var attempts atomic.Int64
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		var r string
		if err := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "same").Get(ctx, &r); err != nil {
			return "", err
		}
		if attempts.Add(1) == 1 {
			panic("the worker is lost before its workflow task was committed")
		}
		return r, nil
	}
	e := &echoes{}
	b := newBed(t, bedOptions{}, []any{workflow}, e.Echo)
	var r string
	require.NoError(t, b.start(workflow).Get(t.Context(), &r))
	require.Equal(t, "echo same", r)
	require.Equal(t, 1, e.times("same"))
}

// The outcome is signalled while the workflow task that asked for it is already lost:
// the next attempt finds it early.
func TestEarlyOutcomeIsUsed(t *testing.T) {
	var attempts atomic.Int64
	dispatched := make(chan struct{})
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		f := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "slow early")
		// While this coroutine waits for a local activity, the wave is dispatched.
		lctx := sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		err := sdkworkflow.ExecuteLocalActivity(lctx, func(context.Context) error {
			if attempts.Add(1) == 1 {
				<-dispatched
			}
			return nil
		}).Get(ctx, nil)
		if err != nil {
			return "", err
		}
		if attempts.Load() == 1 {
			panic("the worker is lost before its workflow task was committed")
		}
		var r string
		err = f.Get(ctx, &r)
		return r, err
	}
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}}, []any{workflow}, e.Echo)
	run := b.start(workflow)
	require.Eventually(t, func() bool { return e.starts.Load() >= 1 }, 30*time.Second, 5*time.Millisecond)
	close(e.hold)
	close(dispatched)
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo slow early", r)
	require.Equal(t, 1, e.times("slow early"))
	b.requireRouted(run)
}

// Calls from many coroutines in one workflow task are one local activity.
func TestWaveFromManyCoroutinesIsOneLocalActivity(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (int, error) {
		ctx = withOptions(ctx)
		root := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "root")
		wg := sdkworkflow.NewWaitGroup(ctx)
		good := 0
		for i := range 50 {
			wg.Add(1)
			sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
				defer wg.Done()
				var r string
				s := fmt.Sprint("co ", i)
				if sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, s).Get(ctx, &r) == nil && r == "echo "+s {
					good++
				}
			})
		}
		wg.Wait(ctx)
		return good, root.Get(ctx, nil)
	}
	b := newBed(t, bedOptions{}, []any{workflow}, (&echoes{}).Echo)
	run := b.start(workflow)
	var good int
	require.NoError(t, run.Get(t.Context(), &good))
	require.Equal(t, 50, good)
	require.Equal(t, 1, countLocalActivities(history(t, b.c, run)))
	b.requireRouted(run)
}

func countLocalActivities(events []*historypb.HistoryEvent) (n int) {
	for _, e := range events {
		if e.GetMarkerRecordedEventAttributes().GetMarkerName() == "LocalActivity" {
			n++
		}
	}
	return n
}

// A completion signal that comes twice, and junk under its name, change nothing.
func TestDuplicateAndJunkSignals(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		first := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "first")
		second := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "slow second")
		var a, b string
		if err := errors.Join(first.Get(ctx, &a), second.Get(ctx, &b)); err != nil {
			return "", err
		}
		return a + ", " + b, nil
	}
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}}, []any{workflow}, e.Echo)
	run := b.start(workflow)
	var signal *historypb.WorkflowExecutionSignaledEventAttributes
	require.Eventually(t, func() bool {
		for _, event := range history(t, b.c, run) {
			if a := event.GetWorkflowExecutionSignaledEventAttributes(); a != nil {
				signal = a
			}
		}
		return signal != nil
	}, 30*time.Second, 10*time.Millisecond)
	junk, err := converter.GetDefaultDataConverter().ToPayloads("junk", 7)
	require.NoError(t, err)
	for _, input := range []*commonpb.Payloads{signal.Input, signal.Input, junk, nil} {
		_, err := b.c.WorkflowService().SignalWorkflowExecution(t.Context(), &workflowservice.SignalWorkflowExecutionRequest{
			Namespace: stack.Namespace(), SignalName: signal.SignalName, Input: input, RequestId: uuid.NewString(),
			WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: run.GetID(), RunId: run.GetRunID()},
		})
		require.NoError(t, err)
	}
	close(e.hold)
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo first, echo slow second", r)
	require.Zero(t, b.events(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED))
	require.Equal(t, 1, e.times("first"))
}

// The host context is found beside a strict propagator and a session worker, whose
// pollers share the worker's instance key; and what the propagator carries reaches the
// workflow, the handler and the signal.
func TestStrictPropagatorAndSessionWorker(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		var r string
		err := sdkworkflow.ExecuteActivity(withOptions(ctx), tenant.WhichTenant).Get(ctx, &r)
		return r, err
	}
	b := newBed(t, bedOptions{
		plugin: plugin.Options{Window: -1}, worker: worker.Options{EnableSessionWorker: true},
		propagators: []sdkworkflow.ContextPropagator{tenant.Propagator{}},
	}, []any{workflow}, tenant.WhichTenant)
	ctx := context.WithValue(t.Context(), tenant.Key{}, "acme")
	run, err := b.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: b.taskQueue}, workflow)
	require.NoError(t, err)
	var r string
	require.NoError(t, run.Get(ctx, &r))
	require.Equal(t, "acme", r)
	require.Equal(t, 1, b.events(run, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED), "the call came by signal")
	b.requireRouted(run)
}

// A session's calls belong to one host: they stay plain.
func TestSessionCallsStayPlain(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		var routed, inSession string
		if err := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, "routed").Get(ctx, &routed); err != nil {
			return "", err
		}
		sctx, err := sdkworkflow.CreateSession(ctx, &sdkworkflow.SessionOptions{CreationTimeout: time.Minute, ExecutionTimeout: time.Minute})
		if err != nil {
			return "", err
		}
		defer sdkworkflow.CompleteSession(sctx)
		err = sdkworkflow.ExecuteActivity(sctx, (*echoes).Echo, "session").Get(sctx, &inSession)
		return routed + ", " + inSession, err
	}
	b := newBed(t, bedOptions{worker: worker.Options{EnableSessionWorker: true}}, []any{workflow}, (&echoes{}).Echo)
	run := b.start(workflow)
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo routed, echo session", r)
	types := map[string]int{}
	for _, e := range history(t, b.c, run) {
		types[e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()]++
	}
	require.Equal(t, 1, types["Echo"])
}

// failing is an activity that fails as its argument says.
type failing struct {
	attempts atomic.Int64
	release  chan struct{} // what a deaf handler waits for
}

func (f *failing) Fail(ctx context.Context, how string) (int, error) {
	f.attempts.Add(1)
	info := sdkactivity.GetInfo(ctx)
	switch how {
	case "twice":
		if info.Attempt < 3 {
			return 0, errors.New("not yet")
		}
		return int(info.Attempt), nil
	case "never again":
		return 0, temporal.NewNonRetryableApplicationError("broken", "Broken", nil, "detail")
	case "panic":
		panic("handler panics")
	case "pending":
		return 0, sdkactivity.ErrResultPending
	case "hang":
		<-ctx.Done()
		return 0, ctx.Err()
	case "deaf":
		<-f.release // a handler that ignores its context
	}
	return 0, errors.New("always")
}

// Retries, errors, panics and time-outs reach the workflow as from plain activities.
func TestErrorsRetriesAndTimeouts(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context, how string, o sdkworkflow.ActivityOptions) (int, error) {
		var n int
		err := sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, o), (*failing).Fail, how).Get(ctx, &n)
		var a *temporal.ActivityError
		if err != nil && !errors.As(err, &a) {
			return 0, temporal.NewNonRetryableApplicationError("not an activity error: "+err.Error(), "Test", nil)
		}
		return n, err
	}
	f := &failing{release: make(chan struct{})}
	b := newBed(t, bedOptions{}, []any{workflow}, f.Fail)
	t.Cleanup(func() { close(f.release) })
	retries := func(n int32) *temporal.RetryPolicy {
		return &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumAttempts: n}
	}
	call := func(how string, o sdkworkflow.ActivityOptions) (int, error) {
		if o.StartToCloseTimeout == 0 {
			o.StartToCloseTimeout = time.Minute
		}
		run := b.start(workflow, how, o)
		var n int
		err := run.Get(t.Context(), &n)
		b.requireRouted(run)
		return n, err
	}
	n, err := call("twice", sdkworkflow.ActivityOptions{RetryPolicy: retries(5)})
	require.NoError(t, err)
	require.Equal(t, 3, n)

	var app *temporal.ApplicationError
	_, err = call("never again", sdkworkflow.ActivityOptions{RetryPolicy: retries(5)})
	require.ErrorAs(t, err, &app)
	require.Equal(t, "Broken", app.Type())
	var detail string
	require.NoError(t, app.Details(&detail))
	require.Equal(t, "detail", detail)

	before := f.attempts.Load()
	_, err = call("always", sdkworkflow.ActivityOptions{RetryPolicy: retries(3)})
	require.ErrorContains(t, err, "always")
	require.EqualValues(t, 3, f.attempts.Load()-before)

	var panicked *temporal.PanicError
	_, err = call("panic", sdkworkflow.ActivityOptions{RetryPolicy: retries(1)})
	require.ErrorAs(t, err, &panicked)
	require.ErrorContains(t, err, "handler panics")

	_, err = call("pending", sdkworkflow.ActivityOptions{})
	require.ErrorAs(t, err, &app)
	require.True(t, app.NonRetryable())

	var timeout *temporal.TimeoutError
	for _, how := range []string{"hang", "deaf"} {
		_, err = call(how, sdkworkflow.ActivityOptions{StartToCloseTimeout: 300 * time.Millisecond, RetryPolicy: retries(1)})
		require.ErrorAs(t, err, &timeout, how)
		require.Equal(t, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, timeout.TimeoutType())
	}
	_, err = call("always", sdkworkflow.ActivityOptions{ScheduleToCloseTimeout: 5 * time.Second, // enough for one attempt
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 3 * time.Second, BackoffCoefficient: 1}})
	require.ErrorContains(t, err, "always")
}

// Cancelling a workflow cancels its routed calls: the running handler's context ends.
func TestCancelReachesTheRunningHandler(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) error {
		ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Hour, WaitForCancellation: true})
		return sdkworkflow.ExecuteActivity(ctx, (*failing).Fail, "hang").Get(ctx, nil)
	}
	f := &failing{}
	b := newBed(t, bedOptions{}, []any{workflow}, f.Fail)
	run := b.start(workflow)
	require.Eventually(t, func() bool { return f.attempts.Load() == 1 }, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, b.c.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))
	var canceled *temporal.CanceledError
	require.ErrorAs(t, run.Get(t.Context(), nil), &canceled)
	b.requireRouted(run)
}

// What no worker handles goes plain and waits there, as without the plugin; and a
// disabled plugin routes nothing.
func TestDisabledPluginRoutesNothing(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		var r string
		err := sdkworkflow.ExecuteActivity(withOptions(ctx), (*echoes).Echo, "plain").Get(ctx, &r)
		return r, err
	}
	b := newBed(t, bedOptions{plugin: plugin.Options{Disabled: true}}, []any{workflow}, (&echoes{}).Echo)
	run := b.start(workflow)
	require.NoError(t, run.Get(t.Context(), nil))
	require.Equal(t, 1, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED))
	require.Zero(t, b.events(run, enumspb.EVENT_TYPE_MARKER_RECORDED))
}

// Many workflows with the sticky cache off: every workflow task replays from the start.
func TestWithoutStickyCache(t *testing.T) {
	worker.SetStickyWorkflowCacheSize(0)
	t.Cleanup(func() { worker.SetStickyWorkflowCacheSize(10000) })
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		s := "x"
		for range 4 {
			if err := sdkworkflow.ExecuteActivity(ctx, (*echoes).Echo, s).Get(ctx, &s); err != nil {
				return "", err
			}
		}
		return s, nil
	}
	e := &echoes{}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}}, []any{workflow}, e.Echo)
	run := b.start(workflow)
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo echo echo echo x", r)
	require.EqualValues(t, 4, e.starts.Load())
	b.requireRouted(run)
}
