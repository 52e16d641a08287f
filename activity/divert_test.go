package activity

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/workflow"
)

var lastToken atomic.Int64

// taskOf is an activity task of a workflow that knows nothing of the plugin.
func taskOf(t testing.TB, activityType string, args ...any) *activityTask {
	t.Helper()
	input, err := converter.GetDefaultDataConverter().ToPayloads(args...)
	require.NoError(t, err)
	now := timestamppb.Now()
	return &activityTask{
		TaskToken: fmt.Append(nil, "token ", lastToken.Add(1)), WorkflowNamespace: "namespace", WorkflowType: &commonpb.WorkflowType{Name: "W"},
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "workflow", RunId: "run"},
		ActivityType:      &commonpb.ActivityType{Name: activityType}, ActivityId: "five", Input: input,
		ScheduledTime: timestamppb.New(now.AsTime().Add(-time.Minute)), CurrentAttemptScheduledTime: now, StartedTime: now, Attempt: 3,
		StartToCloseTimeout: durationpb.New(time.Minute), ScheduleToCloseTimeout: durationpb.New(time.Hour),
		RetryPolicy: &commonpb.RetryPolicy{
			InitialInterval: durationpb.New(time.Second), BackoffCoefficient: 2, MaximumInterval: durationpb.New(time.Minute), MaximumAttempts: 9,
		},
	}
}

// start starts a worker of the site with an activity "noContext", which is marked, and the
// same as "unmarked".
func (s *site) start(t *testing.T, o worker.Options, activity any) *Worker {
	t.Helper()
	w := worker.New(s.client, "queue", o)
	w.RegisterActivityWithOptions(activity, sdkactivity.RegisterOptions{Name: "noContext"})
	w.RegisterActivityWithOptions(activity, sdkactivity.RegisterOptions{Name: "unmarked"})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	if s.plugin.rt.o.Divert {
		s.awaitRoom(t)
	}
	return s.worker(t)
}

// newDivertingSite is a site whose workers divert.
func newDivertingSite(t *testing.T, o client.Options) *site {
	t.Helper()
	s := newSite(t, o)
	s.plugin.rt.o.Divert = true
	return s
}

// awaitRoom waits until the worker has a permit that no claim speaks for: only then does
// it divert.
func (s *site) awaitRoom(t *testing.T) {
	t.Helper()
	w := s.onlyWorker()
	<-w.announced
	e := w.executors[PoolName("queue", "", "")]
	// Claims of the first moments may speak for all permits, and not yet have been sent.
	var since time.Time
	require.Eventually(t, func() bool {
		switch {
		case e == nil:
			return true
		case e.Free("noContext") == 0:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) > 50*time.Millisecond
	}, 20*time.Second, time.Millisecond)
}

// onlyWorker is the site's worker.
func (s *site) onlyWorker() *Worker {
	s.plugin.rt.mu.Lock()
	defer s.plugin.rt.mu.Unlock()
	for _, w := range s.plugin.rt.workers {
		return w
	}
	return nil
}

// worker is the site's only worker, when its executor has free permits.
func (s *site) worker(t *testing.T) *Worker {
	t.Helper()
	w := s.onlyWorker()
	<-w.announced
	require.Eventually(t, func() bool { return w.executors["queue"].Free("noContext") > 0 }, 10*time.Second, time.Millisecond)
	return w
}

// answer waits for the next answer to an activity task.
func (f *frontend) answer(t *testing.T) proto.Message {
	t.Helper()
	select {
	case a := <-f.answers:
		return a
	case <-time.After(20 * time.Second):
		require.FailNow(t, "no answer")
		return nil
	}
}

func (f *frontend) heartbeat(t *testing.T) *workflowservice.RecordActivityTaskHeartbeatRequest {
	t.Helper()
	select {
	case h := <-f.heartbeats:
		return h
	case <-time.After(20 * time.Second):
		require.FailNow(t, "no heartbeat")
		return nil
	}
}

