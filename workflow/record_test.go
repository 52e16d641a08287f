package workflow_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// TestRecord runs the scenarios on a Temporal server. With SLIPSTREAM_RECORD=FOLDER it saves
// those histories that the release's folder does not have yet, for TestReplay.
func TestRecord(t *testing.T) {
	t.Parallel()
	c, namespace := dial(t)
	for _, s := range []*recording{
		{name: "pipeline", workflow: "Pipeline", args: []any{"a"}, want: "a...", store: store{now: all}},
		{name: "pipeline_signalled", workflow: "Pipeline", args: []any{"a"}, want: "a..."},
		{name: "mixed", workflow: "Mixed", args: []any{"a"}, want: "plain:a,3,one,two,plain:three,local:four", store: store{now: numbers(1)}},
		{name: "late", workflow: "Late", args: []any{"a"}, want: "3,local:a,plain:local:a,false"},
		{name: "fan_out", workflow: "FanOut", args: []any{100}, want: 190, store: store{now: numbers(2, 3, 5, 7)}},
		{name: "overlapping", workflow: "Overlapping", want: "slow", store: store{delay: func(n uint64) time.Duration {
			return map[uint64]time.Duration{1: 400 * time.Millisecond}[n]
		}}},
		{name: "lost_task", workflow: "SideEffect", want: "true", loseFirst: true},
		{name: "early", workflow: "Awaiting", args: []any{"x"}, want: "x", loseFirst: true},
		{name: "failed", workflow: "Retried", want: "Custom", store: store{now: all}},
		{name: "plain", workflow: "Pipeline", args: []any{"a"}, want: "plain:plain:plain:a...", store: store{plain: all}},
		{name: "cancel_one", workflow: "CancelOne", want: "sdk,sdk,sdk,activity,activity,activity",
			store: store{never: numbers(1, 2, 4, 5, 3, 6)}},
		{name: "cancel_all", workflow: "CancelAll", want: "clean-up", store: store{never: numbers(1), now: numbers(2)}, during: cancelIt},
		{name: "updates", workflow: "Updates", want: "a,b,c", store: store{now: numbers(2)}, during: updateIt},
		{name: "lost_dispatch", workflow: "Awaiting", args: []any{"x"}, want: "x", store: store{breakDispatch: 1, never: numbers(1), pull: true}},
		{name: "added_again", workflow: "Awaiting", args: []any{"x"}, want: "x", store: store{lose: numbers(1)}},
		{name: "heartbeating", workflow: "Awaiting", args: []any{"x"}, want: "x", store: store{now: all, hold: 12 * time.Second}},
		{name: "chains", workflow: "Chains", args: []any{"a"}, want: "ended:a,ended:plain:a,ended:failed in 1,ended:plain:a,ended:a,a,a", store: store{now: numbers(1, 2, 4)}},
		{name: "chains_lost_task", workflow: "Chains", args: []any{"a"}, want: "ended:a,ended:plain:a,ended:failed in 1,ended:plain:a,ended:a,a,a", loseFirst: true},
		{name: "chains_plain", workflow: "Chains", args: []any{"a"}, store: store{plain: all},
			want: "ended:plain:plain:plain:a,ended:plain:plain:plain:a,ended:plain:plain:fail,ended:plain:a,ended:plain:a,plain:a,plain:plain:a"},
		{name: "chains_unrouted", workflow: "Chains", args: []any{"a"}, disabled: true,
			want: "ended:plain:plain:plain:a,ended:plain:plain:plain:a,ended:plain:plain:fail,ended:plain:a,ended:plain:a,plain:a,plain:plain:a"},
		{name: "chains_added_again", workflow: "Chains", args: []any{"a"}, want: "ended:a,ended:plain:a,ended:failed in 1,ended:plain:a,ended:a,a,a",
			store: store{now: numbers(3), lose: numbers(2)}},
		{name: "cancel_chain", workflow: "CancelChain", want: "true,true", store: store{never: numbers(1, 2)}},
		{name: "unrouted", workflow: "Pipeline", args: []any{"a"}, want: "plain:plain:plain:a...", disabled: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.record(t, c, namespace)
		})
	}
}

func all(uint64) bool { return true }

func numbers(list ...uint64) func(uint64) bool {
	set := map[uint64]bool{}
	for _, n := range list {
		set[n] = true
	}
	return func(n uint64) bool { return set[n] }
}

func cancelIt(t *testing.T, c client.Client, run client.WorkflowRun, s *store) {
	s.waitFor(t, 1)
	require.NoError(t, c.CancelWorkflow(t.Context(), run.GetID(), run.GetRunID()))
}

