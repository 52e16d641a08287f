package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
)

// newForeignBed has workflows that know nothing of the plugin, as if they were written in
// another language: their worker is without. Its activities are all marked.
func newForeignBed(t *testing.T, o bedOptions, workflows []any, activities ...any) *bed {
	t.Helper()
	o.worker.DisableWorkflowWorker = true
	b := newBed(t, o, nil, activities...)
	b.serve(workflows...)
	return b
}

// serve starts a worker without the plugin that runs workflows and no activities.
func (b *bed) serve(workflows ...any) {
	b.t.Helper()
	w := worker.New(dial(b.t), b.taskQueue, worker.Options{LocalActivityWorkerOnly: true})
	for _, f := range workflows {
		w.RegisterWorkflow(f)
	}
	require.NoError(b.t, w.Start())
	b.t.Cleanup(w.Stop)
}

// enqueued is how many tasks have gone into the bed's pool.
func (b *bed) enqueued() int64 {
	b.t.Helper()
	o, err := redis.ParseURL(stack.RedisURL())
	require.NoError(b.t, err)
	rdb := redis.NewClient(o)
	defer rdb.Close()
	stats, err := newQueue(b.t, rdb).Stats(b.t.Context(), activity.PoolName(b.taskQueue, "", ""))
	require.NoError(b.t, err)
	return stats.Enqueued
}

// awaitRoom lets a task of nobody go through the queue. When it has ended the worker's executor has room; until it knows
// that it has, activity tasks run in place.
func awaitRoom(t *testing.T, q *activity.Queue, taskQueue, name string, args ...any) {
	t.Helper()
	h, err := q.Enqueue(t.Context(), activity.BatchOptions{TaskQueue: taskQueue}, activity.Task{
		Activity: name, Args: args, StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		tasks, err := q.Status(t.Context(), h)
		return err == nil && tasks[0].Outcome != ""
	}, time.Minute, 10*time.Millisecond, "a task ends")
}

// calling calls one activity by name with the given options.
func calling(ctx sdkworkflow.Context, name string, o sdkworkflow.ActivityOptions, args ...any) (converter.RawValue, error) {
	if o.StartToCloseTimeout == 0 {
		o.StartToCloseTimeout = time.Minute
	}
	var r converter.RawValue
	err := sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, o), name, args...).Get(ctx, &r)
	return r, err
}

// sleeper notes how many of its activities sleep at a time.
type sleeper struct{ running, most atomic.Int64 }