// reply changes what heartbeats are answered with from now on.
func (f *frontend) reply(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// diverted is the number of tasks that went into the queue.
func (s *site) diverted(t *testing.T) int64 {
	t.Helper()
	stats, err := s.queue.Stats(t.Context(), "queue")
	require.NoError(t, err)
	return stats.Enqueued
}

func completed(t *testing.T, answer proto.Message) *workflowservice.RespondActivityTaskCompletedRequest {
	t.Helper()
	r, ok := answer.(*workflowservice.RespondActivityTaskCompletedRequest)
	require.True(t, ok, "%v", answer)
	return r
}

// What the handler sees and what Temporal is told are the same in both ways.
func TestDivertedTasksAreLikeThoseInPlace(t *testing.T) {
	type seen struct {
		Info    sdkactivity.Info
		Value   string
		Details []string
	}
	play := func(divert bool) (seen, *workflowservice.RespondActivityTaskCompletedRequest, []string) {
		var mu sync.Mutex
		var ran []string
		rec := &recorder{name: "user", mu: &mu, seen: &ran}
		s := newDivertingSite(t, client.Options{ContextPropagators: []sdkworkflow.ContextPropagator{propagator{}}})
		s.plugin.rt.o.Divert = divert
		var see seen
		var left time.Duration
		s.start(t, worker.Options{Interceptors: []interceptor.WorkerInterceptor{rec}}, func(ctx context.Context, p point, raw string) (*point, error) {
			see.Info = sdkactivity.GetInfo(ctx)
			left = time.Until(see.Info.Deadline)
			see.Info.Deadline = time.Time{}
			see.Value = fmt.Sprint(ctx.Value(propagatedKey{}))
			see.Details = make([]string, 2)
			if !sdkactivity.HasHeartbeatDetails(ctx) {
				return nil, errors.New("no details")
			}
			return &point{X: p.X, Y: len(raw)}, sdkactivity.GetHeartbeatDetails(ctx, &see.Details[0], &see.Details[1])
		})
		task := taskOf(t, "noContext", point{3, 4}, "abc")
		task.TaskToken, task.ScheduledTime, task.StartedTime = []byte("token"), timestamppb.New(time.Unix(1e9, 0)), timestamppb.New(time.Unix(1e9+5, 0))
		task.ScheduleToCloseTimeout = nil
		task.Header = &commonpb.Header{Fields: map[string]*commonpb.Payload{"key": {Data: []byte("v")}}}
		var err error
		task.HeartbeatDetails, err = converter.GetDefaultDataConverter().ToPayloads("one", "two")
		require.NoError(t, err)
		s.frontend.tasks <- task
		answer := completed(t, s.frontend.answer(t))
		require.Equal(t, divert, s.diverted(t) == 1)
		require.InDelta(t, time.Minute, left, float64(15*time.Second))
		answer.WorkerVersion, answer.Deployment, answer.DeploymentOptions = nil, nil, nil //nolint:staticcheck // deprecated, but the SDK sends them
		mu.Lock()
		defer mu.Unlock()
		return see, answer, slices.DeleteFunc(ran, func(line string) bool { return !strings.HasPrefix(line, "user executes") })
	}
	placeSeen, placeAnswer, placeRan := play(false)
	queueSeen, queueAnswer, queueRan := play(true)
	require.Equal(t, placeSeen, queueSeen)
	require.Equal(t, []string{"one", "two"}, queueSeen.Details)
	require.Equal(t, placeAnswer.String(), queueAnswer.String())
	require.Equal(t, placeRan, queueRan)
	require.Len(t, queueRan, 1, "the user's interceptors run once, around the handler")
}

// The task goes into the queue as it came: an argument type that decodes more than it
// encodes loses nothing.
func TestDivertedArgumentsAreNotEncodedAnew(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	task := taskOf(t, "noContext", "x")
	task.Input.Payloads[0].Metadata["mine"] = []byte("kept")
	d, err := w.newDiversion(t.Context(), "queue", task)
	require.NoError(t, err)
	c, err := decodeCall(d.wave.Tasks[0].Payload)
	require.NoError(t, err)
	carried, err := divertedFrom(c, &address{})
	require.NoError(t, err)
	require.True(t, proto.Equal(task.Input, carried.task.Input))
}

// An attempt is one run of the queue; the next attempt is another, also when a reset
// begins their numbers anew.
func TestEachAttemptIsARunOfItsOwn(t *testing.T) {
	task := taskOf(t, "noContext", "x")
	first, err := identityOf(task)
	require.NoError(t, err)
	again, err := identityOf(proto.CloneOf(task))
	require.NoError(t, err)
	require.Equal(t, divertedRun(task, first), divertedRun(task, again))
	task.StartedTime = timestamppb.New(task.StartedTime.AsTime().Add(time.Second))
	later, err := identityOf(task)
	require.NoError(t, err)
	require.NotEqual(t, divertedRun(task, first), divertedRun(task, later))
}

// tooLarge makes a task one that the queue refuses.
func tooLarge(task *activityTask) {
	task.Header = &commonpb.Header{Fields: map[string]*commonpb.Payload{"big": {Data: make([]byte, 3<<20)}}}
	task.ActivityId = string(make([]byte, 1000))
}

func TestRefusedTasksAreSaidOnceAMinute(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, noContext)
	before := len(s.log.own("warn"))
	for range 3 {
		task := taskOf(t, "noContext", "x")
		tooLarge(task)
		s.frontend.tasks <- task
		completed(t, s.frontend.answer(t))
	}
	require.Len(t, s.log.own("warn"), before+1)
}

