package activity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// counter is a desk with a queue, whose client has the options o; A and B are marked, B with
// a pool of its own, and announced.
type counter struct {
	*desk
	*Queue
}

func newCounter(t *testing.T, o client.Options) *counter {
	t.Helper()
	d := newDesk(t, RuntimeOptions{Marks: map[string]string{"A": "", "B": "p", "noContext": ""}})
	o.Namespace, o.Logger = "namespace", testLogger
	d.rt.client = NewClient(&o)
	d.announce(t, PoolName(testQueue, "", ""), "A", "noContext")
	d.announce(t, PoolName(testQueue, "p", ""), "A", "B")
	return &counter{d, NewQueue(func() (*Runtime, error) { return d.rt, nil })}
}

// options are those of a batch that nobody is told of.
func options(id string) BatchOptions { return BatchOptions{ID: id, TaskQueue: testQueue} }

func taskA(args ...any) Task {
	return Task{Activity: "A", Args: args, StartToCloseTimeout: time.Minute}
}

// claimed returns what executors get of a pool's tasks, by number.
func (c *counter) claimed(t *testing.T, pool string, n int) map[uint64]*batchqueue.Delivery {
	t.Helper()
	got := make(chan *batchqueue.Delivery, n)
	c.executor(t, pool, []string{"A", "B", "noContext"}, func(d *batchqueue.Delivery) batchqueue.Result {
		got <- d
		return completing(d)
	})
	out := map[uint64]*batchqueue.Delivery{}
	for range n {
		select {
		case d := <-got:
			out[d.Number] = d
		case <-time.After(10 * time.Second):
			require.FailNow(t, "no task")
		}
	}
	return out
}

// stamping is a client interceptor and a propagator that write into headers.
type stamping struct {
	interceptor.ClientInterceptorBase
	interceptor.ClientOutboundInterceptorBase
	seen *[]string
}

func (s *stamping) InterceptClient(next interceptor.ClientOutboundInterceptor) interceptor.ClientOutboundInterceptor {
	i := &stamping{seen: s.seen}
	i.Next = next
	return i
}

func (s *stamping) ExecuteActivity(ctx context.Context, in *interceptor.ClientExecuteActivityInput) (client.ActivityHandle, error) {
	*s.seen = append(*s.seen, fmt.Sprint("activity ", in.ActivityType, " ", in.Options.ID, " ", in.Args))
	interceptor.Header(ctx)["span"] = &commonpb.Payload{Data: []byte(in.Options.ID)}
	if len(in.Args) > 0 && in.Args[0] == "refused" {
		return nil, errors.New("not this one")
	}
	if len(in.Args) > 0 && in.Args[0] == "kept" {
		return nil, nil //nolint:nilnil // an interceptor that answers itself
	}
	return s.Next.ExecuteActivity(ctx, in)
}

func (s *stamping) SignalWorkflow(ctx context.Context, in *interceptor.ClientSignalWorkflowInput) error {
	*s.seen = append(*s.seen, fmt.Sprint("signal ", in.WorkflowID, " ", in.RunID, " ", in.SignalName, " ", in.Arg))
	interceptor.Header(ctx)["span"] = &commonpb.Payload{Data: []byte("signal")}
	return s.Next.SignalWorkflow(ctx, in)
}

func (s *stamping) SignalWithStartWorkflow(ctx context.Context, in *interceptor.ClientSignalWithStartWorkflowInput) (client.WorkflowRun, error) {
	*s.seen = append(*s.seen, fmt.Sprint("start ", in.WorkflowType, " ", in.Args))
	return s.Next.SignalWithStartWorkflow(ctx, in)
}

// injecting is a propagator of a constant.
type injecting struct{ propagator }

func (injecting) Inject(_ context.Context, w sdkworkflow.HeaderWriter) error {
	w.Set("key", &commonpb.Payload{Data: []byte("k")})
	return nil
}

