package fidelity

import (
	"context"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// describe plays a call whose handler notes everything that activity.GetInfo tells.
func describe(options workflow.ActivityOptions) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(ctx context.Context, runID string) error {
			noteInfo(ctx, p.seen, runID)
			return nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			runID := workflow.GetInfo(ctx).WorkflowExecution.RunID
			return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), "Act", runID))
		})
	}
}

// noteInfo notes the fields one by one: times by what must hold between them.
func noteInfo(ctx context.Context, see *notes, runID string) {
	info := activity.GetInfo(ctx)
	see.note("workflow ID", info.WorkflowExecution.ID)
	see.note("run is the caller's", info.WorkflowExecution.RunID == runID)
	see.note("workflow type", info.WorkflowType.Name)
	see.note("namespaces", []string{info.Namespace, info.WorkflowNamespace}) //nolint:staticcheck // deprecated, but people read it
	see.note("activity ID", activityID(info.ActivityID))
	see.note("activity run ID", info.ActivityRunID)
	see.note("activity type", info.ActivityType.Name)
	see.note("task queue", info.TaskQueue)
	see.note("local", info.IsLocalActivity)
	see.note("of a workflow", info.IsWorkflowActivity())
	see.note("has a token", len(info.TaskToken) > 0)
	see.note("attempt", info.Attempt)
	see.note("heartbeat time-out", info.HeartbeatTimeout)
	see.note("schedule-to-close time-out", info.ScheduleToCloseTimeout)
	see.note("start-to-close time-out", info.StartToCloseTimeout)
	see.note("retry policy", *info.RetryPolicy)
	see.note("priority", info.Priority)

	now := time.Now()
	see.note("scheduled, started, now", !info.StartedTime.Before(info.ScheduledTime) && !now.Before(info.StartedTime) &&
		now.Sub(info.ScheduledTime) < patience)
	see.note("time zone", info.ScheduledTime.Location().String()+" "+info.StartedTime.Location().String())
	deadline, has := ctx.Deadline()
	see.note("deadline of the context is the deadline", has && deadline.Sub(info.Deadline).Abs() < time.Second)
	limit := info.StartToCloseTimeout
	if s := info.ScheduleToCloseTimeout; s > 0 {
		limit = min(limit, s)
	}
	see.note("time left", info.Deadline.Sub(info.StartedTime).Round(limit/2))
}

var infoScenarios = []scenario{
	{
		name: "info with defaults",
		play: describe(workflow.ActivityOptions{StartToCloseTimeout: time.Minute}),
	},
	{
		name: "info with all options",
		play: describe(workflow.ActivityOptions{
			ActivityID:             "chosen",
			ScheduleToCloseTimeout: 10 * time.Minute,
			ScheduleToStartTimeout: 9 * time.Minute,
			StartToCloseTimeout:    8 * time.Minute,
			HeartbeatTimeout:       7 * time.Minute,
			Summary:                "what this step is for",
			DisableEagerExecution:  true,
			RetryPolicy: &temporal.RetryPolicy{
				InitialInterval: 1500 * time.Millisecond, BackoffCoefficient: 1.5, MaximumInterval: time.Hour,
				MaximumAttempts: 17, NonRetryableErrorTypes: []string{"Fatal", "TemporalTimeout:Heartbeat"},
			},
		}),
	},
	{
		name: "info with a schedule-to-close limit alone",
		play: describe(workflow.ActivityOptions{ScheduleToCloseTimeout: time.Minute}),
	},
	{
		name: "info with limits beyond each other",
		play: describe(workflow.ActivityOptions{
			ScheduleToCloseTimeout: time.Minute, ScheduleToStartTimeout: time.Hour, StartToCloseTimeout: time.Hour, HeartbeatTimeout: time.Hour,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: 3 * time.Second},
		}),
	},
	{
		name: "info in a run with a time-out",
		play: func(p *play) {
			p.startOptions.WorkflowRunTimeout = 5 * time.Minute
			describe(workflow.ActivityOptions{StartToCloseTimeout: time.Hour})(p)
		},
	},
	{
		name: "info of attempts",
		play: func(p *play) {
			var first atomic.Pointer[time.Time]
			p.activity("Act", func(ctx context.Context) error {
				info := activity.GetInfo(ctx)
				p.seen.note("attempt", info.Attempt)
				first.CompareAndSwap(nil, &info.ScheduledTime)
				// An attempt's own time counts from the first one's schedule.
				p.seen.note("scheduled as the first", info.ScheduledTime.Sub(*first.Load()).Abs() < 5*time.Millisecond)
				if info.Attempt < 3 {
					return temporal.NewApplicationError("not yet", "NotYet")
				}
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 5), "Act"))
			})
		},
	},
	{
		name:       "priority",
		staysPlain: true,
		play: describe(workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, Priority: temporal.Priority{PriorityKey: 2, FairnessKey: "tenant", FairnessWeight: 2},
		}),
	},
	{
		name:       "priority of the workflow",
		staysPlain: true,
		play: func(p *play) {
			p.startOptions.Priority = temporal.Priority{PriorityKey: 4}
			describe(workflow.ActivityOptions{StartToCloseTimeout: time.Minute})(p)
		},
	},
	{
		name: "is an activity",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) error {
				p.seen.note("is an activity", activity.IsActivity(ctx))
				p.seen.note("has heartbeat details", activity.HasHeartbeatDetails(ctx))
				var details string
				p.seen.note("heartbeat details", activity.GetHeartbeatDetails(ctx, &details))
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
	},
	{
		name: "the client of the worker",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) error {
				c := activity.GetClient(ctx)
				p.seen.note("the worker's own", c == p.c)
				execution := activity.GetInfo(ctx).WorkflowExecution
				d, err := c.DescribeWorkflowExecution(ctx, execution.ID, execution.RunID)
				if err != nil {
					return err
				}
				p.seen.note("asked the server", d.GetWorkflowExecutionInfo().GetStatus())
				return c.SignalWorkflow(ctx, execution.ID, execution.RunID, "from the handler", "hello")
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				if err := noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act")); err != nil {
					return err
				}
				var said string
				workflow.GetSignalChannel(ctx, "from the handler").Receive(ctx, &said)
				see.note("signal", said)
				return nil
			})
		},
	},
	{
		name: "worker stop channel",
		play: func(p *play) {
			running := make(chan struct{})
			p.pluginOptions.DrainTimeout = patience
			p.workerOptions.WorkerStopTimeout = patience
			p.activity("Act", func(ctx context.Context) (string, error) {
				stop := activity.GetWorkerStopChannel(ctx)
				select {
				case <-stop:
					p.seen.note("stop channel", "closed from the start")
				default:
				}
				close(running)
				<-stop
				p.seen.note("context at the stop", cause(ctx))
				return "in good time", nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.receive("the handler's start", running)
			p.stopWorker()
			p.startWorker()
		},
	},
}