func TestTasksThatCannotBeCarriedAreSaidOnceAMinute(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	workers := make(chan *Worker, 1)
	workers <- s.start(t, worker.Options{}, func(ctx context.Context) (bool, error) {
		w := <-workers
		bad := taskOf(t, "noContext")
		bad.ActivityId = "\xff" // no protobuf has it
		for range 3 {
			if diverted, err := w.divert(ctx, bad); diverted || err != nil {
				return diverted, err
			}
		}
		return false, nil
	})
	before := len(s.log.own("warn"))
	s.enqueue(t, "noContext", nil)
	s.frontend.signal(t)
	require.Len(t, s.log.own("warn"), before+1)
	require.Empty(t, s.log.at("error"))
}

func TestTasksThatStayInPlace(t *testing.T) {
	plain := &commonpb.Header{Fields: map[string]*commonpb.Payload{workflow.PlainHeader: {Data: []byte(workflow.PlainHeaderValue)}}}
	for name, c := range map[string]struct {
		site func(*site)
		task func(*activityTask)
	}{
		"not marked":              {task: func(task *activityTask) { task.ActivityType.Name = "unmarked" }},
		"diverting is off":        {site: func(s *site) { s.plugin.rt.o.Divert = false }},
		"the router says so":      {task: func(task *activityTask) { task.Header = plain }},
		"standalone":              {task: func(task *activityTask) { task.WorkflowExecution = nil; task.ActivityRunId = "a" }},
		"with priority":           {task: func(task *activityTask) { task.Priority = &commonpb.Priority{PriorityKey: 2} }},
		"with fairness":           {task: func(task *activityTask) { task.Priority = &commonpb.Priority{FairnessKey: "tenant"} }},
		"too large for the queue": {task: tooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDivertingSite(t, client.Options{})
			s.start(t, worker.Options{}, noContext)
			if c.site != nil {
				c.site(s)
			}
			task := taskOf(t, "noContext", "x")
			if c.task != nil {
				c.task(task)
			}
			s.frontend.tasks <- task
			require.Equal(t, task.TaskToken, completed(t, s.frontend.answer(t)).GetTaskToken())
			require.Zero(t, s.diverted(t))
			require.True(t, s.plugin.rt.breaker.allow())
		})
	}
	t.Run("of a session", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		s.start(t, worker.Options{EnableSessionWorker: true}, noContext)
		s.frontend.sessionTasks <- taskOf(t, "noContext", "x")
		completed(t, s.frontend.answer(t))
		require.Zero(t, s.diverted(t))
	})
	t.Run("default priority is none", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		s.start(t, worker.Options{}, noContext)
		task := taskOf(t, "noContext", "x")
		task.Priority = &commonpb.Priority{}
		s.frontend.tasks <- task
		completed(t, s.frontend.answer(t))
		require.EqualValues(t, 1, s.diverted(t))
	})
}