// What is enqueued is what the client's own calls would have sent: interceptors,
// propagators and converters have been through it.
func TestEnqueuedIsWhatTheClientWouldSend(t *testing.T) {
	var seen []string
	c := newCounter(t, client.Options{
		Interceptors:       []interceptor.ClientInterceptor{&stamping{seen: &seen}},
		ContextPropagators: []sdkworkflow.ContextPropagator{injecting{}},
	})
	o := options("b")
	o.OnComplete = &OnComplete{WorkflowID: "w", RunID: "r", SignalName: "done", Context: "mine"}
	_, err := c.EnqueueBatch(t.Context(), o, []Task{
		{Activity: "A", Args: []any{"x", 1}, ScheduleToCloseTimeout: time.Hour, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 3, NonRetryableErrorTypes: []string{"E"}}},
		{Activity: noContext, Args: []any{"y"}, StartToCloseTimeout: time.Minute, HeartbeatTimeout: time.Hour},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"activity A b/0 [x 1]", "activity noContext b/1 [y]", "signal w r done mine"}, seen)

	tasks := c.claimed(t, testQueue, 2)
	require.Equal(t, batchqueue.TaskOptions{
		ScheduleToStart: time.Hour, ScheduleToClose: time.Hour, StartToClose: time.Hour,
		Retry: batchqueue.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 100 * time.Second, MaximumAttempts: 3},
	}, tasks[1].Options, "completed as the server does")
	require.Equal(t, time.Minute, tasks[2].Options.Heartbeat)
	a, err := decodeAddress(tasks[1].Common)
	require.NoError(t, err)
	require.Equal(t, []string{"namespace", "", "", testQueue, "b", "w"}, []string{a.Namespace, a.WorkflowID, a.WorkflowType, a.TaskQueue, a.Batch, a.Receiver})
	require.NotEmpty(t, a.RunID)
	for number, want := range map[uint64]string{1: "b/0", 2: "b/1"} {
		envelope, err := decodeCall(tasks[number].Payload)
		require.NoError(t, err)
		header, err := envelope.headerOr(a.Header)
		require.NoError(t, err)
		require.Equal(t, want, string(header.GetFields()["span"].GetData()))
		require.Equal(t, "k", string(header.GetFields()["key"].GetData()), "the propagator's")
		input, err := wire.DecodePayloads(envelope.Input)
		require.NoError(t, err)
		var s string
		require.NoError(t, converter.GetDefaultDataConverter().FromPayload(input.GetPayloads()[0], &s))
	}
	first, err := decodeCall(tasks[1].Payload)
	require.NoError(t, err)
	require.Equal(t, []string{"E"}, first.NonRetryable)
	signal := &workflowservice.SignalWorkflowExecutionRequest{}
	require.NoError(t, proto.Unmarshal(a.Signal, signal))
	require.Equal(t, "signal", string(signal.GetHeader().GetFields()["span"].GetData()))
	require.Empty(t, signal.GetRequestId())
	require.Equal(t, `"mine"`, string(signal.GetInput().GetPayloads()[0].GetData()))
}

func TestEnqueueFailsWhereTheClientWould(t *testing.T) {
	var seen []string
	c := newCounter(t, client.Options{Interceptors: []interceptor.ClientInterceptor{&stamping{seen: &seen}}})
	for want, task := range map[string]Task{
		"Tasks[0]: not this one": taskA("refused"),
		"Tasks[0]: an interceptor of the client kept the call to itself": taskA("kept"),
		"expected 1 args for function: noContext but found 2":            {Activity: noContext, Args: []any{"x", "y"}, StartToCloseTimeout: time.Minute},
		"unsupported type: chan int":                                     taskA(make(chan int)),
	} {
		_, err := c.Enqueue(t.Context(), options(""), task)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, batchqueue.ErrInvalid)
	}
	d, err := c.rt.client.newDrafts()
	require.NoError(t, err)
	defer d.Close()
	_, err = d.client.DescribeWorkflow(t.Context(), "w", "")
	require.ErrorContains(t, err, "cannot be called while a task is enqueued", "it is connected to nothing")
}

