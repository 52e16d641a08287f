package e2e

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
	"github.com/slipstream-go/slipstream/workflow"
)

// ending is what a collector makes of a completion.
type ending struct {
	Batch   string
	Index   int
	Outcome workflow.OutcomeKind
	Result  string
	Error   string // the types along the chain
	Context string
	Tenant  string
}

// collect waits for n completions and returns them by index.
func collect(ctx sdkworkflow.Context, n int) ([]ending, error) {
	endings := make([]ending, n)
	for got := 0; got < n; {
		var completions []workflow.Completion
		sdkworkflow.GetSignalChannel(ctx, "done").Receive(ctx, &completions)
		for _, c := range completions {
			if endings[c.Index].Outcome != "" {
				return nil, fmt.Errorf("task %d completed twice", c.Index)
			}
			e := ending{Batch: c.Batch, Index: c.Index, Outcome: c.Outcome}
			e.Error = chainOf(c.Get(ctx, &e.Result))
			if err := c.GetContext(ctx, &e.Context); err != nil {
				return nil, err
			}
			e.Tenant, _ = ctx.Value(tenant.Key{}).(string)
			endings[c.Index] = e
		}
		got += len(completions)
	}
	return endings, nil
}

// chainOf names the errors that an activity's caller may look for.
func chainOf(err error) string {
	if err == nil {
		return ""
	}
	var outer *temporal.ActivityError
	if !errors.As(err, &outer) {
		return "no activity error: " + err.Error()
	}
	var app *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	var canceled *temporal.CanceledError
	chain := outer.ActivityType().GetName()
	switch {
	case errors.As(err, &timeout):
		chain += ", " + timeout.TimeoutType().String()
	case errors.As(err, &app):
		var detail string
		_ = app.Details(&detail)
		chain += ", " + app.Type() + " " + detail
	case errors.As(err, &canceled):
		chain += ", canceled"
	}
	return chain
}

// caller is a process without workers that enqueues: a client with the plugin, no more.
type caller struct {
	*bed
	queue *activity.Queue
}

func newCaller(b *bed, o client.Options, marks ...any) *caller {
	b.t.Helper()
	options := plugin.Options{RedisURL: stack.RedisURL()}
	for _, m := range marks {
		options.Marks = append(options.Marks, plugin.Mark{Activity: m})
	}
	p, err := plugin.New(options)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = p.Close() })
	o.HostPort, o.Namespace, o.Logger, o.Plugins = stack.Temporal(), stack.Namespace(), quiet(), []client.Plugin{p}
	c, err := client.DialContext(b.t.Context(), o)
	require.NoError(b.t, err)
	b.t.Cleanup(c.Close)
	return &caller{b, p.Queue()}
}

func (c *caller) enqueue(o activity.BatchOptions, tasks ...activity.Task) activity.Handle {
	c.t.Helper()
	o.TaskQueue = c.taskQueue
	h, err := c.queue.EnqueueBatch(c.t.Context(), o, tasks)
	require.NoError(c.t, err)
	return h
}

// tell is the OnComplete of a collector.
func tell(run client.WorkflowRun) *activity.OnComplete {
	return &activity.OnComplete{WorkflowID: run.GetID(), SignalName: "done"}
}

func echo(s string) activity.Task {
	return activity.Task{Activity: (*echoes).Echo, Args: []any{s}, StartToCloseTimeout: time.Minute}
}

// states counts the tasks of a batch by state and outcome.
func (c *caller) states(h activity.Handle) map[string]int {
	c.t.Helper()
	tasks, err := c.queue.Status(c.t.Context(), h)
	require.NoError(c.t, err)
	counts := map[string]int{}
	for _, t := range tasks {
		counts[string(t.State)+" "+string(t.Outcome)]++
	}
	return counts
}

func (c *caller) awaitStates(h activity.Handle, want map[string]int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return fmt.Sprint(c.states(h)) == fmt.Sprint(want) }, 30*time.Second, 10*time.Millisecond,
		"want %v", want)
}

