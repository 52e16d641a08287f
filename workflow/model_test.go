package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// TestModel runs random programs against a queue and a worker that lose all they may
// lose: workflow tasks, answers, tasks, outcomes; and resets the runs in between. Every
// call must give its own echo, calls with one attempt must start once, and every prefix
// of every history must replay under every release.
//
//	SLIPSTREAM_SEED=1 SLIPSTREAM_PROGRAMS=50 SLIPSTREAM_CACHE=0 make test-library TEST_FLAGS='-run TestModel'
func TestModel(t *testing.T) {
	t.Parallel()
	c, namespace := dial(t)
	seed := uint64(number("SLIPSTREAM_SEED", int(time.Now().UnixNano())))
	programs := number("SLIPSTREAM_PROGRAMS", 12)
	t.Logf("SLIPSTREAM_SEED=%d SLIPSTREAM_PROGRAMS=%d", seed, programs)
	random := rand.New(rand.NewPCG(seed, 0))
	chaos := &chaos{
		random: rand.New(rand.NewPCG(seed, 1)), client: c, namespace: namespace,
		tasks: map[wire.Identity]*wire.Call{}, started: map[wire.Identity]int{},
	}
	queue := fmt.Sprint("model-", time.Now().UnixNano())
	config := workflow.Config{
		Enabled: yes, Marks: map[string]string{"Echo": "", "Other": "slow"},
		Dispatcher: func() workflow.Dispatcher { return chaos },
	}
	if number("SLIPSTREAM_CACHE", 1) == 0 {
		worker.SetStickyWorkflowCacheSize(0)
	}
	// A release is being rolled out: runs begin in either, and move when a task is lost.
	for _, r := range []release{{Config: config}, {Config: config, older: true}} {
		w := worker.New(c, queue, worker.Options{
			MaxConcurrentWorkflowTaskPollers: 5,
			Interceptors:                     []interceptor.WorkerInterceptor{r.interceptor()},
		})
		w.RegisterWorkflowWithOptions(programWorkflow(narrow), sdkworkflow.RegisterOptions{Name: "Program"})
		for _, name := range []string{"Echo", "Other", "Unmarked", "Local"} {
			w.RegisterActivityWithOptions(func(_ context.Context, q question) (question, error) { return q, nil }, sdkactivity.RegisterOptions{Name: name})
		}
		require.NoError(t, w.Start())
		defer w.Stop()
	}

	var running sync.WaitGroup
	// One at a time: they are for the processor, programs wait.
	replays := make(chan struct{}, 1)
	for i := range programs {
		p := program{Seed: random.Uint64(), Length: 2 + random.IntN(6), Loss: random.Float64() * 0.15}
		resets, disturbances := random.IntN(3), random.IntN(4)
		running.Go(func() {
			id := fmt.Sprint(queue, "-", i)
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
				ID: id, TaskQueue: queue, WorkflowTaskTimeout: 3 * time.Second,
			}, "Program", p)
			if err != nil {
				t.Errorf("start: %v", err)
				return
			}
			for range disturbances {
				running.Go(func() { chaos.disturb(ctx, id) })
			}
			for range resets {
				chaos.pause(2 * time.Second)
				chaos.reset(ctx, id)
			}
			if err := c.GetWorkflow(ctx, id, "").Get(ctx, nil); err != nil {
				t.Errorf("%s %+v: %v", id, p, err)
			}
			replays <- struct{}{}
			defer func() { <-replays }()
			replayAll(ctx, t, c, id, run.GetRunID())
			replayAll(ctx, t, c, id, "")
		})
	}
	running.Wait()
	chaos.mu.Lock()
	defer chaos.mu.Unlock()
	require.Empty(t, chaos.wrong)
	for id, n := range chaos.started {
		require.Equal(t, 1, n, "%v has one attempt", id)
	}
	t.Logf("%d tasks, %v", len(chaos.tasks), chaos.counts())
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func replayAll(ctx context.Context, t *testing.T, c client.Client, id, run string) {
	h := &historypb.History{}
	for it := c.GetWorkflowHistory(ctx, id, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			t.Errorf("history of %s: %v", id, err)
			return
		}
		h.Events = append(h.Events, e)
	}
	for name, release := range releases {
		r := release.replayer(t)
		arg := narrow
		if len(release.Marks) > 1 { // a release whose question has gained a field
			arg = wide
		}
		r.RegisterWorkflowWithOptions(programWorkflow(arg), sdkworkflow.RegisterOptions{Name: "Program"})
		for _, n := range prefixes(h) {
			err := r.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), &historypb.History{Events: h.GetEvents()[:n]})
			if err != nil {
				t.Errorf("replay of the first %d events of %s under %s: %v", n, id, name, err)
				return
			}
		}
	}
}

