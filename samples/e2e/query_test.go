package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/workflow"
)

// waitForTwo calls a step that ends and two that wait, and answers a query of its own.
func waitForTwo(ctx sdkworkflow.Context) error {
	if err := sdkworkflow.SetQueryHandler(ctx, "mine", func() (string, error) { return "answer", nil }); err != nil {
		return err
	}
	ctx = withOptions(ctx)
	var e *echoes
	if err := sdkworkflow.ExecuteActivity(ctx, e.Echo, "quick").Get(ctx, nil); err != nil {
		return err
	}
	named := sdkworkflow.GetActivityOptions(ctx)
	named.ActivityID = "named"
	first := sdkworkflow.ExecuteActivity(ctx, e.Echo, "slow 1")
	second := sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, named), e.Echo, "slow 2")
	if err := first.Get(ctx, nil); err != nil {
		return err
	}
	return second.Get(ctx, nil)
}

func TestOpenCallsCanBeQueried(t *testing.T) {
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}}, []any{waitForTwo}, e.Echo)
	run := b.start(waitForTwo)
	query := func() []workflow.OpenCall {
		answer, err := b.c.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), workflow.QueryOpenCalls)
		if err != nil {
			return nil // it has not called yet
		}
		var calls []workflow.OpenCall
		require.NoError(t, answer.Get(&calls))
		return calls
	}
	var calls []workflow.OpenCall
	require.Eventually(t, func() bool {
		calls = query()
		return len(calls) == 2 && calls[0].State == "queued" && calls[1].State == "queued"
	}, time.Minute, 20*time.Millisecond, "%s", stringer(func() string { return fmt.Sprint(calls) }))
	require.GreaterOrEqual(t, calls[0].Slot, 0)
	require.Equal(t, []workflow.OpenCall{
		{Number: 2, ActivityID: "2", ActivityType: "Echo", State: "queued", Run: run.GetRunID(), Pool: b.taskQueue, Slot: calls[0].Slot},
		{Number: 3, ActivityID: "named", ActivityType: "Echo", State: "queued", Run: run.GetRunID(), Pool: b.taskQueue, Slot: calls[0].Slot},
	}, calls)
	var mine string
	answer, err := b.c.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), "mine")
	require.NoError(t, err)
	require.NoError(t, answer.Get(&mine))
	require.Equal(t, "answer", mine)

	before := len(history(t, b.c, run))
	require.Len(t, query(), 2)
	require.Len(t, history(t, b.c, run), before, "a query costs no history")
	close(e.hold)
	require.NoError(t, run.Get(t.Context(), nil))
	require.Empty(t, query(), "also of a run that has ended")
	require.Zero(t, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED))
}