func TestEnqueueChecksItsOptions(t *testing.T) {
	c := newCounter(t, client.Options{})
	fine := &OnComplete{WorkflowID: "w", SignalName: "s"}
	start := func(o client.StartWorkflowOptions, workflow any, args ...any) *OnComplete {
		return &OnComplete{WorkflowID: "w", SignalName: "s", Start: &StartWorkflow{Options: o, Workflow: workflow, Args: args}}
	}
	for want, edit := range map[string]func(o *BatchOptions, t *Task){
		"BatchOptions.TaskQueue is empty":                         func(o *BatchOptions, _ *Task) { o.TaskQueue = "" },
		"BatchOptions.ID has 501 bytes":                           func(o *BatchOptions, _ *Task) { o.ID = strings.Repeat("x", 501) },
		"is not UTF-8":                                            func(o *BatchOptions, _ *Task) { o.ID = "\xff" },
		"BatchOptions.Retention is 1s":                            func(o *BatchOptions, _ *Task) { o.Retention = time.Second },
		"BatchOptions.Pool: the pool name \" x\"":                 func(o *BatchOptions, _ *Task) { o.Pool = " x" },
		"Tasks[0].Activity: Activity is nil":                      func(_ *BatchOptions, t *Task) { t.Activity = nil },
		"StartToCloseTimeout and ScheduleToCloseTimeout are both": func(_ *BatchOptions, t *Task) { t.StartToCloseTimeout = 0 },
		"HeartbeatTimeout is -1s":                                 func(_ *BatchOptions, t *Task) { t.HeartbeatTimeout = -time.Second },
		"RetryPolicy.BackoffCoefficient is 0.5":                   func(_ *BatchOptions, t *Task) { t.RetryPolicy = &temporal.RetryPolicy{BackoffCoefficient: .5} },
		"Args have 70":                                            func(_ *BatchOptions, t *Task) { t.Args = []any{strings.Repeat("x", 70_000)} },
		"OnComplete.WorkflowID has 0 bytes":                       func(o *BatchOptions, _ *Task) { o.OnComplete = &OnComplete{SignalName: "s"} },
		"OnComplete.SignalName has 0 bytes":                       func(o *BatchOptions, _ *Task) { o.OnComplete = &OnComplete{WorkflowID: "w"} },
		"OnComplete.SignalName is \"__slipstream_complete\"": func(o *BatchOptions, _ *Task) {
			o.OnComplete = &OnComplete{WorkflowID: "w", SignalName: "__slipstream_complete"}
		},
		"OnComplete.Context has 9": func(o *BatchOptions, _ *Task) { fine.Context = strings.Repeat("x", 9000); o.OnComplete = fine },
		"OnComplete.RunID and OnComplete.Start are both set": func(o *BatchOptions, _ *Task) {
			o.OnComplete = start(client.StartWorkflowOptions{TaskQueue: "q"}, "W")
			o.OnComplete.RunID = "r"
		},
		"OnComplete.Start.Options.TaskQueue is empty": func(o *BatchOptions, _ *Task) { o.OnComplete = start(client.StartWorkflowOptions{}, "W") },
		"OnComplete: workflow ID from options not used": func(o *BatchOptions, _ *Task) {
			o.OnComplete = start(client.StartWorkflowOptions{TaskQueue: "q", ID: "x"}, "W")
		},
		"OnComplete: invalid type": func(o *BatchOptions, _ *Task) { o.OnComplete = start(client.StartWorkflowOptions{TaskQueue: "q"}, 7) },
		"what the tasks share (headers, OnComplete with context": func(o *BatchOptions, _ *Task) {
			o.OnComplete = start(client.StartWorkflowOptions{TaskQueue: "q"}, "W", strings.Repeat("x", 70_000))
		},
	} {
		o, task := options("b"), taskA("x")
		edit(&o, &task)
		_, err := c.Enqueue(t.Context(), o, task)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, batchqueue.ErrInvalid, want)
	}
	_, err := c.EnqueueBatch(t.Context(), options("b"), nil)
	require.ErrorIs(t, err, batchqueue.ErrInvalid)
	_, err = c.EnqueueBatch(t.Context(), options("b"), make([]Task, maxBatchTasks+1))
	require.ErrorContains(t, err, "a batch has at most 100000")
	stats, err := c.Stats(t.Context(), Pool{TaskQueue: testQueue})
	require.NoError(t, err)
	require.Zero(t, stats.Enqueued)
}