// program is what a run does; equal programs do the same, but for what is lost.
type program struct {
	Seed   uint64
	Length int
	Loss   float64 // of each workflow task
	Round  int
}

// question is what handlers are asked, and what they answer with.
type question struct{ Key string }

// narrow and wide make the argument of a call in two releases of the same workflow.
func narrow(key string) any { return question{key} }

func wide(key string) any {
	return struct {
		question
		Language string
	}{question{key}, "es"}
}

func programWorkflow(arg func(key string) any) func(sdkworkflow.Context, program) error {
	return func(ctx sdkworkflow.Context, p program) error {
		random := rand.New(rand.NewPCG(p.Seed, uint64(p.Round)))
		lose := func(ctx sdkworkflow.Context) {
			if !sdkworkflow.IsReplaying(ctx) && rand.Float64() < p.Loss {
				panic("the workflow task is lost")
			}
		}
		if err := answerOthers(ctx, arg); err != nil {
			return err
		}
		for range p.Length {
			if err := step(ctx, arg, random, lose); err != nil {
				return err
			}
			lose(ctx)
		}
		err := sdkworkflow.Await(ctx, func() bool { return sdkworkflow.AllHandlersFinished(ctx) })
		if err == nil && p.Round < random.IntN(2) {
			p.Round++
			return sdkworkflow.NewContinueAsNewError(ctx, "Program", p)
		}
		return err
	}
}

// answerOthers makes calls when updates and signals come, whatever the program does.
func answerOthers(ctx sdkworkflow.Context, arg func(key string) any) error {
	o := sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute}
	echo := func(ctx sdkworkflow.Context, key string) (string, error) {
		var got question
		err := sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, o), "Echo", arg(key)).Get(ctx, &got)
		return got.Key, err
	}
	sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
		for {
			var key string
			sdkworkflow.GetSignalChannel(ctx, "ask").Receive(ctx, &key)
			if got, err := echo(ctx, key); err == nil && got != key {
				panic(fmt.Sprintf("a signal asked %q got %q", key, got))
			}
		}
	})
	return sdkworkflow.SetUpdateHandler(ctx, "ask", echo)
}

// step does one random thing, in which every call checks its own echo.
func step(ctx sdkworkflow.Context, newArg func(key string) any, random *rand.Rand, lose func(sdkworkflow.Context)) error {
	kind, width, wait := random.IntN(8), 1+random.IntN(5), random.IntN(2) == 0
	offset := random.IntN(6)
	cctx, cancel := sdkworkflow.WithCancel(ctx)
	defer cancel()
	o := sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute, WaitForCancellation: wait}
	if random.IntN(4) == 0 {
		o.RetryPolicy = &temporal.RetryPolicy{MaximumAttempts: 1}
	}
	cctx = sdkworkflow.WithActivityOptions(cctx, o)
	var key string
	err := sdkworkflow.SideEffect(ctx, func(sdkworkflow.Context) any { return fmt.Sprint(rand.Uint64()) }).Get(&key)
	if err != nil {
		return err
	}
	if random.IntN(2) == 0 {
		// The key is committed: attempts of the next workflow task make equal calls.
		_ = sdkworkflow.Sleep(ctx, time.Millisecond)
	}
	call := func(ctx sdkworkflow.Context, i int) func(sdkworkflow.Context) error {
		arg := fmt.Sprint(key, "-", i)
		var f sdkworkflow.Future
		switch name := []string{"Echo", "Other", "Echo", "Unmarked", "one call", "step by step"}[(i+offset)%6]; name {
		case "one call":
			f = workflow.Chain(ctx, newArg(arg), steps("Echo", "Echo", "Echo")...)
		case "step by step":
			f = workflow.Chain(ctx, newArg(arg), steps("Echo", "Unmarked", "Other")...)
		default:
			f = sdkworkflow.ExecuteActivity(ctx, name, newArg(arg))
		}
		return func(ctx sdkworkflow.Context) error {
			var got question
			err := f.Get(ctx, &got)
			var timeout *temporal.TimeoutError
			switch {
			case err == nil && got.Key != arg:
				return fmt.Errorf("asked %q got %q", arg, got.Key)
			case temporal.IsCanceledError(err) && kind == 3:
				return nil
			case errors.As(err, &timeout) && o.RetryPolicy != nil:
				return nil // it may have started before it was lost
			}
			return err
		}
	}
	var waits []func(sdkworkflow.Context) error
	switch kind {
	case 0, 1: // side by side
		for i := range width {
			waits = append(waits, call(cctx, i))
		}
		if kind == 1 {
			_ = sdkworkflow.Sleep(ctx, 10*time.Millisecond)
			lose(ctx)
		}
	case 2: // many coroutines, two calls each
		for i := range width {
			done, settable := sdkworkflow.NewFuture(ctx)
			sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
				err := call(cctx, i)(ctx)
				lose(ctx)
				settable.Set(nil, errors.Join(err, call(cctx, i+10)(ctx)))
			})
			waits = append(waits, func(ctx sdkworkflow.Context) error { return done.Get(ctx, nil) })
		}
	case 3: // cancelled, now or soon
		for i := range width {
			waits = append(waits, call(cctx, i))
		}
		if random.IntN(2) == 0 {
			_ = sdkworkflow.Sleep(ctx, time.Duration(random.IntN(40))*time.Millisecond)
		}
		cancel()
	case 4: // a local activity beside a call
		lctx := sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
		f := sdkworkflow.ExecuteLocalActivity(lctx, "Local", newArg(key))
		waits = append(waits, call(cctx, 0), func(ctx sdkworkflow.Context) error { return f.Get(ctx, nil) })
	case 5: // calls that overlap
		waits = append(waits, call(cctx, 0))
		_ = sdkworkflow.Sleep(ctx, 5*time.Millisecond)
		lose(ctx)
		waits = append(waits, call(cctx, 1))
	case 6: // one after the other
		for i := range width {
			if err := call(cctx, i)(ctx); err != nil {
				return err
			}
			lose(ctx)
		}
	case 7: // never waited for
		for i := range width {
			call(sdkworkflow.WithActivityOptions(ctx, o), i)
		}
	}
	for _, w := range waits {
		if err := w(ctx); err != nil {
			return err
		}
	}
	return nil
}

