package fidelity

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"
)

// lastTask is the event of the last completed workflow task, once none is under way.
func (p *play) lastTask() int64 {
	p.t.Helper()
	var last int64
	p.await("the end of a workflow task", func() bool {
		last = 0
		for _, e := range p.history(p.workflowID, "") {
			switch e.GetEventType() {
			case enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
				last = e.GetEventId()
			case enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED:
				last = 0
			}
		}
		return last > 0
	})
	return last
}

// reset begins the workflow anew at a workflow task, which is done again. From then on the play is about the new run.
func (p *play) reset(event int64, exclude ...enumspb.ResetReapplyExcludeType) {
	p.t.Helper()
	r, err := p.c.WorkflowService().ResetWorkflowExecution(p.ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace: stack.Namespace(), WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: p.workflowID}, Reason: "the scenario says so",
		WorkflowTaskFinishEventId: event, RequestId: uuid.NewString(), ResetReapplyExcludeTypes: exclude,
	})
	require.NoError(p.t, err)
	p.run = p.c.GetWorkflow(p.ctx, p.workflowID, r.GetRunId())
}

// resettable is a workflow of two calls, the second of which is open until it is released, with workflow tasks between
// that a test can reset it to.
type resettable struct {
	p       *play
	running chan struct{}
	release chan struct{}
	starts  atomic.Int64 // of the second call
}

