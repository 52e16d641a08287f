package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/internal/redistest"
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

func TestPlainRunsHaveNoOpenCalls(t *testing.T) {
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Disabled: true}}, []any{waitForTwo}, e.Echo)
	run := b.start(waitForTwo)
	answer, err := b.c.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), workflow.QueryOpenCalls)
	require.NoError(t, err)
	var calls []workflow.OpenCall
	require.NoError(t, answer.Get(&calls))
	require.Empty(t, calls)
	close(e.hold)
	require.NoError(t, run.Get(t.Context(), nil))
}

func TestOpenCallsCanBeQueried(t *testing.T) {
	e := &echoes{hold: make(chan struct{})}
	b := newBed(t, bedOptions{plugin: plugin.Options{Window: -1}}, []any{waitForTwo}, e.Echo)
	run := b.start(waitForTwo)
	query := func() []workflow.OpenCall {
		answer, err := b.c.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), workflow.QueryOpenCalls)
		require.NoError(t, err, "also before the first call")
		var calls []workflow.OpenCall
		require.NoError(t, answer.Get(&calls))
		return calls
	}
	var calls []workflow.OpenCall
	require.Eventually(t, func() bool {
		calls = query()
		return len(calls) == 2 && calls[0].Task == "claimed" && calls[1].Task == "claimed"
	}, time.Minute, 20*time.Millisecond, "%s", stringer(func() string { return fmt.Sprint(calls) }))
	require.GreaterOrEqual(t, calls[0].Slot, 0)
	require.Equal(t, []workflow.OpenCall{
		{Number: 2, ActivityID: "2", ActivityType: "Echo", State: "queued", Run: run.GetRunID(), Pool: b.taskQueue, Slot: calls[0].Slot, Task: "claimed", Attempt: 1},
		{Number: 3, ActivityID: "named", ActivityType: "Echo", State: "queued", Run: run.GetRunID(), Pool: b.taskQueue, Slot: calls[0].Slot, Task: "claimed", Attempt: 1},
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

// What only the queue knows comes with the answer, and its absence does not keep the rest.
func TestOpenCallsAreQueriedWithTheirAttempts(t *testing.T) {
	attempts := func(ctx sdkworkflow.Context) error {
		ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, BackoffCoefficient: 100_000, MaximumInterval: time.Hour},
		})
		return sdkworkflow.ExecuteActivity(ctx, "Stubborn").Get(ctx, nil)
	}
	server := redistest.Start(t)
	stubborn := func(context.Context) error { return errors.New("not yet") }
	b := newBed(t, bedOptions{
		plugin: plugin.Options{Window: -1, RedisURL: server.URL(), Marks: []activity.Mark{{Activity: "Stubborn"}}},
		named:  map[string]any{"Stubborn": stubborn},
	}, []any{attempts})
	run := b.start(attempts)
	query := func() (calls []workflow.OpenCall) {
		answer, err := b.c.QueryWorkflow(t.Context(), run.GetID(), run.GetRunID(), workflow.QueryOpenCalls)
		require.NoError(t, err)
		require.NoError(t, answer.Get(&calls))
		return calls
	}
	var calls []workflow.OpenCall
	require.Eventually(t, func() bool {
		calls = query()
		return len(calls) == 1 && calls[0].Task == "delayed" && calls[0].Attempt == 3
	}, time.Minute, 20*time.Millisecond, "%s", stringer(func() string { return fmt.Sprint(calls) }))

	require.NoError(t, server.Signal(syscall.SIGSTOP))
	calls = query()
	require.NoError(t, server.Signal(syscall.SIGCONT))
	require.Len(t, calls, 1)
	require.Equal(t, "queued", calls[0].State)
	require.Empty(t, calls[0].Task)
	require.Zero(t, calls[0].Attempt)
	require.NoError(t, b.c.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "seen"))
}