// A process without worker enqueues one task; a workflow that knows nothing of it is told,
// with what the caller's propagator carries.
func TestATaskWithoutWorkflow(t *testing.T) {
	inspect := func(ctx context.Context) (string, error) {
		info := sdkactivity.GetInfo(ctx)
		name, _ := ctx.Value(tenant.Key{}).(string)
		return fmt.Sprint(info.ActivityID, " ", info.IsWorkflowActivity(), " ", info.ActivityRunID != "", " ", info.Attempt, " ", name), nil
	}
	propagators := []sdkworkflow.ContextPropagator{tenant.Propagator{}}
	b := newBed(t, bedOptions{
		plugin:      plugin.Options{Marks: []plugin.Mark{{Activity: "inspect"}}},
		propagators: propagators, named: map[string]any{"inspect": inspect},
	}, []any{collect})
	ctx := context.WithValue(t.Context(), tenant.Key{}, "acme")
	run, err := b.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: b.taskQueue}, collect, 1)
	require.NoError(t, err)

	c := newCaller(b, client.Options{ContextPropagators: propagators}, "inspect")
	to := tell(run)
	to.Context = "order 17"
	h, err := c.queue.Enqueue(ctx, activity.BatchOptions{ID: "b", TaskQueue: b.taskQueue, OnComplete: to},
		activity.Task{Activity: "inspect", StartToCloseTimeout: time.Minute})
	require.NoError(t, err)
	require.Equal(t, "b", h.ID)

	var endings []ending
	require.NoError(t, run.Get(t.Context(), &endings))
	require.Equal(t, []ending{{
		Batch: "b", Outcome: workflow.OutcomeCompleted, Result: "b/0 false true 1 acme", Context: "order 17", Tenant: "acme",
	}}, endings)
}

// One workflow collects a wide batch: each outcome once, many in one signal.
func TestABatchOfFiveThousand(t *testing.T) {
	const width = 5000
	e := &echoes{}
	b := newBed(t, bedOptions{}, []any{collect}, e.Echo)
	run := b.start(collect, width)
	c := newCaller(b, client.Options{}, (*echoes).Echo)
	tasks := make([]activity.Task, width)
	for i := range tasks {
		tasks[i] = echo(fmt.Sprint(i))
	}
	to := tell(run)
	to.Context = "wide"
	h := c.enqueue(activity.BatchOptions{OnComplete: to}, tasks...)
	var endings []ending
	require.NoError(t, run.Get(t.Context(), &endings))
	for i, end := range endings {
		require.Equal(t, ending{Batch: h.ID, Index: i, Outcome: workflow.OutcomeCompleted, Result: fmt.Sprint("echo ", i), Context: "wide"}, end)
	}
	signals := b.events(run, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
	t.Log("signals:", signals)
	require.Less(t, signals, width/20)
	require.EqualValues(t, width, e.starts.Load())
	c.awaitStates(h, map[string]int{"acknowledged completed": width})
}

// The first outcome starts the workflow; the worker that runs it has no plugin.
func TestSignalWithStart(t *testing.T) {
	b := newBed(t, bedOptions{}, nil, (&echoes{}).Echo)
	plain := dial(t)
	collectors := worker.New(plain, b.taskQueue+"-collectors", worker.Options{})
	collectors.RegisterWorkflow(collect)
	require.NoError(t, collectors.Start())
	t.Cleanup(collectors.Stop)

	c := newCaller(b, client.Options{}, (*echoes).Echo)
	id := "collector-" + uuid.NewString()
	c.enqueue(activity.BatchOptions{OnComplete: &activity.OnComplete{
		WorkflowID: id, SignalName: "done", Context: "c",
		Start: &activity.StartWorkflow{
			Options:  client.StartWorkflowOptions{TaskQueue: b.taskQueue + "-collectors", Memo: map[string]any{"why": "test"}},
			Workflow: collect, Args: []any{3},
		},
	}}, echo("a"), echo("b"), echo("c"))
	var endings []ending
	require.Eventually(t, func() bool {
		_, err := plain.DescribeWorkflow(t.Context(), id, "")
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, plain.GetWorkflow(t.Context(), id, "").Get(t.Context(), &endings))
	for i, want := range []string{"echo a", "echo b", "echo c"} {
		require.Equal(t, want, endings[i].Result)
		require.Equal(t, "c", endings[i].Context)
	}
	described, err := plain.DescribeWorkflowExecution(t.Context(), id, "")
	require.NoError(t, err)
	require.Contains(t, described.GetWorkflowExecutionInfo().GetMemo().GetFields(), "why")
}

// Failures, cancellations and time-outs have the error types of plain activities, in a
// worker with the plugin and in one without.
func TestEndingsThatAreNoResults(t *testing.T) {
	f := &failing{}
	b := newBed(t, bedOptions{}, []any{collect}, f.Fail)
	plain := worker.New(dial(t), b.taskQueue+"-plain", worker.Options{})
	plain.RegisterWorkflow(collect)
	require.NoError(t, plain.Start())
	t.Cleanup(plain.Stop)
	c := newCaller(b, client.Options{}, (*failing).Fail)
	for _, queue := range []string{b.taskQueue, b.taskQueue + "-plain"} {
		run, err := b.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: queue}, collect, 5)
		require.NoError(t, err)
		once := &temporal.RetryPolicy{MaximumAttempts: 1}
		task := func(how string, startToClose time.Duration, retry *temporal.RetryPolicy) activity.Task {
			return activity.Task{Activity: (*failing).Fail, Args: []any{how}, StartToCloseTimeout: startToClose, RetryPolicy: retry}
		}
		before := f.attempts.Load()
		h := c.enqueue(activity.BatchOptions{OnComplete: tell(run)},
			task("never again", time.Minute, nil),
			task("hang", 300*time.Millisecond, once),
			task("hang", time.Hour, nil),
			task("always", time.Minute, &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumAttempts: 3}),
			task("panic", time.Minute, once),
		)
		require.Eventually(t, func() bool { return f.attempts.Load() == before+7 }, 30*time.Second, 5*time.Millisecond)
		require.NoError(t, c.queue.Cancel(t.Context(), h, 2))
		var endings []ending
		require.NoError(t, run.Get(t.Context(), &endings))
		var got []string
		for _, e := range endings {
			got = append(got, string(e.Outcome)+": "+e.Error)
		}
		require.Equal(t, []string{
			"failed: Fail, Broken detail",
			"timed out: Fail, StartToClose",
			"canceled: Fail, canceled",
			"failed: Fail,  ",
			"failed: Fail",
		}, got)
		c.awaitStates(h, map[string]int{"acknowledged failed": 3, "acknowledged timed out": 1, "acknowledged canceled": 1})
	}
}