// chaos is a queue in memory that keeps its promises and nothing more.
type chaos struct {
	client    client.Client
	namespace string

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	tasks   map[wire.Identity]*wire.Call
	started map[wire.Identity]int // tasks with one attempt
	events  []string
	wrong   []string
}

func (q *chaos) counts() map[string]int {
	counts := map[string]int{}
	for _, e := range q.events {
		counts[e]++
	}
	return counts
}

func (q *chaos) chance(p float64, event string) bool {
	if q.random.Float64() >= p {
		return false
	}
	q.events = append(q.events, event)
	return true
}

func (q *chaos) pause(most time.Duration) {
	q.mu.Lock()
	d := time.Duration(q.random.Int64N(int64(most)))
	q.mu.Unlock()
	time.Sleep(d) //nolint:forbidigo // delays are the case
}

func (q *chaos) Dispatch(ctx context.Context, w *wire.Wave) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.chance(0.03, "dispatch failed before") {
		return nil, errors.New("redis is away")
	}
	if q.chance(0.03, "wipe") {
		clear(q.tasks)
	}
	m := &wire.Marker{RunID: info.RunID, First: w.First, Addresses: []wire.Address{{Pool: pool}}}
	for i := range w.Calls {
		c := &w.Calls[i]
		if c.Fingerprint == 0 {
			c.Fingerprint = wire.Fingerprint(info.RunID, c)
		}
		id := wire.Identity{RunID: info.RunID, Number: c.Number, Fingerprint: c.Fingerprint}
		a := wire.Answer{Number: c.Number, Type: c.Name(), State: wire.StateQueued, Fingerprint: c.Fingerprint}
		_, known := q.tasks[id]
		once := c.Once()
		switch {
		case slices.Contains(w.Early, id):
			q.events = append(q.events, "early")
			a.State = wire.StateEarly
		case !known && !w.Again && q.chance(0.05, "plain"):
			a.State, a.Address = wire.StatePlain, -1
		case !known && q.chance(0.05, "waiting"):
			a.State, a.Address = wire.StateWaiting, -1
		case !known && !once && q.chance(0.3, "done"):
			q.tasks[id] = c
			a.State, a.Outcome = wire.StateDone, q.outcome(id, c)
		default:
			if !known {
				q.add(info, id, c)
			}
			if q.chance(0.03, "unsure") {
				a.State = wire.StateUnsure
			}
		}
		m.Answers = append(m.Answers, a)
	}
	if q.chance(0.05, "dispatch failed after") {
		return nil, errors.New("the answer is lost")
	}
	return wire.EncodeMarker(m), nil
}

func (q *chaos) outcome(id wire.Identity, c *wire.Call) *wire.Outcome {
	return &wire.Outcome{Identity: id, Kind: wire.KindCompleted, Attempt: 1, Worker: "chaos", Payloads: c.Input.GetPayloads()}
}

