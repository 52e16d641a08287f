package fidelity

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// policy is quickly with error types that are not retried.
func policy(n int32, nonRetryable ...string) *temporal.RetryPolicy {
	p := quickly(n)
	p.NonRetryableErrorTypes = nonRetryable
	return p
}

// occupied plays a call that finds the only permit taken.
func occupied(o workflow.ActivityOptions) func(p *play) {
	return func(p *play) {
		p.workerOptions.MaxConcurrentActivityExecutionSize = 1
		running := make(chan struct{})
		p.activity("First", func(context.Context) error {
			close(running)
			<-p.over
			return nil
		})
		p.activity("Act", func(context.Context) (string, error) { return "started", nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			first := workflow.ExecuteActivity(attempts(ctx, 1), "First")
			workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
			err := noteResult[string](ctx, see, "call", workflow.ExecuteActivity(withOptions(ctx, o), "Act"))
			see.note("the first one has ended", first.IsReady())
			return err
		})
		p.start()
		p.receive("the first handler", running)
		p.signal("go on", nil)
	}
}

var timeoutScenarios = []scenario{
	{
		name: "StartToClose",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(1)}, hang),
	},
	{
		name: "StartToClose holds for each attempt",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(3)}, hang),
	},
	{
		name: "StartToClose of a deaf handler",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(2)}, deaf),
	},
	{
		name: "success after a time-out",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 3 * time.Second, RetryPolicy: quickly(3)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					return deaf(ctx, p, n)
				}
				return "in time", nil
			}),
	},
	{
		name: "time-out after a failure",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 3 * time.Second, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					return "", temporal.NewApplicationError("no luck", "Luck", "detail")
				}
				return hang(ctx, p, n)
			}),
	},
	{
		name: "failure after a time-out",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 3 * time.Second, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					return hang(ctx, p, n)
				}
				return "", temporal.NewApplicationError("no luck", "Luck", "detail")
			}),
	},
	{
		name: "StartToClose that the policy does not retry",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: policy(3, "TemporalTimeout:StartToClose")}, hang),
	},
	{
		name: "StartToClose where the policy does not retry the other kind",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: policy(2, "TemporalTimeout:Heartbeat")}, hang),
	},
	{
		name: "heartbeat time-out that the policy does not retry",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: 150 * ms, RetryPolicy: policy(3, "TemporalTimeout:Heartbeat")}, deaf),
	},
	{
		name: "result after the deadline is dropped",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(1)},
			func(ctx context.Context, _ *play, _ int32) (string, error) {
				<-ctx.Done()
				return "too late", nil
			}),
	},
	{
		name: "ScheduleToClose of a running attempt",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(3)}, hang),
	},
	{
		name: "ScheduleToClose of a deaf handler",
		play: retried(workflow.ActivityOptions{ScheduleToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(3)}, deaf),
	},
	{
		name: "ScheduleToClose leaves no time for another attempt after a time-out",
		play: retried(workflow.ActivityOptions{
			StartToCloseTimeout: 150 * ms, ScheduleToCloseTimeout: 30 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Minute},
		}, hang),
	},
	{
		name: "ScheduleToClose ends the second attempt",
		play: retried(workflow.ActivityOptions{ScheduleToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(0)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					return "", errors.New("no luck")
				}
				return hang(ctx, p, n)
			}),
	},
	{
		name: "ScheduleToStart, all permits taken",
		play: occupied(workflow.ActivityOptions{ScheduleToStartTimeout: 200 * ms, RetryPolicy: quickly(3)}),
	},
	{
		name: "ScheduleToClose, all permits taken",
		play: occupied(workflow.ActivityOptions{ScheduleToCloseTimeout: 200 * ms, RetryPolicy: quickly(3)}),
	},
	{
		name: "no executor is alive",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[any](ctx, see, "before", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				toStart := workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{ScheduleToStartTimeout: 400 * ms}), "Act")
				toClose := workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{ScheduleToCloseTimeout: 500 * ms}), "Act")
				_ = noteResult[any](ctx, see, "ScheduleToStart", toStart)
				return noteResult[any](ctx, see, "ScheduleToClose", toClose)
			})
			p.start()
			p.await("the first call", func() bool { return p.noted("before") })
			p.stopWorker()
			p.workerOptions.LocalActivityWorkerOnly = true
			p.startWorker()
			p.signal("go on", nil)
		},
	},
	{
		name: "deadline that the handler sees",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (string, error) {
				deadline, ok := ctx.Deadline()
				if !ok {
					return "none", nil
				}
				left := time.Until(deadline)
				p.seen.note("equals GetInfo's", deadline.Sub(activity.GetInfo(ctx).Deadline).Abs() < 100*ms)
				return left.Round(10 * time.Second).String(), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				for _, o := range []workflow.ActivityOptions{
					{StartToCloseTimeout: 30 * time.Second},
					{ScheduleToCloseTimeout: 40 * time.Second},
					{StartToCloseTimeout: 50 * time.Second, ScheduleToCloseTimeout: 20 * time.Second},
				} {
					_ = noteResult[string](ctx, see, "time left", workflow.ExecuteActivity(withOptions(ctx, o), "Act"))
				}
				return nil
			})
		},
	},
	{
		name: "deadline within the run time-out of the workflow",
		play: func(p *play) {
			p.startOptions.WorkflowRunTimeout = 30 * time.Second
			p.activity("Act", func(ctx context.Context) (string, error) {
				deadline, _ := ctx.Deadline()
				p.seen.note("StartToClose", activity.GetInfo(ctx).StartToCloseTimeout)
				p.seen.note("ScheduleToClose", activity.GetInfo(ctx).ScheduleToCloseTimeout)
				return time.Until(deadline).Round(10 * time.Second).String(), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "time left", workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Hour}), "Act"))
			})
		},
	},
	{
		name: "workflow times out with an open call",
		play: func(p *play) {
			p.startOptions.WorkflowRunTimeout = 10 * time.Second
			p.activity("Act", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			p.workflow(func(ctx workflow.Context, _ *notes) error {
				return workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 12 * time.Second}), "Act").Get(ctx, nil)
			})
		},
	},
}