// The ID is an idempotency key: the same batch again, by another process, adds nothing.
func TestTheSameIDRunsOnce(t *testing.T) {
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{}, []any{collect}, e.Echo)
	run := b.start(collect, 2)
	first, second := newCaller(b, client.Options{}, (*echoes).Echo), newCaller(b, client.Options{}, (*echoes).Echo)
	o := activity.BatchOptions{ID: "order/17 {x}", OnComplete: tell(run)}
	h := first.enqueue(o, echo("slow 1"), echo("slow 2"))
	require.Equal(t, h, second.enqueue(o, echo("slow 1"), echo("slow 2")))
	parsed, err := activity.ParseHandle(h.String())
	require.NoError(t, err)
	require.Equal(t, h, parsed)
	require.Eventually(t, func() bool { return e.starts.Load() == 2 }, 30*time.Second, 5*time.Millisecond)
	close(e.hold)
	require.NoError(t, run.Get(t.Context(), nil))
	second.awaitStates(parsed, map[string]int{"acknowledged completed": 2})
	require.Equal(t, h, first.enqueue(o, echo("slow 1"), echo("other")), "also once it is over")
	require.Equal(t, map[string]int{"acknowledged completed": 2}, first.states(h))
	require.Equal(t, 1, e.times("slow 1"))
	require.Zero(t, e.times("other"))
}

// A workflow that does not exist gets nothing: what waits is parked. Once it exists, the
// same ID revives the batch, and what was computed is not computed again.
func TestAWorkflowThatDoesNotExist(t *testing.T) {
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Concurrency: 2}}, []any{collect}, e.Echo)
	c := newCaller(b, client.Options{}, (*echoes).Echo)
	id := "later-" + uuid.NewString()
	o := activity.BatchOptions{ID: "b", OnComplete: &activity.OnComplete{WorkflowID: id, SignalName: "done"}}
	tasks := []activity.Task{echo("at once"), echo("slow 1"), echo("slow 2"), echo("slow 3")}
	h := c.enqueue(o, tasks...)
	c.awaitStates(h, map[string]int{"finished completed": 1, "parked ": 3})
	require.Less(t, e.starts.Load(), int64(4), "what waited did not start")

	close(e.hold)
	run, err := b.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: b.taskQueue}, collect, 4)
	require.NoError(t, err)
	require.Equal(t, h, c.enqueue(o, tasks...))
	var endings []ending
	require.NoError(t, run.Get(t.Context(), &endings))
	require.Equal(t, "echo at once", endings[0].Result)
	require.Equal(t, 1, e.times("at once"))
}