func updateIt(t *testing.T, c client.Client, run client.WorkflowRun, _ *store) {
	for _, s := range []string{"a", "b", "c"} {
		h, err := c.UpdateWorkflow(t.Context(), client.UpdateWorkflowOptions{
			WorkflowID: run.GetID(), RunID: run.GetRunID(), UpdateName: "call", Args: []any{s},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		require.NoError(t, err)
		var got string
		require.NoError(t, h.Get(t.Context(), &got))
		require.Equal(t, s, got)
	}
}

// recording is one history to make.
type recording struct {
	name      string
	workflow  string
	args      []any
	want      any
	store     store
	loseFirst bool // the first workflow task fails after its dispatch
	disabled  bool
	during    func(*testing.T, client.Client, client.WorkflowRun, *store)
}

func (s *recording) record(t *testing.T, c client.Client, namespace string) {
	queue := "record-" + s.name + "-" + fmt.Sprint(time.Now().UnixNano())
	s.store.t, s.store.client, s.store.namespace = t, c, namespace
	s.store.tasks = map[wire.Identity]*task{}
	s.store.enqueued = make(chan uint64, 1000)
	config := workflow.Config{
		Enabled:    func() bool { return !s.disabled },
		Marks:      map[string]string{"Echo": "", "Other": "slow"},
		Dispatcher: func() workflow.Dispatcher { return &s.store },
	}
	w := worker.New(c, queue, worker.Options{Interceptors: []interceptor.WorkerInterceptor{
		&loser{lose: s.loseFirst}, &routing{Interceptor: workflow.NewInterceptor(config)},
	}})
	for name, f := range scenarios {
		w.RegisterWorkflowWithOptions(f, sdkworkflow.RegisterOptions{Name: name})
	}
	for name, prefix := range map[string]string{"Echo": "plain:", "Other": "plain:", "Unmarked": "plain:", "Local": "local:"} {
		w.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) {
			return prefix + s, nil
		}, sdkactivity.RegisterOptions{Name: name})
	}
	require.NoError(t, w.Start())
	defer w.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: queue, WorkflowTaskTimeout: 10 * time.Second}, s.workflow, s.args...)
	require.NoError(t, err)
	if s.during != nil {
		s.during(t, c, run, &s.store)
	}
	got := json.RawMessage{}
	require.NoError(t, run.Get(ctx, &got))
	want, err := json.Marshal(s.want)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))

	h := &historypb.History{}
	for it := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		require.NoError(t, err)
		// Stack traces tell where the source lies on somebody's disk.
		if failure := e.GetWorkflowTaskFailedEventAttributes().GetFailure(); failure != nil {
			failure.StackTrace = ""
		}
		// Sticky queues are named after the machine.
		if queue := e.GetWorkflowTaskScheduledEventAttributes().GetTaskQueue(); queue.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
			queue.Name = "sticky"
		}
		h.Events = append(h.Events, e)
	}
	var names []string
	for _, e := range h.GetEvents() {
		names = append(names, strings.TrimPrefix(e.GetEventType().String(), "EVENT_TYPE_"))
	}
	t.Log(strings.Join(names, " "))
	if folder := os.Getenv("SLIPSTREAM_RECORD"); folder != "" {
		save(t, folder+"/"+s.name+".json", h)
	}
}

// saving is held while a history and its line in SHA256SUMS are written.
var saving sync.Mutex

// save adds a history to those that are replayed for ever. What is there stays.
func save(t *testing.T, name string, h *historypb.History) {
	t.Helper()
	b, err := temporalproto.CustomJSONMarshalOptions{Indent: " "}.Marshal(h)
	require.NoError(t, err)
	b = append(b, '\n')
	saving.Lock()
	defer saving.Unlock()
	saved := sums(t)
	if saved[name] != "" {
		return
	}
	path := filepath.Join(histories, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, b, 0o644))
	saved[name] = fmt.Sprintf("%x", sha256.Sum256(b))
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		fmt.Fprintf(&lines, "%s  %s\n", saved[name], name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(histories, "SHA256SUMS"), []byte(lines.String()), 0o644))
}

// loser makes the first workflow task fail after its dispatch was carried out.
type loser struct {
	interceptor.WorkerInterceptorBase
	lose bool
	lost atomic.Bool
}

func (l *loser) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &losing{loser: l}
	in.Next = next
	return in
}

type losing struct {
	interceptor.WorkflowInboundInterceptorBase
	loser *loser
}

func (in *losing) ExecuteWorkflow(ctx sdkworkflow.Context, input *interceptor.ExecuteWorkflowInput) (any, error) {
	if in.loser.lose && !in.loser.lost.Load() {
		sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
			lctx := sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
			// The worker runs local activities side by side: this one ends after the dispatch.
			_ = sdkworkflow.ExecuteLocalActivity(lctx, func(context.Context) error {
				time.Sleep(time.Second) //nolint:forbidigo // longer than a dispatch, whatever the machine
				return nil
			}).Get(ctx, nil)
			in.loser.lost.Store(true)
			panic("the workflow task is lost")
		})
	}
	return in.Next.ExecuteWorkflow(ctx, input)
}

// store is a queue in memory that runs its tasks at once, by rules of its own.
type store struct {
	t             *testing.T
	client        client.Client
	namespace     string
	now           func(uint64) bool // done within the dispatch
	never         func(uint64) bool // not done until cancelled or pulled
	plain         func(uint64) bool // goes plain
	lose          func(uint64) bool // lost by the queue, once
	pull          bool              // outcomes come by ask alone
	breakDispatch int               // so many dispatches end in an error, after they were carried out
	hold          time.Duration     // how long a dispatch takes
	delay         func(uint64) time.Duration

	enqueued chan uint64

	mu    sync.Mutex // guards what follows
	tasks map[wire.Identity]*task
	lost  bool
}

