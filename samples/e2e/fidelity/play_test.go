package fidelity

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/plugin"
)

// patience is how long a play may take, and anything that it waits for.
const patience = 3 * time.Minute

// workflowType is the name of the workflow that is played.
const workflowType = "Scenario"

// play is a scenario in one mode: a client, a worker on a task queue of its own, and one workflow.
type play struct {
	t    *testing.T
	ctx  context.Context
	mode mode
	// seen is for handlers and drivers.
	seen *notes
	// over is closed when the workflow has ended: what a deaf handler waits for.
	over     chan struct{}
	handlers atomic.Int64 // those that run

	// Options, to be changed before start. Without the plugin p.plugin has no effect.
	clientOptions client.Options
	workerOptions worker.Options
	pluginOptions plugin.Options
	startOptions  client.StartWorkflowOptions

	withoutPlugin bool // whatever the mode

	taskQueue, identity, workflowID string

	registrations []func(worker.Registry)
	worker        worker.Worker
	c             client.Client
	run           client.WorkflowRun
	finished      bool
	ended         bool

	mu   sync.Mutex
	runs []*workflowNotes // protected by mu: in the order of their first start
}

// workflowNotes are those of one run of the workflow, as the last replay began them.
type workflowNotes struct {
	runID string
	*notes
}

func newPlay(t *testing.T, m mode) *play {
	t.Helper()
	id := uuid.NewString()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p := &play{
		t: t, ctx: ctx, mode: m, seen: &notes{}, over: make(chan struct{}),
		taskQueue: "queue-" + id, identity: "worker-" + id, workflowID: "workflow-" + id,
	}
	t.Cleanup(p.end)
	p.clientOptions = client.Options{
		HostPort: stack.Temporal(), Namespace: stack.Namespace(), Identity: p.identity, Logger: logOnFailure(t),
	}
	p.workerOptions = worker.Options{
		WorkerStopTimeout: 5 * time.Second,
		// Heartbeats are how plain activities hear of their cancellation. One must be answered within the interval.
		MaxHeartbeatThrottleInterval: 4 * time.Second, DefaultHeartbeatThrottleInterval: 4 * time.Second,
	}
	p.pluginOptions = plugin.Options{RedisURL: stack.RedisURL(), DrainTimeout: time.Second}
	if m == withoutRedis {
		p.pluginOptions.RedisURL = "redis://127.0.0.1:1" // a port that nobody listens on
	}
	p.startOptions = client.StartWorkflowOptions{ID: p.workflowID, TaskQueue: p.taskQueue}
	return p
}

// activity registers an activity function under the name, and marks it.
func (p *play) activity(name string, f any) {
	// Counted, so that nobody reads the notes while a handler may add some.
	v := reflect.ValueOf(f)
	f = reflect.MakeFunc(v.Type(), func(args []reflect.Value) []reflect.Value {
		p.handlers.Add(1)
		defer p.handlers.Add(-1)
		return v.Call(args)
	}).Interface()
	p.pluginOptions.Marks = append(p.pluginOptions.Marks, plugin.Mark{Activity: name})
	p.register(func(r worker.Registry) {
		r.RegisterActivityWithOptions(f, sdkactivity.RegisterOptions{Name: name})
	})
}

// workflow registers the workflow that is played. It notes into see, and only there: a replay begins anew.
func (p *play) workflow(f func(ctx workflow.Context, see *notes) error) {
	p.register(func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
			see := p.begin(workflow.GetInfo(ctx).WorkflowExecution.RunID)
			err := f(ctx, see)
			see.seal()
			return err
		}, workflow.RegisterOptions{Name: workflowType})
	})
}

// child registers another workflow.
func (p *play) child(name string, f any) {
	p.register(func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	})
}

// register adds whatever the other functions have no word for.
func (p *play) register(f func(worker.Registry)) { p.registrations = append(p.registrations, f) }

func (p *play) begin(runID string) *notes {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runs {
		if r.runID == runID {
			r.notes = &notes{}
			return r.notes
		}
	}
	p.runs = append(p.runs, &workflowNotes{runID, &notes{}})
	return p.runs[len(p.runs)-1].notes
}

// noted tells whether the workflow has noted something under the key.
func (p *play) noted(key string) bool { return p.count(key) > 0 }

// count is how much the workflow has noted under the key.
func (p *play) count(key string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runs {
		for _, x := range r.all() {
			if x.key == key {
				n++
			}
		}
	}
	return n
}

// start starts the worker and the workflow. Calling it again does nothing.
func (p *play) start() {
	p.t.Helper()
	if p.run != nil {
		return
	}
	p.startWorker()
	p.run = p.execute()
}