// Nobody is told: Status says how the tasks end.
func TestFireAndForget(t *testing.T) {
	e := &echoes{}
	b := newBed(t, bedOptions{}, nil, e.Echo, (&failing{}).Fail)
	c := newCaller(b, client.Options{}, (*echoes).Echo, (*failing).Fail)
	h := c.enqueue(activity.BatchOptions{}, echo("x"), activity.Task{Activity: (*failing).Fail, Args: []any{"never again"}, StartToCloseTimeout: time.Minute})
	c.awaitStates(h, map[string]int{"acknowledged completed": 1, "acknowledged failed": 1})
	tasks, err := c.queue.Status(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, []activity.TaskStatus{
		{Index: 0, ActivityType: "Echo", State: batchqueue.StateAcknowledged, Outcome: workflow.OutcomeCompleted},
		{Index: 1, ActivityType: "Fail", State: batchqueue.StateAcknowledged, Outcome: workflow.OutcomeFailed},
	}, tasks)
	stats, err := c.queue.Stats(t.Context(), activity.Pool{TaskQueue: b.taskQueue})
	require.NoError(t, err)
	require.Zero(t, stats.Outbox)
	require.EqualValues(t, 2, stats.Enqueued)

	_, err = c.queue.Enqueue(t.Context(), activity.BatchOptions{TaskQueue: b.taskQueue + "-nobody"}, echo("x"))
	require.ErrorIs(t, err, activity.ErrNotHandled)
	_, err = c.queue.Enqueue(t.Context(), activity.BatchOptions{TaskQueue: b.taskQueue}, activity.Task{Activity: tenant.WhichTenant, StartToCloseTimeout: time.Minute})
	require.ErrorIs(t, err, activity.ErrNotMarked)
}

// Canceled tasks that wait never start; those of workflows go on.
func TestCancelWhatWaits(t *testing.T) {
	e, f := &echoes{}, &failing{release: make(chan struct{})}
	calls := func(ctx sdkworkflow.Context) (string, error) {
		var r string
		err := sdkworkflow.ExecuteActivity(withOptions(ctx), (*echoes).Echo, "of a workflow").Get(ctx, &r)
		return r, err
	}
	b := newBed(t, bedOptions{plugin: plugin.Options{Concurrency: 1, Window: -1}}, []any{calls}, e.Echo, f.Fail)
	c := newCaller(b, client.Options{}, (*echoes).Echo, (*failing).Fail)
	blocking := c.enqueue(activity.BatchOptions{}, activity.Task{Activity: (*failing).Fail, Args: []any{"deaf"}, StartToCloseTimeout: time.Hour})
	c.awaitStates(blocking, map[string]int{"claimed ": 1})
	run := b.start(calls)
	require.Eventually(t, func() bool {
		stats, err := c.queue.Stats(t.Context(), activity.Pool{TaskQueue: b.taskQueue})
		return err == nil && stats.Depth() == 1
	}, 30*time.Second, 10*time.Millisecond)

	some := c.enqueue(activity.BatchOptions{}, echo("1"), echo("2"), echo("3"))
	others := c.enqueue(activity.BatchOptions{}, echo("4"), echo("5"))
	require.NoError(t, c.queue.Cancel(t.Context(), some, 1))
	c.awaitStates(some, map[string]int{"waiting ": 2, "acknowledged canceled": 1})
	require.NoError(t, c.queue.Cancel(t.Context(), some))
	c.awaitStates(some, map[string]int{"acknowledged canceled": 3})
	require.NoError(t, c.queue.CancelAll(t.Context(), activity.Pool{TaskQueue: b.taskQueue}))
	c.awaitStates(others, map[string]int{"acknowledged canceled": 2})
	c.awaitStates(blocking, map[string]int{"canceling ": 1})
	close(f.release)
	c.awaitStates(blocking, map[string]int{"acknowledged failed": 1})
	var r string
	require.NoError(t, run.Get(t.Context(), &r))
	require.Equal(t, "echo of a workflow", r)
	require.EqualValues(t, 1, e.starts.Load())
}

// aead encrypts payloads, salted and bound to what they belong to.
type aead struct {
	cipher.AEAD
	context string
}

func newAEAD(t *testing.T) aead {
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	sealed, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return aead{sealed, ""}
}

func (a aead) WithSerializationContext(c converter.SerializationContext) converter.PayloadCodec {
	return aead{a.AEAD, fmt.Sprintf("%T %+v", c, c)}
}

func (a aead) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, a.NonceSize())
		_, _ = rand.Read(nonce)
		out[i] = &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/sealed")}, Data: a.Seal(nonce, nonce, plain, []byte(a.context))}
	}
	return out, nil
}

