package fidelity

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// failing plays a call of a handler that ends with err, at most three times.
func failing(err func() error) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(ctx context.Context) (string, error) {
			p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
			return "", err()
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 3), "Act"))
		})
	}
}

var errorScenarios = []scenario{
	{
		name: "plain error",
		play: failing(func() error { return errors.New("no luck") }),
	},
	{
		name: "application error with type and details",
		play: failing(func() error {
			return temporal.NewApplicationError("no such word", "NoSuchWord", "palabra", 7, []string{"a", "b"})
		}),
	},
	{
		name: "event IDs of the error",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var failed *temporal.ActivityError
				if !errors.As(workflow.ExecuteActivity(attempts(ctx, 1), "Act").Get(ctx, nil), &failed) {
					return errors.New("not an activity error")
				}
				see.note("has event IDs", failed.ScheduledEventID() > 0 && failed.StartedEventID() > 0)
				return nil
			})
		},
		differs: map[string]string{"has event IDs": "There are no events: ScheduledEventID and StartedEventID of an ActivityError are 0."},
	},
}