func (s *sleeper) Sleep(ctx context.Context, d time.Duration) error {
	n := s.running.Add(1)
	defer s.running.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A thousand activities of a second each pass through ten activity slots. In place they
// would take 100 s.
func TestDivertedActivitiesFreeTheirSlots(t *testing.T) {
	const (
		workflows  = 10
		activities = 1000
		slots      = 10
	)
	workflow := func(ctx sdkworkflow.Context, n int) error {
		futures := make([]sdkworkflow.Future, n)
		for i := range futures {
			futures[i] = sdkworkflow.ExecuteActivity(withOptions(ctx), "Sleep", time.Second)
		}
		for _, f := range futures {
			if err := f.Get(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	}
	s := &sleeper{}
	b := newForeignBed(t, bedOptions{
		plugin: plugin.Options{Concurrency: activities},
		worker: worker.Options{MaxConcurrentActivityExecutionSize: slots},
	}, []any{workflow}, s.Sleep)
	awaitRoom(t, newCaller(b, client.Options{}, s.Sleep).queue, b.taskQueue, "Sleep", time.Duration(0))
	var runs []client.WorkflowRun
	for range workflows {
		runs = append(runs, b.start(workflow, activities/workflows))
	}
	for _, run := range runs {
		require.NoError(t, run.Get(t.Context(), nil))
		require.Equal(t, activities/workflows, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
	}
	require.Greater(t, s.most.Load(), int64(2*slots))
	require.Greater(t, b.enqueued(), int64(activities/2))
}

// Results, errors, retries and time-outs are those of the activity in place.
func TestDivertedActivitiesEndAsInPlace(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context, how string, o sdkworkflow.ActivityOptions) (int, error) {
		r, err := calling(ctx, "Fail", o, how)
		if err != nil {
			return 0, err
		}
		var n int
		return n, converter.GetDefaultDataConverter().FromPayload(r.Payload(), &n)
	}
	f := &failing{release: make(chan struct{})}
	b := newForeignBed(t, bedOptions{}, []any{workflow}, f.Fail)
	t.Cleanup(func() { close(f.release) })
	retries := func(n int32) *temporal.RetryPolicy {
		return &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumAttempts: n}
	}
	call := func(how string, o sdkworkflow.ActivityOptions) (client.WorkflowRun, int, error) {
		run := b.start(workflow, how, o)
		var n int
		err := run.Get(t.Context(), &n)
		require.Equal(t, 1, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED))
		return run, n, err
	}
	awaitRoom(t, newCaller(b, client.Options{}, f.Fail).queue, b.taskQueue, "Fail", "never again")
	before := b.enqueued()
	run, n, err := call("twice", sdkworkflow.ActivityOptions{RetryPolicy: retries(5)})
	require.NoError(t, err)
	require.Equal(t, 3, n, "the handler knows Temporal's attempt")
	require.EqualValues(t, 3, b.enqueued()-before, "each attempt came through the queue")
	for _, event := range history(t, b.c, run) {
		if a := event.GetActivityTaskStartedEventAttributes(); a != nil {
			require.EqualValues(t, 3, a.GetAttempt(), "Temporal counted")
			require.Equal(t, "not yet", a.GetLastFailure().GetMessage())
		}
	}

	var app *temporal.ApplicationError
	_, _, err = call("never again", sdkworkflow.ActivityOptions{RetryPolicy: retries(5)})
	require.ErrorAs(t, err, &app)
	require.Equal(t, "Broken", app.Type())
	var detail string
	require.NoError(t, app.Details(&detail))
	require.Equal(t, "detail", detail)

	attempts := f.attempts.Load()
	_, _, err = call("always", sdkworkflow.ActivityOptions{RetryPolicy: retries(3)})
	require.ErrorContains(t, err, "always")
	require.EqualValues(t, 3, f.attempts.Load()-attempts)

	var panicked *temporal.PanicError
	_, _, err = call("panic", sdkworkflow.ActivityOptions{RetryPolicy: retries(1)})
	require.ErrorAs(t, err, &panicked)

	var timeout *temporal.TimeoutError
	for _, how := range []string{"hang", "deaf", "pending"} {
		_, _, err = call(how, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Second, RetryPolicy: retries(1)})
		require.ErrorAs(t, err, &timeout, how)
		require.Equal(t, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, timeout.TimeoutType())
	}
	_, _, err = call("hang", sdkworkflow.ActivityOptions{HeartbeatTimeout: time.Second, RetryPolicy: retries(1)})
	require.ErrorAs(t, err, &timeout)
	require.Equal(t, enumspb.TIMEOUT_TYPE_HEARTBEAT, timeout.TimeoutType(), "a handler that is silent")
}

// beating is an activity that heartbeats.
type beating struct {
	cause   chan error
	started chan struct{}
}

// Beat counts on from the attempt before, and fails after two beats unless it has come to
// the end.
func (b *beating) Beat(ctx context.Context, end int) (int, error) {
	n := 0
	if sdkactivity.HasHeartbeatDetails(ctx) {
		if err := sdkactivity.GetHeartbeatDetails(ctx, &n); err != nil {
			return 0, err
		}
	}
	for range 2 {
		n++
		sdkactivity.RecordHeartbeat(ctx, n)
		if n == end {
			return n, nil
		}
	}
	return 0, errors.New("not yet")
}

// Hang beats until its context ends.
func (b *beating) Hang(ctx context.Context) error {
	b.started <- struct{}{}
	beat := time.NewTicker(50 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			sdkactivity.RecordHeartbeat(ctx)
		case <-ctx.Done():
			b.cause <- context.Cause(ctx)
			return ctx.Err()
		}
	}
}