// add has a task run and its outcome signalled, once, twice or not at all.
func (q *chaos) add(info sdkworkflow.Execution, id wire.Identity, c *wire.Call) {
	q.tasks[id] = c
	if c.Once() {
		q.started[id]++
	}
	if q.chance(0.03, "never signalled") {
		return
	}
	signals := 1
	if q.chance(0.1, "signalled twice") {
		signals = 2
	}
	for range signals {
		go func() {
			q.pause(30 * time.Millisecond)
			q.signal(info, q.outcome(id, c))
		}()
	}
}

func (q *chaos) signal(info sdkworkflow.Execution, o *wire.Outcome) {
	_, _ = q.client.WorkflowService().SignalWorkflowExecution(context.Background(), &workflowservice.SignalWorkflowExecutionRequest{
		Namespace: q.namespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: info.ID},
		SignalName: wire.SignalName, Input: wire.EncodeSignal([]wire.Outcome{*o}),
	})
}

func (*chaos) Progress(calls []wire.OpenCall) []workflow.Progress {
	return make([]workflow.Progress, len(calls))
}

func (q *chaos) Reconcile(ctx context.Context, ask *wire.Ask) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.chance(0.05, "ask failed") {
		return nil, errors.New("redis is away")
	}
	r := &wire.AskReply{RunID: info.RunID, Addresses: []wire.Address{{Pool: pool}}}
	identity := func(o *wire.OpenCall) wire.Identity {
		if o.Call == nil {
			return o.Identity
		}
		return wire.Identity{RunID: info.RunID, Number: o.Number, Fingerprint: wire.Fingerprint(info.RunID, o.Call)}
	}
	for i := range ask.Orphans {
		o := &ask.Orphans[i]
		if q.chance(0.3, "deaf for an orphan") {
			r.Found = append(r.Found, wire.Answer{Number: o.Number, Type: o.Type, State: wire.StateUnsure, Address: -1})
			continue
		}
		q.events = append(q.events, "orphan")
		delete(q.tasks, identity(o))
	}
	for i := range ask.Open {
		o := &ask.Open[i]
		id := identity(o)
		a := wire.Answer{Number: o.Number, Type: o.Type, State: wire.StateQueued, Fingerprint: id.Fingerprint}
		c, known := q.tasks[id]
		if known {
			q.events = append(q.events, "pulled")
			r.Taken = append(r.Taken, *q.outcome(id, c))
		} else {
			q.events = append(q.events, "not here")
			a.State = wire.StateNotHere
		}
		if !known || o.Call != nil {
			r.Found = append(r.Found, a)
		}
	}
	return wire.EncodeAskReply(r), nil
}

func (q *chaos) Cancel(ctx context.Context, r *wire.CancelRequest) error {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.chance(0.1, "cancel failed") {
		return errors.New("redis is away")
	}
	for _, c := range r.Calls {
		go q.signal(info, &wire.Outcome{Identity: c.Identity, Kind: wire.KindCanceled, Attempt: 1})
	}
	return nil
}

// disturb asks the run something from outside, by a signal and an update, and sends it
// junk. A run that has closed meanwhile answers none of it.
func (q *chaos) disturb(ctx context.Context, id string) {
	q.pause(500 * time.Millisecond)
	key := fmt.Sprint("outside-", rand.Uint64())
	_ = q.client.SignalWorkflow(ctx, id, "", "ask", key)
	_ = q.client.SignalWorkflow(ctx, id, "", wire.SignalName, "junk")
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	handle, err := q.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: id, UpdateName: "ask", Args: []any{key}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return
	}
	var got string
	err = handle.Get(ctx, &got)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil && got != key {
		q.wrong = append(q.wrong, fmt.Sprintf("an update asked %q got %q", key, got))
	} else if err == nil {
		q.events = append(q.events, "updated")
	}
}

// reset sets the current run of a workflow back to a random workflow task.
func (q *chaos) reset(ctx context.Context, id string) {
	var points []int64
	it := q.client.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		e, err := it.Next()
		if err != nil {
			return
		}
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			points = append(points, e.GetEventId())
		}
	}
	if len(points) == 0 {
		return
	}
	q.mu.Lock()
	request := &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: q.namespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: id},
		Reason: "model", RequestId: fmt.Sprint(q.random.Uint64()), WorkflowTaskFinishEventId: points[q.random.IntN(len(points))],
	}
	if q.random.IntN(2) == 0 {
		request.ResetReapplyExcludeTypes = []enumspb.ResetReapplyExcludeType{enumspb.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL}
	}
	q.mu.Unlock()
	_, err := q.client.WorkflowService().ResetWorkflowExecution(ctx, request)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		q.events = append(q.events, "reset")
	} else {
		q.events = append(q.events, err.Error())
	}
}