// No more is diverted than there is room for; the rest waits for a permit in its slot, so
// that the worker polls no more than it can run.
func TestNothingIsDivertedWithoutRoom(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.plugin.rt.o.Concurrency = 2
	var running, most atomic.Int64
	release := make(chan struct{})
	s.start(t, worker.Options{}, func(context.Context) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		return nil
	})
	for range 20 {
		s.frontend.tasks <- taskOf(t, "noContext")
	}
	require.Eventually(t, func() bool { return running.Load() == 2 && len(s.frontend.tasks) == 0 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, s.diverted(t), int64(4), "two, and what slips in where claims are slow")
	close(release)
	for range 20 {
		completed(t, s.frontend.answer(t))
	}
	require.EqualValues(t, 2, most.Load())
}

func TestAPausedPoolTakesNoTask(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, noContext)
	s.pause(t, true)
	s.frontend.tasks <- taskOf(t, "noContext", "x")
	completed(t, s.frontend.answer(t))
	require.Zero(t, s.diverted(t))
}

func TestWithoutRedisTasksRunInPlace(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, noContext)
	address := s.redis.Addr()
	s.redis.Close()
	for range 10 {
		s.frontend.tasks <- taskOf(t, "noContext", "x")
	}
	for range 10 {
		completed(t, s.frontend.answer(t))
	}
	require.NoError(t, s.redis.StartAddr(address))
	require.Eventually(t, func() bool {
		s.frontend.tasks <- taskOf(t, "noContext", "x")
		<-s.frontend.answers
		stats, err := s.queue.Stats(t.Context(), "queue")
		return err == nil && stats.Enqueued > 0
	}, 20*time.Second, 10*time.Millisecond)
}

// While the breaker is open nobody waits for Redis.
func TestAnOpenBreakerKeepsTasksInPlace(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, noContext)
	s.plugin.rt.breaker.report(false)
	s.plugin.rt.breaker.lock()
	s.frontend.tasks <- taskOf(t, "noContext", "x")
	completed(t, s.frontend.answer(t))
	require.Zero(t, s.diverted(t))
}

// lock keeps a breaker open that is: nobody probes.
func (b *breaker) lock() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nextTry = time.Now().Add(time.Hour)
}

// enqueues are those of activity tasks on their way to Redis: nothing else carries a
// token there.
type enqueues struct {
	// lost is how many of the next replies are lost.
	lost atomic.Int64
	// refused: Redis is full.
	refused atomic.Bool
	// answered, if set, holds replies back until it is closed.
	answered chan struct{}
}

func (e *enqueues) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (e *enqueues) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (e *enqueues) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ours := strings.Contains(fmt.Sprintf("%s", cmds[0].Args()), "token ")
		if ours && e.refused.Load() {
			cmds[0].SetErr(oom("OOM command not allowed when used memory > 'maxmemory'."))
			return cmds[0].Err()
		}
		err := next(ctx, cmds)
		if ours && e.answered != nil && cmds[0].Err() == nil {
			select {
			case <-e.answered:
			case <-ctx.Done():
			}
		}
		if ours && !redis.HasErrorPrefix(cmds[0].Err(), "NOSCRIPT") && e.lost.Add(-1) >= 0 {
			err = errors.New("the reply is lost")
			cmds[0].SetErr(err)
		}
		return err
	}
}

type oom string

func (e oom) Error() string { return string(e) }
func (e oom) RedisError()   {}

// intercept watches the site's enqueues of activity tasks.
func (s *site) intercept() *enqueues {
	e := &enqueues{}
	s.rdb.AddHook(e)
	return e
}

func TestAnEnqueueWhoseReplyIsLostIsRepeated(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	redis := s.intercept()
	s.start(t, worker.Options{}, noContext)
	redis.lost.Store(1)
	s.frontend.tasks <- taskOf(t, "noContext", "x")
	completed(t, s.frontend.answer(t))
	require.EqualValues(t, 1, s.diverted(t))
	require.Empty(t, s.frontend.answers)
}

