package fidelity

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// retried plays a call with the options. The handler does what the attempt says.
func retried(o workflow.ActivityOptions, attempt func(ctx context.Context, p *play, n int32) (string, error)) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(ctx context.Context) (string, error) {
			return attempt(ctx, p, activity.GetInfo(ctx).Attempt)
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(withOptions(ctx, o), "Act"))
		})
	}
}

// failUntil fails every attempt before the last, which returns its number. Last 0: all fail.
func failUntil(last int32) func(ctx context.Context, p *play, n int32) (string, error) {
	return func(_ context.Context, p *play, n int32) (string, error) {
		p.seen.note("attempt", n)
		if n == last {
			return fmt.Sprint("attempt ", n), nil
		}
		return "", fmt.Errorf("attempt %d failed", n)
	}
}

// spaced plays attempts that all fail and notes whether each wait was within its bounds: at least low, and below high
// where that is not zero.
func spaced(policy temporal.RetryPolicy, low, high []time.Duration) func(p *play) {
	return func(p *play) {
		var ended time.Time
		o := workflow.ActivityOptions{RetryPolicy: &policy}
		retried(o, func(_ context.Context, p *play, n int32) (string, error) {
			if n > 1 {
				wait := time.Since(ended)
				inBounds := wait >= low[n-2] && (high[n-2] == 0 || wait < high[n-2])
				if !inBounds {
					p.t.Logf("attempt %d came %v after the one before", n, wait)
				}
				p.seen.note("wait within bounds", inBounds)
			}
			ended = time.Now()
			return "", errors.New("no luck")
		})(p)
	}
}

// refusedByServer plays a call whose options the server does not take: the workflow task fails until it is mended.
func refusedByServer(o workflow.ActivityOptions) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(context.Context) error { return nil })
		p.workflow(func(ctx workflow.Context, _ *notes) error {
			return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, o), "Act").Get(ctx, nil)
		})
		p.start()
		p.await("a failed workflow task", func() bool {
			for _, event := range p.history(p.workflowID, "") {
				if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED {
					failed := event.GetWorkflowTaskFailedEventAttributes()
					p.seen.note("workflow task", fmt.Sprint(failed.GetCause(), ": ", failed.GetFailure().GetMessage()))
					return true
				}
			}
			return false
		})
		p.terminate()
	}
}

const ms = time.Millisecond

var retryScenarios = []scenario{
	{
		name: "success in the third attempt",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(5)}, failUntil(3)),
	},
	{
		name: "MaximumAttempts 1",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(1)}, failUntil(0)),
	},
	{
		name: "MaximumAttempts 1 with nonsense beside it",
		play: retried(workflow.ActivityOptions{RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1, BackoffCoefficient: 0.1}}, failUntil(0)),
	},
	{
		name: "last attempt succeeds",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(2)}, failUntil(2)),
	},
	{
		name: "no policy: the default waits a second",
		play: func(p *play) {
			var failed time.Time
			retried(workflow.ActivityOptions{}, func(_ context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					failed = time.Now()
					return "", errors.New("no luck")
				}
				p.seen.note("waited a second", time.Since(failed) >= 950*ms)
				return fmt.Sprint(n), nil
			})(p)
		},
	},
	{
		name: "unlimited attempts until ScheduleToClose",
		// The waits are 100 ms, 10 s, and so on: the third attempt would come too late.
		play: retried(workflow.ActivityOptions{
			ScheduleToCloseTimeout: 9 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 100 * ms, BackoffCoefficient: 100},
		}, failUntil(0)),
	},
	{
		name: "next interval does not fit into ScheduleToClose",
		play: retried(workflow.ActivityOptions{
			ScheduleToCloseTimeout: 30 * time.Second, RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Minute},
		}, failUntil(0)),
	},
	{
		name: "back-off coefficient",
		play: spaced(temporal.RetryPolicy{InitialInterval: 40 * ms, BackoffCoefficient: 2.5, MaximumAttempts: 4},
			[]time.Duration{38 * ms, 95 * ms, 240 * ms}, make([]time.Duration, 3)),
	},
	{
		name: "maximum interval caps the back-off",
		play: spaced(temporal.RetryPolicy{InitialInterval: 40 * ms, BackoffCoefficient: 100, MaximumInterval: 60 * ms, MaximumAttempts: 4},
			[]time.Duration{38 * ms, 57 * ms, 57 * ms}, []time.Duration{0, 3 * time.Second, 3 * time.Second}),
	},
	{
		name: "default maximum interval is a hundred times the initial one",
		play: spaced(temporal.RetryPolicy{InitialInterval: 2 * ms, BackoffCoefficient: 10_000, MaximumAttempts: 3},
			[]time.Duration{0, 190 * ms}, []time.Duration{0, 10 * time.Second}),
	},
	{
		name: "non-retryable in the second attempt",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(5)}, func(_ context.Context, p *play, n int32) (string, error) {
			p.seen.note("attempt", n)
			if n == 2 {
				return "", temporal.NewNonRetryableApplicationError("broken", "Broken", nil)
			}
			return "", errors.New("no luck")
		}),
	},
	{
		name: "another error in each attempt: the last is reported",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(3)}, failUntil(0)),
	},
	{
		name: "two activities of one workflow are retried side by side",
		play: func(p *play) {
			for _, name := range []string{"One", "Two"} {
				p.activity(name, func(ctx context.Context, last int32) (int32, error) {
					p.seen.note("attempt of "+name, activity.GetInfo(ctx).Attempt)
					if n := activity.GetInfo(ctx).Attempt; n < last {
						return 0, errors.New("no luck")
					}
					return last, nil
				})
			}
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 5)
				one, two := workflow.ExecuteActivity(ctx, "One", 4), workflow.ExecuteActivity(ctx, "Two", 2)
				_ = noteResult[int](ctx, see, "one", one)
				return noteResult[int](ctx, see, "two", two)
			})
		},
	},

	{
		name: "no time-out at all", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{}),
	},
	{
		name: "negative time-out", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{StartToCloseTimeout: -time.Second}),
	},
	{
		name: "coefficient below one", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{BackoffCoefficient: 0.5}}),
	},
	{
		name: "maximum interval below the initial one", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Minute, MaximumInterval: time.Second},
		}),
	},
	{
		name: "negative MaximumAttempts", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: -1}}),
	},
	{
		name: "unknown type of time-out in the policy", sendsNothing: true,
		play: refusedByServer(workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{NonRetryableErrorTypes: []string{"TemporalTimeout:Never"}},
		}),
	},
}