func TestWhoMayEnqueueWhere(t *testing.T) {
	c := newCounter(t, client.Options{})
	_, err := c.Enqueue(t.Context(), options(""), Task{Activity: "C", StartToCloseTimeout: time.Minute})
	require.ErrorIs(t, err, ErrNotMarked)
	require.ErrorContains(t, err, `add {Activity: "C"} there`)

	b := Task{Activity: "B", StartToCloseTimeout: time.Minute}
	h, err := c.Enqueue(t.Context(), options(""), b)
	require.NoError(t, err)
	require.Equal(t, PoolName(testQueue, "p", ""), h.pool, "the mark's pool")
	_, err = c.EnqueueBatch(t.Context(), options(""), []Task{taskA(), b})
	require.ErrorContains(t, err, `the mark of "B" has the pool "p", that of "A" ""; set BatchOptions.Pool`)
	o := options("")
	o.Pool = "p"
	_, err = c.EnqueueBatch(t.Context(), o, []Task{taskA(), b})
	require.NoError(t, err)

	rt, err := c.runtime()
	require.NoError(t, err)
	_, err = rt.queue.SetConfig(t.Context(), PoolName(testQueue, "drained", ""), batchqueue.PoolConfig{Slots: 1, Draining: true})
	require.NoError(t, err)
	o.Pool = "drained"
	_, err = c.Enqueue(t.Context(), o, b)
	require.ErrorIs(t, err, ErrDraining)

	o.Pool = "nobody"
	began := time.Now()
	_, err = c.Enqueue(t.Context(), o, b)
	require.ErrorIs(t, err, ErrNotHandled)
	require.ErrorContains(t, err, `"B" is not announced in pool "default-test-taskqueue/nobody"`)
	require.GreaterOrEqual(t, time.Since(began), announcementWait/2, "it looked twice, in case a worker starts just now")
}

func TestTheSameIDAddsNothing(t *testing.T) {
	c := newCounter(t, client.Options{})
	h, err := c.EnqueueBatch(t.Context(), options("b"), []Task{taskA(1), taskA(2)})
	require.NoError(t, err)
	again, err := c.EnqueueBatch(t.Context(), options("b"), []Task{taskA(1), taskA("something else")})
	require.NoError(t, err)
	require.Equal(t, h, again)
	stats, err := c.Stats(t.Context(), Pool{TaskQueue: testQueue})
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Enqueued)
	other, err := c.Enqueue(t.Context(), options(""), taskA(1))
	require.NoError(t, err)
	another, err := c.Enqueue(t.Context(), options(""), taskA(1))
	require.NoError(t, err)
	require.NotEqual(t, other.ID, another.ID)
}

// breaking fails pipelines of scripts, from one on up to another (0: for ever), after Redis
// has seen them or before.
type breaking struct {
	from, upTo, seen int
	before           bool
	err              error
}

// through lets the queue's scripts pass by b.
func (c *counter) through(t *testing.T, b *breaking) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: c.redis.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(b)
	var err error
	c.rt.queue, err = batchqueue.New(rdb, batchqueue.Options{Namespace: "namespace"})
	require.NoError(t, err)
	c.rt.announced = newAnnouncements(c.rt.queue)
}

func (*breaking) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*breaking) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (b *breaking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" {
			b.seen++
		}
		fails := b.err != nil && b.seen >= b.from && (b.upTo == 0 || b.seen <= b.upTo)
		if !fails || !b.before {
			if err := next(ctx, cmds); !fails {
				return err
			}
		}
		for _, cmd := range cmds {
			cmd.SetErr(b.err)
		}
		return b.err
	}
}

// oomError is Redis's own word.
type oomError struct{}

func (oomError) Error() string { return "OOM command not allowed when used memory > 'maxmemory'." }
func (oomError) RedisError()   {}