func (a aead) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()["encoding"]) != "binary/sealed" {
			return nil, errors.New("payload is not sealed") // strict: nothing passes by
		}
		plain, err := a.Open(nil, p.GetData()[:a.NonceSize()], p.GetData()[a.NonceSize():], []byte(a.context))
		if err != nil {
			return nil, err
		}
		out[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// stored is every value in Redis that belongs to the task queue.
func stored(t *testing.T, taskQueue string) string {
	t.Helper()
	o, err := redis.ParseURL(stack.RedisURL())
	require.NoError(t, err)
	rdb := redis.NewClient(o)
	defer rdb.Close()
	var all bytes.Buffer
	keys := rdb.Scan(t.Context(), 0, "*"+taskQueue+"*", 1000).Iterator()
	for keys.Next(t.Context()) {
		var value any
		switch rdb.Type(t.Context(), keys.Val()).Val() {
		case "hash":
			value = rdb.HGetAll(t.Context(), keys.Val()).Val()
		case "list":
			value = rdb.LRange(t.Context(), keys.Val(), 0, -1).Val()
		case "stream":
			value = rdb.XRange(t.Context(), keys.Val(), "-", "+").Val()
		case "zset":
			value = rdb.ZRange(t.Context(), keys.Val(), 0, -1).Val()
		default:
			value = rdb.Get(t.Context(), keys.Val()).Val()
		}
		fmt.Fprintln(&all, keys.Val(), value)
	}
	require.NoError(t, keys.Err())
	return all.String()
}

// With an encrypting codec, neither arguments nor results nor the context value can be read
// in Redis or in the signal; without one, this test would see them.
func TestWhatRedisShows(t *testing.T) {
	for name, dc := range map[string]converter.DataConverter{
		"plain":     converter.GetDefaultDataConverter(),
		"encrypted": converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), newAEAD(t)),
	} {
		t.Run(name, func(t *testing.T) {
			e := &echoes{hold: make(chan struct{})}
			var release sync.Once
			open := func() { release.Do(func() { close(e.hold) }) }
			t.Cleanup(open)
			b := newBed(t, bedOptions{plugin: plugin.Options{Concurrency: 2}, converter: dc}, []any{collect}, e.Echo, (&failing{}).Fail)
			c := newCaller(b, client.Options{DataConverter: dc}, (*echoes).Echo, (*failing).Fail)
			id := "later-" + uuid.NewString()
			o := activity.BatchOptions{ID: "b", OnComplete: &activity.OnComplete{
				WorkflowID: id, SignalName: "done", Context: "the context value",
				Start: &activity.StartWorkflow{
					Options:  client.StartWorkflowOptions{TaskQueue: b.taskQueue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE},
					Workflow: collect, Args: []any{2},
				},
			}}
			// A closed workflow that may not be started again refuses the outcomes, so they
			// stay where they can be looked at.
			closed, err := b.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: b.taskQueue}, collect, 0)
			require.NoError(t, err)
			require.NoError(t, closed.Get(t.Context(), nil))
			// A refused batch is stopped and its arguments go with it; those of this one wait.
			running := c.enqueue(activity.BatchOptions{ID: "a"}, echo("slow argument"))
			require.Eventually(t, func() bool { return c.states(running)["claimed "] == 1 }, 30*time.Second, 10*time.Millisecond)
			h := c.enqueue(o, echo("a result"))
			require.Eventually(t, func() bool { return c.states(h)["finished completed"] == 1 }, 30*time.Second, 10*time.Millisecond)
			all := stored(t, b.taskQueue)
			for _, secret := range []string{"echo a result", "the context value", "slow argument"} {
				require.Equal(t, name == "plain", strings.Contains(all, secret), secret)
			}

			open()
			o.ID = "c"
			run := b.start(collect, 2)
			o.OnComplete.WorkflowID, o.OnComplete.Start = run.GetID(), nil
			c.enqueue(o, echo("a result"), activity.Task{Activity: (*failing).Fail, Args: []any{"never again"}, StartToCloseTimeout: time.Minute})
			var endings []ending
			require.NoError(t, run.Get(t.Context(), &endings))
			require.Equal(t, "echo a result", endings[0].Result)
			require.Equal(t, "the context value", endings[0].Context)
			require.Equal(t, "Fail, Broken detail", endings[1].Error)
			for _, event := range history(t, b.c, run) {
				if s := event.GetWorkflowExecutionSignaledEventAttributes(); s != nil {
					require.Len(t, s.GetInput().GetPayloads(), 1)
					require.Equal(t, name == "plain", bytes.Contains(s.GetInput().GetPayloads()[0].GetData(), []byte("the context value")))
				}
			}
		})
	}
}