func TestATaskThatMayBeInTheQueueRunsInPlaceUnlessItMayStartOnlyOnce(t *testing.T) {
	t.Run("again", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		redis := s.intercept()
		s.start(t, worker.Options{}, noContext)
		redis.lost.Store(2)
		s.frontend.tasks <- taskOf(t, "noContext", "x")
		completed(t, s.frontend.answer(t))
		completed(t, s.frontend.answer(t)) // as an activity may; Temporal takes the first
	})
	t.Run("again, and the copy is discarded", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		w := s.start(t, worker.Options{}, noContext)
		s.pause(t, true)
		d, err := w.newDiversion(t.Context(), "queue", taskOf(t, "noContext", "x"))
		require.NoError(t, err)
		_, err = d.enqueue(t.Context()) // loads the scripts
		require.NoError(t, err)
		d, err = w.newDiversion(t.Context(), "queue", taskOf(t, "noContext", "x"))
		require.NoError(t, err)
		s.intercept().lost.Store(2)
		diverted, err := d.enqueue(t.Context())
		require.NoError(t, err)
		require.False(t, diverted)
		next, err := w.newDiversion(t.Context(), "queue", taskOf(t, "noContext", "x"))
		require.NoError(t, err)
		diverted, err = next.enqueue(t.Context())
		require.NoError(t, err)
		require.True(t, diverted)
		status, err := s.queue.Status(t.Context(), "queue", d.wave.Run, 1)
		require.NoError(t, err)
		require.Equal(t, batchqueue.StateAcknowledged, status.State)
	})
	t.Run("once", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		redis := s.intercept()
		var starts atomic.Int64
		s.start(t, worker.Options{}, func(context.Context) error { starts.Add(1); return nil })
		redis.lost.Store(4)
		task := taskOf(t, "noContext")
		task.RetryPolicy.MaximumAttempts = 1
		s.frontend.tasks <- task
		completed(t, s.frontend.answer(t))
		require.EqualValues(t, 1, s.diverted(t))
		require.EqualValues(t, 1, starts.Load())
	})
	t.Run("once, and Redis does not come back in time", func(t *testing.T) {
		s := newDivertingSite(t, client.Options{})
		w := s.start(t, worker.Options{}, noContext)
		task := taskOf(t, "noContext", "x")
		task.RetryPolicy.MaximumAttempts = 1
		d, err := w.newDiversion(t.Context(), "queue", task)
		require.NoError(t, err)
		s.intercept().lost.Store(1 << 40)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		diverted, err := d.insist(ctx)
		require.False(t, diverted)
		var app *temporal.ApplicationError
		require.ErrorAs(t, err, &app)
		require.Equal(t, ErrTypeWorkerLost, app.Type())
		var timeout *temporal.TimeoutError
		require.ErrorAs(t, err, &timeout)
	})
}

// A full Redis answers: what it has not stored is not there.
func TestAFullRedisTakesNoTask(t *testing.T) {
	for _, attempts := range []int32{1, 5} {
		s := newDivertingSite(t, client.Options{})
		var starts atomic.Int64
		s.start(t, worker.Options{}, func(context.Context) error { starts.Add(1); return nil })
		s.intercept().refused.Store(true)
		task := taskOf(t, "noContext")
		task.RetryPolicy.MaximumAttempts = attempts
		s.frontend.tasks <- task
		completed(t, s.frontend.answer(t))
		require.Zero(t, s.diverted(t))
		require.EqualValues(t, 1, starts.Load())
	}
}

// Eager activity tasks arrive with the reply to a workflow task.
func TestEagerTasksArriveToo(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, noContext)
	marked, other := taskOf(t, "noContext", "x"), taskOf(t, "onlyError")
	err := InterceptUnary(t.Context(), "", &workflowservice.RespondWorkflowTaskCompletedRequest{Namespace: "namespace"},
		&workflowservice.RespondWorkflowTaskCompletedResponse{ActivityTasks: []*activityTask{marked, other}}, nil,
		func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil })
	require.NoError(t, err)
	require.Same(t, marked, arrived.take(marked.TaskToken))
	require.Nil(t, arrived.take(other.TaskToken), "not marked")

	err = InterceptUnary(t.Context(), "", &workflowservice.PollActivityTaskQueueRequest{Namespace: "another"}, marked, nil,
		func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil })
	require.NoError(t, err)
	require.Nil(t, arrived.take(marked.TaskToken), "of a namespace without the plugin")
}