// Whatever part of a batch was answered for, the same batch again makes it whole.
func TestUnsureIsMendedByTheSameBatch(t *testing.T) {
	lost := errors.New("connection reset")
	for name, b := range map[string]*breaking{
		"nothing arrived":              {from: 1, before: true, err: lost},
		"the first part arrived":       {from: 2, before: true, err: lost},
		"all arrived, answers did not": {from: 1, err: lost},
		"full":                         {from: 2, before: true, err: oomError{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t, client.Options{})
			c.through(t, b)
			c.rt.o.MaxPayloadBytes = 4 << 20
			tasks := make([]Task, 6) // of two pipelines
			for i := range tasks {
				tasks[i] = taskA(strings.Repeat("x", 2<<20))
			}
			h, err := c.EnqueueBatch(t.Context(), options(""), tasks)
			require.ErrorIs(t, err, ErrUnsure)
			if name == "full" {
				require.ErrorIs(t, err, batchqueue.ErrFull)
			} else {
				require.ErrorIs(t, err, batchqueue.ErrUnavailable)
			}
			require.NotEmpty(t, h.ID)
			c.rt.breaker.lock()
			_, err = c.Enqueue(t.Context(), options(""), taskA())
			require.ErrorIs(t, err, batchqueue.ErrUnavailable, "the breaker is open: at once, and for certain")
			require.NotErrorIs(t, err, ErrUnsure)

			b.err = nil
			c.rt.breaker.nextTry = time.Now()
			again, err := c.EnqueueBatch(t.Context(), options(h.ID), tasks)
			require.NoError(t, err)
			require.Equal(t, h, again)
			stats, err := c.Stats(t.Context(), Pool{TaskQueue: testQueue})
			require.NoError(t, err)
			require.EqualValues(t, len(tasks), stats.Enqueued)
		})
	}
}

// One answer that is lost is asked for again, and nobody hears of it.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	b := &breaking{from: 1, upTo: 1, err: errors.New("connection reset")}
	c := newCounter(t, client.Options{})
	c.through(t, b)
	_, err := c.EnqueueBatch(t.Context(), options("b"), []Task{taskA(1), taskA(2)})
	require.NoError(t, err)
	require.Equal(t, 2, b.seen)
	stats, err := c.Stats(t.Context(), Pool{TaskQueue: testQueue})
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Enqueued)
}

func TestEnqueueWithoutRedis(t *testing.T) {
	c := newCounter(t, client.Options{})
	c.redis.SetError("LOADING")
	h, err := c.Enqueue(t.Context(), options("b"), taskA())
	require.ErrorIs(t, err, batchqueue.ErrUnavailable)
	require.NotErrorIs(t, err, ErrUnsure, "it is not known who handles it, so nothing was sent")
	require.Zero(t, h)
	_, err = c.Status(t.Context(), Handle{ID: "b", pool: testQueue})
	require.ErrorIs(t, err, batchqueue.ErrUnavailable)
	require.ErrorIs(t, c.Cancel(t.Context(), Handle{ID: "b", pool: testQueue}), batchqueue.ErrUnavailable)
	require.ErrorIs(t, c.Cancel(t.Context(), Handle{ID: "b", pool: testQueue}, 0), batchqueue.ErrUnavailable)
	_, err = c.Stats(t.Context(), Pool{TaskQueue: testQueue})
	require.ErrorIs(t, err, batchqueue.ErrUnavailable)
	require.ErrorIs(t, c.CancelAll(t.Context(), Pool{TaskQueue: testQueue}), batchqueue.ErrUnavailable)
}

func TestStatusAndCancel(t *testing.T) {
	c := newCounter(t, client.Options{})
	h, err := c.EnqueueBatch(t.Context(), options("b"), []Task{taskA(1), taskA(2), taskA(3)})
	require.NoError(t, err)
	require.NoError(t, c.Cancel(t.Context(), h, 1, 7))
	want := []TaskStatus{
		{Index: 0, ActivityType: "A", State: batchqueue.StateWaiting},
		{Index: 1, ActivityType: "A", State: batchqueue.StateFinished, Outcome: workflow.OutcomeCanceled},
		{Index: 2, ActivityType: "A", State: batchqueue.StateWaiting},
	}
	got, err := c.Status(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, want, got)

	// A workflow's call in the same pool is none of CancelAll's business.
	m := c.dispatch(t, waveOf(callOf(1, "A")))
	require.NoError(t, c.CancelAll(t.Context(), Pool{TaskQueue: testQueue}, Pool{TaskQueue: testQueue, Name: "p"}))
	got, err = c.Status(t.Context(), h)
	require.NoError(t, err)
	for _, s := range got {
		require.Equal(t, workflow.OutcomeCanceled, s.Outcome)
	}
	status, err := c.queue.Status(t.Context(), testQueue, m.RunID, 1)
	require.NoError(t, err)
	require.Equal(t, batchqueue.StateWaiting, status.State)

	_, err = c.Status(t.Context(), Handle{ID: "unknown", pool: testQueue})
	require.ErrorIs(t, err, batchqueue.ErrNotFound)
	require.NoError(t, c.Cancel(t.Context(), Handle{ID: "unknown", pool: testQueue}))
	for _, err := range []error{
		c.Cancel(t.Context(), Handle{}), c.Cancel(t.Context(), h, -1), c.CancelAll(t.Context()), c.CancelAll(t.Context(), Pool{}),
	} {
		require.ErrorIs(t, err, batchqueue.ErrInvalid)
	}
	_, err = c.Stats(t.Context(), Pool{})
	require.ErrorIs(t, err, batchqueue.ErrInvalid)
}