// execute starts the workflow.
func (p *play) execute() client.WorkflowRun {
	p.t.Helper()
	run, err := p.c.ExecuteWorkflow(p.ctx, p.startOptions, workflowType)
	require.NoError(p.t, err)
	return run
}

// startWorker connects if need be and starts a worker. The test's end stops it.
func (p *play) startWorker() {
	p.t.Helper()
	p.connect()
	w := worker.New(p.c, p.taskQueue, p.workerOptions)
	for _, register := range p.registrations {
		register(w)
	}
	require.NoError(p.t, w.Start())
	p.worker = w
	p.t.Cleanup(p.stopWorker)
}

// stopWorker stops the worker in order. A second call does nothing.
func (p *play) stopWorker() {
	if p.worker != nil {
		p.worker.Stop()
		p.worker = nil
	}
}

func (p *play) connect() {
	p.t.Helper()
	if p.c != nil {
		return
	}
	if p.mode != plain && !p.withoutPlugin {
		slipstream, err := plugin.New(p.pluginOptions)
		require.NoError(p.t, err)
		p.t.Cleanup(func() { require.NoError(p.t, slipstream.Close()) })
		p.clientOptions.Plugins = append(p.clientOptions.Plugins, slipstream)
	}
	var err error
	p.c, err = client.DialContext(p.ctx, p.clientOptions)
	require.NoError(p.t, err)
	p.t.Cleanup(p.c.Close)
}

// end lets deaf handlers return. Calling it again does nothing.
func (p *play) end() {
	if !p.ended {
		p.ended = true
		close(p.over)
	}
}

// finish waits until the workflow has ended and notes how, and then for the handlers. Calling it again does nothing.
func (p *play) finish() {
	p.t.Helper()
	if p.finished {
		return
	}
	p.finished = true
	err := p.run.Get(p.ctx, nil)
	require.NoError(p.t, p.ctx.Err(), "the workflow did not end in %v", patience)
	if err == nil {
		p.seen.note("workflow", "completed")
	} else {
		p.seen.note("workflow", err)
	}
	p.end()
	p.await("the handlers' return", func() bool { return p.handlers.Load() == 0 })
}

// outcome returns everything that was noted.
func (p *play) outcome() outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	var o outcome
	for _, r := range p.runs {
		for _, n := range r.all() {
			o.add(n.key, p.normalise(n.value))
		}
	}
	for _, n := range p.seen.all() {
		o.add(n.key, p.normalise(n.value))
	}
	return o
}

// history is that of the workflow's current run as it stands now, or of another workflow's.
func (p *play) history(workflowID, runID string) []*historypb.HistoryEvent {
	p.t.Helper()
	var events []*historypb.HistoryEvent
	next := p.c.GetWorkflowHistory(p.ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for next.HasNext() {
		event, err := next.Next()
		require.NoError(p.t, err)
		events = append(events, event)
	}
	return events
}

// countEvents counts scheduled activities and recorded markers in the workflow's runs and those of its children.
func (p *play) countEvents() (scheduled, markers int) {
	p.t.Helper()
	type execution struct{ workflowID, runID string }
	left := []execution{{p.run.GetID(), p.run.GetRunID()}}
	for len(left) > 0 {
		next := left[0]
		left = left[1:]
		for _, event := range p.history(next.workflowID, next.runID) {
			switch event.GetEventType() {
			case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
				scheduled++
			case enumspb.EVENT_TYPE_MARKER_RECORDED:
				markers++
			case enumspb.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
				child := event.GetChildWorkflowExecutionStartedEventAttributes().GetWorkflowExecution()
				left = append(left, execution{child.GetWorkflowId(), child.GetRunId()})
			case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
				left = append(left, execution{next.workflowID, event.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()})
			}
		}
	}
	return scheduled, markers
}

// withOptions gives activity options to a context; a minute of StartToClose where they set no limit.
func withOptions(ctx workflow.Context, o workflow.ActivityOptions) workflow.Context {
	if o.StartToCloseTimeout == 0 && o.ScheduleToCloseTimeout == 0 {
		o.StartToCloseTimeout = time.Minute
	}
	return workflow.WithActivityOptions(ctx, o)
}

// attempts lets a call be tried n times in quick succession.
func attempts(ctx workflow.Context, n int32) workflow.Context {
	return withOptions(ctx, workflow.ActivityOptions{RetryPolicy: quickly(n)})
}

// quickly is a retry policy of n attempts that a test can wait for.
func quickly(n int32) *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, BackoffCoefficient: 1, MaximumAttempts: n}
}

// logOnFailure keeps what is logged for the case that the test fails.
func logOnFailure(t *testing.T) log.Logger {
	t.Helper()
	b := &buffer{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", b)
		}
	})
	return log.NewStructuredLogger(slog.New(slog.NewTextHandler(b, nil)))
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // protected by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