func TestDivertedActivitiesHeartbeat(t *testing.T) {
	beat := func(ctx sdkworkflow.Context) (int, error) {
		r, err := calling(ctx, "Beat", sdkworkflow.ActivityOptions{HeartbeatTimeout: time.Minute,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond}}, 5)
		if err != nil {
			return 0, err
		}
		var n int
		return n, converter.GetDefaultDataConverter().FromPayload(r.Payload(), &n)
	}
	hang := func(ctx sdkworkflow.Context) error {
		_, err := calling(ctx, "Hang", sdkworkflow.ActivityOptions{HeartbeatTimeout: 30 * time.Second, WaitForCancellation: true})
		return err
	}
	a := &beating{cause: make(chan error, 1), started: make(chan struct{}, 1)}
	b := newForeignBed(t, bedOptions{worker: worker.Options{MaxHeartbeatThrottleInterval: 3 * time.Second}}, []any{beat, hang}, a.Beat, a.Hang)
	awaitRoom(t, newCaller(b, client.Options{}, a.Beat).queue, b.taskQueue, "Beat", 1)
	before := b.enqueued()

	var n int
	run := b.start(beat)
	require.NoError(t, run.Get(t.Context(), &n))
	require.Equal(t, 5, n)
	require.EqualValues(t, 3, b.enqueued()-before, "details of three attempts, two beats each")

	run = b.start(hang)
	<-a.started
	require.NoError(t, b.c.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))
	var canceled *temporal.CanceledError
	require.ErrorAs(t, <-a.cause, &canceled)
	require.ErrorAs(t, run.Get(t.Context(), nil), &canceled)
	require.Equal(t, 1, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_CANCELED))

	run = b.start(hang)
	<-a.started
	require.NoError(t, b.c.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "test"))
	require.ErrorContains(t, <-a.cause, "already completed", "a token that is stale")
	require.EqualValues(t, 5, b.enqueued()-before)
}

// What the router lets through stays out of the queue, and so do sessions.
func TestPlainCallsOfRoutedRunsAreNotDiverted(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) error {
		ctx = withOptions(ctx)
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", "routed").Get(ctx, nil); err != nil {
			return err
		}
		urgent := sdkworkflow.WithPriority(ctx, temporal.Priority{PriorityKey: 1})
		if err := sdkworkflow.ExecuteActivity(urgent, "Echo", "urgent").Get(ctx, nil); err != nil {
			return err
		}
		session, err := sdkworkflow.CreateSession(ctx, &sdkworkflow.SessionOptions{CreationTimeout: time.Minute, ExecutionTimeout: time.Minute})
		if err != nil {
			return err
		}
		defer sdkworkflow.CompleteSession(session)
		return sdkworkflow.ExecuteActivity(session, "Echo", "session").Get(ctx, nil)
	}
	e := &echoes{}
	b := newBed(t, bedOptions{worker: worker.Options{EnableSessionWorker: true}}, []any{workflow}, e.Echo)
	require.NoError(t, b.start(workflow).Get(t.Context(), nil))
	require.EqualValues(t, 3, e.starts.Load())
	require.EqualValues(t, 1, b.enqueued())
}

// A run that started before its worker had the plugin is plain for life; its activities
// are diverted, eager ones too.
func TestActivitiesOfARunFromBeforeThePlugin(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) (string, error) {
		ctx = withOptions(ctx)
		var before, after string
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", "before").Get(ctx, &before); err != nil {
			return "", err
		}
		sdkworkflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
		err := sdkworkflow.ExecuteActivity(ctx, "Echo", "after").Get(ctx, &after)
		return before + ", " + after, err
	}
	e := &echoes{}
	taskQueue := freshTaskQueue(t)
	c := dial(t)
	old := worker.New(c, taskQueue, worker.Options{})
	old.RegisterWorkflow(workflow)
	old.RegisterActivity(e.Echo)
	require.NoError(t, old.Start())
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: taskQueue, ID: taskQueue}, workflow)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return e.times("before") == 1 }, 30*time.Second, 5*time.Millisecond)
	old.Stop()

	p, err := plugin.New(plugin.Options{RedisURL: stack.RedisURL(), Marks: []plugin.Mark{{Activity: e.Echo}}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	b := &bed{t: t, c: dial(t, p), taskQueue: taskQueue}
	w := worker.New(b.c, taskQueue, worker.Options{})
	w.RegisterWorkflow(workflow)
	w.RegisterActivity(e.Echo)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	awaitRoom(t, p.Queue(), taskQueue, "Echo", "nobody's")
	enqueued := b.enqueued()
	require.NoError(t, c.SignalWorkflow(t.Context(), run.GetID(), "", "go on", nil))
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo before, echo after", r)
	require.Equal(t, 2, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED))
	require.EqualValues(t, 1, b.enqueued()-enqueued)
}