type task struct{ call wire.Call }

func is(f func(uint64) bool, n uint64) bool { return f != nil && f(n) }

func (s *store) Dispatch(ctx context.Context, w *wire.Wave) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	time.Sleep(s.hold) //nolint:forbidigo // a slow dispatch is the case
	m := &wire.Marker{RunID: info.RunID, First: w.First, Addresses: []wire.Address{{Pool: pool}}}
	early := map[wire.Identity]bool{}
	for _, e := range w.Early {
		early[e] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range w.Calls {
		if c.Fingerprint == 0 {
			c.Fingerprint = wire.Fingerprint(info.RunID, &c)
		}
		id := wire.Identity{RunID: info.RunID, Number: c.Number, Fingerprint: c.Fingerprint}
		a := wire.Answer{Number: c.Number, Type: c.Name(), State: wire.StateQueued, Fingerprint: c.Fingerprint}
		switch {
		case early[id]:
			a.State = wire.StateEarly
		case is(s.plain, c.Number):
			a.State, a.Address = wire.StatePlain, -1
		case is(s.now, c.Number):
			a.State, a.Outcome = wire.StateDone, s.run(id, &c)
		case is(s.lose, c.Number) && !s.lost:
			s.lost = true
		default:
			if s.tasks[id] == nil {
				s.tasks[id] = &task{call: c}
				if !is(s.never, c.Number) {
					go s.deliver(info, id)
				}
			}
		}
		m.Answers = append(m.Answers, a)
		s.enqueued <- c.Number
	}
	if s.breakDispatch > 0 {
		s.breakDispatch--
		return nil, errors.New("the answer is lost")
	}
	return wire.EncodeMarker(m), nil
}

func (s *store) run(id wire.Identity, c *wire.Call) *wire.Outcome {
	o := &wire.Outcome{Identity: id, Kind: wire.KindCompleted, Attempt: 1, Worker: "store", Payloads: c.Input.GetPayloads()}
	if string(c.Input.GetPayloads()[0].GetData()) == `"fail"` {
		dc := converter.GetDefaultDataConverter()
		p, err := wire.EncodeFailure(dc, temporal.GetDefaultFailureConverter().ErrorToFailure(temporal.NewNonRetryableApplicationError("no", "Custom", nil)))
		if err != nil {
			panic(err)
		}
		o.Kind, o.Payloads, o.Step = wire.KindFailed, []*commonpb.Payload{p}, int32(len(c.Then))
	} else if c.Results {
		o.Payloads = slices.Repeat(o.Payloads, 1+len(c.Then))
	}
	return o
}

func (s *store) deliver(info sdkworkflow.Execution, id wire.Identity) {
	s.mu.Lock()
	o := s.run(id, &s.tasks[id].call)
	delay := s.delay
	s.mu.Unlock()
	if delay != nil {
		time.Sleep(delay(id.Number)) //nolint:forbidigo // a handler that takes its time is the case
	}
	s.signal(info, o)
}

func (s *store) signal(info sdkworkflow.Execution, o *wire.Outcome) {
	_, _ = s.client.WorkflowService().SignalWorkflowExecution(context.Background(), &workflowservice.SignalWorkflowExecutionRequest{
		Namespace:         s.namespace,
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: info.ID, RunId: info.RunID},
		SignalName:        wire.SignalName,
		Input:             wire.EncodeSignal([]wire.Outcome{*o}),
	})
}

func (*store) Progress(calls []wire.OpenCall) []workflow.Progress {
	return make([]workflow.Progress, len(calls))
}

func (s *store) Reconcile(ctx context.Context, ask *wire.Ask) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	r := &wire.AskReply{RunID: info.RunID, Addresses: []wire.Address{{Pool: pool}}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range ask.Open {
		id := o.Identity
		a := wire.Answer{Number: o.Number, Type: o.Type, State: wire.StateNotHere}
		if o.Call != nil {
			id = wire.Identity{RunID: info.RunID, Number: o.Number, Fingerprint: wire.Fingerprint(info.RunID, o.Call)}
		}
		a.Fingerprint = id.Fingerprint
		known := s.tasks[id]
		if known != nil {
			a.State = wire.StateQueued
			if s.pull {
				r.Taken = append(r.Taken, *s.run(id, &known.call))
			}
		}
		if known == nil || o.Call != nil {
			r.Found = append(r.Found, a)
		}
	}
	return wire.EncodeAskReply(r), nil
}

func (s *store) Cancel(ctx context.Context, r *wire.CancelRequest) error {
	info := sdkactivity.GetInfo(ctx).WorkflowExecution
	for _, c := range r.Calls {
		go s.signal(info, &wire.Outcome{Identity: c.Identity, Kind: wire.KindCanceled, Attempt: 1})
	}
	return nil
}

func (s *store) waitFor(t *testing.T, n uint64) {
	t.Helper()
	for got := range s.enqueued {
		if got == n {
			return
		}
	}
}