// A batch that is over is known for its retention, then nothing of it is left.
func TestABatchIsKnownForItsRetention(t *testing.T) {
	for name, retention := range map[string]time.Duration{"default": 0, "an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := newCounter(t, client.Options{})
			o := options("b")
			o.Retention = retention
			h, err := c.EnqueueBatch(t.Context(), o, []Task{taskA(1), taskA(2)})
			require.NoError(t, err)
			e, err := c.queue.NewExecutor(batchqueue.ExecutorOptions{
				Pool: testQueue, Types: []string{"A"}, DrainTimeout: time.Second,
				Handler: func(_ context.Context, d *batchqueue.Delivery) batchqueue.Result { return completing(d) },
				Deliver: func(ctx context.Context, b *batchqueue.Batch) error { return c.w.deliver(ctx, &host{}, b) },
			})
			require.NoError(t, err)
			require.NoError(t, e.Start(t.Context()))
			require.Eventually(t, func() bool {
				tasks, err := c.Status(t.Context(), h)
				return err == nil && tasks[0].State == batchqueue.StateAcknowledged && tasks[1].State == batchqueue.StateAcknowledged
			}, 10*time.Second, 5*time.Millisecond)
			require.NoError(t, e.Stop(t.Context()))

			if retention == 0 {
				retention = defaultBatchRetention
			}
			c.redis.FastForward(retention - time.Minute)
			tasks, err := c.Status(t.Context(), h)
			require.NoError(t, err)
			require.Equal(t, workflow.OutcomeCompleted, tasks[0].Outcome)
			c.redis.FastForward(2 * time.Minute)
			_, err = c.Status(t.Context(), h)
			require.ErrorIs(t, err, batchqueue.ErrNotFound)
			for _, key := range c.redis.Keys() {
				require.NotContains(t, key, h.run())
			}
		})
	}
}

func TestAQueueWithoutRuntime(t *testing.T) {
	none := errors.New("no client yet")
	q := NewQueue(func() (*Runtime, error) { return nil, none })
	h := Handle{ID: "b", pool: "p"}
	_, err := q.Enqueue(t.Context(), options(""), taskA())
	require.ErrorIs(t, err, none)
	_, err = q.Status(t.Context(), h)
	require.ErrorIs(t, err, none)
	require.ErrorIs(t, q.Cancel(t.Context(), h), none)
	require.ErrorIs(t, q.CancelAll(t.Context(), Pool{TaskQueue: "q"}), none)
	_, err = q.Stats(t.Context(), Pool{TaskQueue: "q"})
	require.ErrorIs(t, err, none)
}

func TestHandlesAreText(t *testing.T) {
	for _, h := range []Handle{{ID: "b", pool: "q", slot: 3}, {ID: "a/b c%{}", pool: PoolName("q/1", "p@", "build"), slot: 0}} {
		text, err := h.MarshalText()
		require.NoError(t, err)
		var got Handle
		require.NoError(t, got.UnmarshalText(text))
		require.Equal(t, h, got)
	}
	require.Equal(t, "v1/q%2Fp/3/order+17", Handle{ID: "order 17", pool: "q/p", slot: 3}.String(), "handles are stored: the form never changes")
	for _, s := range []string{"", "v1/q/3", "v2/q/3/b", "v1/q/x/b", "v1//3/b", "v1/q/-1/b", "v1/q/3/", "v1/q/3/%zz", "v1/%zz/3/b"} {
		_, err := ParseHandle(s)
		require.ErrorIs(t, err, batchqueue.ErrInvalid, s)
	}
}