func TestActivitiesRunInPlaceWhereTheOptionsSaySo(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) error {
		_, err := calling(ctx, "Echo", sdkworkflow.ActivityOptions{}, "x")
		return err
	}
	for _, o := range []plugin.Options{{Disabled: true}, {ActivityTasksInPlace: true}} {
		b := newForeignBed(t, bedOptions{plugin: o}, []any{workflow}, (&echoes{}).Echo)
		require.NoError(t, b.start(workflow).Get(t.Context(), nil))
		require.Zero(t, b.enqueued())
	}
}

func TestActivitiesRunInPlaceWhileRedisIsAway(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context, n int) error {
		for i := range n {
			if _, err := calling(ctx, "Echo", sdkworkflow.ActivityOptions{}, fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}
	m := miniredis.RunT(t)
	e := &echoes{}
	b := newForeignBed(t, bedOptions{plugin: plugin.Options{RedisURL: "redis://" + m.Addr()}}, []any{workflow}, e.Echo)
	require.NoError(t, b.start(workflow, 5).Get(t.Context(), nil))
	m.Close()
	require.NoError(t, b.start(workflow, 5).Get(t.Context(), nil))
	require.EqualValues(t, 10, e.starts.Load())
}

// foreignPipelines starts pipelines in a workflow without the plugin, whose first steps
// run at one worker while a second one is there.
func foreignPipelines(t *testing.T, count int, stepTime time.Duration) (b *bed, run client.WorkflowRun, first, second *workerProcess) {
	t.Helper()
	b = &bed{t: t, c: dial(t), taskQueue: freshTaskQueue(t)}
	b.serve(scenario.Pipelines)
	o := workerOptions{name: "first", taskQueue: b.taskQueue, concurrency: 2 * count, activitiesOnly: true, drain: time.Millisecond}
	first = startWorkerProcess(t, o)
	awaitRoom(t, newCaller(b, client.Options{}, "Double").queue, b.taskQueue, "Double", 0, time.Duration(0))
	run = b.start(scenario.Pipelines, scenario.Input{Count: count, StepTime: stepTime})
	require.Eventually(t, func() bool { return first.started() == 1+count }, time.Minute, 10*time.Millisecond)
	o.name = "second"
	return b, run, first, startWorkerProcess(t, o)
}

// requirePipelines waits for them and returns the highest attempt number of their activities.
func (b *bed) requirePipelines(run client.WorkflowRun, count int) (attempts int32) {
	b.t.Helper()
	var got []scenario.Pipeline
	require.NoError(b.t, run.Get(b.t.Context(), &got))
	require.Len(b.t, got, count)
	for i, p := range got {
		require.Empty(b.t, p.Error)
		require.Equal(b.t, scenario.Want(i), p.Value)
	}
	for _, event := range history(b.t, b.c, run) {
		attempts = max(attempts, event.GetActivityTaskStartedEventAttributes().GetAttempt())
	}
	return attempts
}

// A worker that stops burns no attempt: what it runs goes on elsewhere.
func TestAStoppingWorkerHandsItsDivertedActivitiesOver(t *testing.T) {
	const count = 5
	b, run, first, second := foreignPipelines(t, count, 5*time.Second)
	first.stop(t)
	require.EqualValues(t, 1, b.requirePipelines(run, count))
	require.Positive(t, second.started())
	second.stop(t)
}

// A worker that is killed costs an attempt, and Temporal knows long before the StartToClose
// time-out of ten minutes.
func TestAKilledWorkersDivertedActivitiesAreTriedAgain(t *testing.T) {
	const (
		count    = 5
		stepTime = 5 * time.Second
	)
	b, run, first, second := foreignPipelines(t, count, stepTime)
	first.kill()
	killed := time.Now()
	require.EqualValues(t, 2, b.requirePipelines(run, count))
	require.Less(t, time.Since(killed), 2*lease+retryInterval+scenario.StepsPerPipeline*stepTime+slack)
	second.stop(t)
}