func newResettable(p *play) *resettable {
	r := &resettable{p: p, running: make(chan struct{}, 10), release: make(chan struct{})}
	p.pluginOptions.Window = -1
	p.activity("First", func(_ context.Context, s string) (string, error) { return "first " + s, nil })
	p.activity("Second", func(ctx context.Context, s string) (string, error) {
		r.starts.Add(1)
		r.running <- struct{}{}
		select {
		case <-r.release:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		return "second " + s, nil
	})
	p.workflow(func(ctx workflow.Context, see *notes) error {
		wait := func(name string) { workflow.GetSignalChannel(ctx, name).Receive(ctx, nil) }
		wait("begin")
		_ = noteResult[string](ctx, see, "first", workflow.ExecuteActivity(attempts(ctx, 5), "First", "a"))
		wait("call")
		second := workflow.ExecuteActivity(attempts(ctx, 5), "Second", "b")
		wait("tick")
		see.note("ticked", true)
		_ = noteResult[string](ctx, see, "second", second)
		wait("end")
		return nil
	})
	p.start()
	return r
}

// open brings the workflow to where its second call is open, and returns the workflow task after that.
func (r *resettable) open() int64 {
	r.p.signal("begin", nil)
	r.p.await("the first result", func() bool { return r.p.noted("first") })
	r.p.signal("call", nil)
	r.p.receive("the second call's start", r.running)
	r.p.signal("tick", nil)
	r.p.await("the workflow to go on", func() bool { return r.p.noted("ticked") })
	return r.p.lastTask()
}

// settle brings it to where the second call is settled.
func (r *resettable) settle() {
	close(r.release)
	r.p.await("the second result", func() bool { return r.p.noted("second") })
}

const excludeSignals = enumspb.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL

var lifeScenarios = []scenario{
	{
		name: "reset to before its calls",
		play: func(p *play) {
			r := newResettable(p)
			first := p.lastTask()
			r.open()
			p.reset(first) // the signals are applied again
			p.receive("the second call's start in the new run", r.running)
			close(r.release)
			p.signal("end", nil)
		},
	},
	{
		name: "reset while a call is open",
		play: func(p *play) {
			r := newResettable(p)
			p.reset(r.open())
			p.signal("end", nil)
			close(r.release)
		},
	},
	{
		name: "reset twice while a call is open",
		play: func(p *play) {
			r := newResettable(p)
			at := r.open()
			p.reset(at)
			p.lastTask() // else nobody knows whether the run between notes anything
			p.reset(at)
			p.signal("end", nil)
			close(r.release)
		},
	},
	{
		name: "reset to before a result",
		play: func(p *play) {
			r := newResettable(p)
			at := r.open()
			r.settle()
			p.reset(at)
			p.signal("end", nil)
		},
	},
	{
		name: "reset to before a result, without its signal",
		play: func(p *play) {
			r := newResettable(p)
			at := r.open()
			r.settle()
			p.reset(at, excludeSignals)
			p.signal("end", nil)
		},
	},
	{
		name: "cron",
		play: func(p *play) {
			p.startOptions.CronSchedule = "@every 1s"
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				n := 1
				if workflow.GetInfo(ctx).ContinuedExecutionRunID != "" {
					n = 2
				}
				_ = noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", n))
				if n == 2 {
					workflow.GetSignalChannel(ctx, "never").Receive(ctx, nil)
				}
				return nil
			})
			p.start()
			p.await("the second run", func() bool { return p.count("call") == 2 })
			p.lastTask() // what a run noted is history only then
			p.terminate()
		},
	},
	{
		name: "schedule",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				see.note("ID is the schedule's", strings.HasPrefix(workflow.GetInfo(ctx).WorkflowExecution.ID, p.workflowID))
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", 7))
			})
			p.startWorker()
			schedule, err := p.c.ScheduleClient().Create(p.ctx, client.ScheduleOptions{
				ID:                 "schedule-" + p.workflowID,
				Action:             &client.ScheduleWorkflowAction{ID: p.workflowID, Workflow: workflowType, TaskQueue: p.taskQueue},
				TriggerImmediately: true,
			})
			require.NoError(p.t, err)
			p.t.Cleanup(func() { _ = schedule.Delete(context.WithoutCancel(p.ctx)) })
			p.await("the schedule's first run", func() bool {
				d, err := schedule.Describe(p.ctx)
				require.NoError(p.t, err)
				if len(d.Info.RecentActions) == 0 {
					return false
				}
				started := d.Info.RecentActions[0].StartWorkflowResult
				p.run = p.c.GetWorkflow(p.ctx, started.WorkflowID, started.FirstExecutionRunID)
				return true
			})
		},
	},
	{
		name: "eager start",
		play: func(p *play) {
			p.startOptions.EnableEagerStart = true
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", 7))
			})
			p.start()
			p.finish()
			started := p.history(p.workflowID, "")[0].GetWorkflowExecutionStartedEventAttributes()
			p.seen.note("eager", started.GetEagerExecutionAccepted())
		},
	},
	{
		name: "workflow ID used again",
		play: func(p *play) {
			p.startOptions.WorkflowIDReusePolicy = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			var runs atomic.Int64
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var n int64
				if err := workflow.SideEffect(ctx, func(workflow.Context) any { return runs.Add(1) }).Get(&n); err != nil {
					return err
				}
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", n))
			})
			p.start()
			require.NoError(p.t, p.run.Get(p.ctx, nil))
			p.run = p.execute()
		},
	},
	{
		name: "workflow ID taken over while a call is open",
		play: func(p *play) {
			p.startOptions.WorkflowIDConflictPolicy = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
			running, release := make(chan struct{}, 2), make(chan struct{})
			p.activity("Act", func(_ context.Context, runID string) (string, error) {
				running <- struct{}{}
				<-release
				return runID, nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				runID := workflow.GetInfo(ctx).WorkflowExecution.RunID
				var got string
				err := workflow.ExecuteActivity(attempts(ctx, 1), "Act", runID).Get(ctx, &got)
				see.note("its own result", got == runID)
				return err
			})
			p.start()
			p.receive("the first start", running)
			first := p.run
			// Before that the first run may get its result within the workflow task, as with a local activity, and goes on in vain.
			p.awaitOpen()
			p.run = p.execute()
			p.receive("the second start", running)
			close(release)
			p.seen.note("the first run", first.Get(p.ctx, nil))
		},
	},
	{
		name: "query and log after the worker was restarted",
		play: func(p *play) {
			logs := p.captureLogs()
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			var begun atomic.Int64
			p.workflow(func(ctx workflow.Context, see *notes) error {
				begun.Add(1)
				state := "begun"
				if err := workflow.SetQueryHandler(ctx, "state", func() (string, error) { return state, nil }); err != nil {
					return err
				}
				for n := range 3 {
					workflow.GetLogger(ctx).Info("said before the call", "n", n)
					if err := noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", n)); err != nil {
						return err
					}
					state = fmt.Sprint(n, " is done")
				}
				workflow.GetLogger(ctx).Info("said after the calls", "replays", workflow.IsReplaying(ctx))
				workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
				return nil
			})
			query := func() {
				p.t.Helper()
				answer, err := p.c.QueryWorkflow(p.ctx, p.workflowID, "", "state")
				require.NoError(p.t, err)
				var state string
				require.NoError(p.t, answer.Get(&state))
				p.seen.note("state", state)
			}
			p.start()
			p.await("the calls", func() bool { return p.count("call") == 3 })
			query()
			p.stopWorker()
			p.startWorker()
			query()
			p.signal("end", nil)
			p.finish()
			p.seen.note("replayed", begun.Load() > 1)
			p.seen.note("said", logs.matching(func(l logLine) bool { return strings.HasPrefix(l.message, "said") }))
		},
	},
}