// contextual stamps payloads with the serialization context that they were made under.
type contextual struct {
	converter.DataConverter
	under string
}

func (c contextual) WithSerializationContext(ctx converter.SerializationContext) converter.DataConverter {
	return contextual{c.DataConverter, fmt.Sprintf("%T %+v", ctx, ctx)}
}

func (c contextual) stamp(p *commonpb.Payload) *commonpb.Payload {
	if p != nil {
		p.Metadata["under"] = []byte(c.under)
	}
	return p
}

// check refuses payloads that were made under another context.
func (c contextual) check(p *commonpb.Payload) error {
	if under, stamped := p.GetMetadata()["under"]; stamped && string(under) != c.under {
		return fmt.Errorf("made under %s, read under %s", under, c.under)
	}
	return nil
}

func (c contextual) FromPayload(p *commonpb.Payload, v any) error {
	return errors.Join(c.check(p), c.DataConverter.FromPayload(p, v))
}

func (c contextual) FromPayloads(ps *commonpb.Payloads, v ...any) error {
	errs := []error{c.DataConverter.FromPayloads(ps, v...)}
	for _, p := range ps.GetPayloads() {
		errs = append(errs, c.check(p))
	}
	return errors.Join(errs...)
}

func (c contextual) ToPayload(v any) (*commonpb.Payload, error) {
	p, err := c.DataConverter.ToPayload(v)
	return c.stamp(p), err
}

func (c contextual) ToPayloads(v ...any) (*commonpb.Payloads, error) {
	ps, err := c.DataConverter.ToPayloads(v...)
	for _, p := range ps.GetPayloads() {
		c.stamp(p)
	}
	return ps, err
}

// Payloads stand in the activity's own events, and are encoded for them.
func TestDivertedTasksAreEncodedUnderTheActivitysContext(t *testing.T) {
	play := func(divert bool) []string {
		dc := contextual{DataConverter: converter.GetDefaultDataConverter(), under: "nothing"}
		s := newDivertingSite(t, client.Options{DataConverter: dc, FailureConverter: temporal.NewDefaultFailureConverter(
			temporal.DefaultFailureConverterOptions{DataConverter: dc, EncodeCommonAttributes: true})})
		s.plugin.rt.o.Divert = divert
		s.start(t, worker.Options{}, func(ctx context.Context, fail bool) (string, error) {
			sdkactivity.RecordHeartbeat(ctx, "details")
			if fail {
				return "", temporal.NewApplicationError("failed", "Type", "detail")
			}
			return "result", nil
		})
		var under []string
		for _, fail := range []bool{false, true} {
			s.frontend.tasks <- taskOf(t, "noContext", fail)
			under = append(under, string(s.frontend.heartbeat(t).GetDetails().GetPayloads()[0].GetMetadata()["under"]))
			switch r := s.frontend.answer(t).(type) {
			case *workflowservice.RespondActivityTaskCompletedRequest:
				under = append(under, string(r.GetResult().GetPayloads()[0].GetMetadata()["under"]))
			case *workflowservice.RespondActivityTaskFailedRequest:
				under = append(under, string(r.GetFailure().GetEncodedAttributes().GetMetadata()["under"]),
					string(r.GetFailure().GetApplicationFailureInfo().GetDetails().GetPayloads()[0].GetMetadata()["under"]))
			}
		}
		return under
	}
	place := play(false)
	require.Len(t, place, 5)
	require.Contains(t, place[0], "ActivitySerializationContext")
	require.Equal(t, place, play(true))
}

func TestArrivalsAreForgottenWithTheirTasks(t *testing.T) {
	task := taskOf(t, "noContext", "x")
	token := string(task.TaskToken)
	arrived.note(task)
	require.Same(t, task, arrived.take(task.TaskToken))
	require.Nil(t, arrived.take(task.TaskToken))
	arrived.note(task)
	runtime.KeepAlive(task)
	task = nil //nolint:wastedassign // this is the test
	require.Eventually(t, func() bool {
		runtime.GC()
		arrived.mu.Lock()
		defer arrived.mu.Unlock()
		_, known := arrived.tasks[token]
		return !known
	}, 10*time.Second, 10*time.Millisecond)
}
