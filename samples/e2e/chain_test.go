package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/workflow"
)

// press is a pipeline of activities that note what they see.
type press struct {
	mu    sync.Mutex
	infos []sdkactivity.Info // protected by mu, of every attempt
	// held, if set, keeps Print from going on.
	held chan struct{}
}

func (p *press) note(ctx context.Context) sdkactivity.Info {
	info := sdkactivity.GetInfo(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.infos = append(p.infos, info)
	return info
}

func (p *press) attempts(activityType string) (all []sdkactivity.Info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, info := range p.infos {
		if info.ActivityType.Name == activityType {
			all = append(all, info)
		}
	}
	return all
}

type draft struct{ Title, Text string }

func (p *press) Write(ctx context.Context, title string) (draft, error) {
	p.note(ctx)
	return draft{title, "text of " + title}, nil
}

// Check fails at first, and for good where there is nothing to check.
func (p *press) Check(ctx context.Context, d draft) (string, error) {
	switch info := p.note(ctx); {
	case d.Title == "blank":
		return "", temporal.NewNonRetryableApplicationError("nothing there", "Blank", nil)
	case d.Title == "rough" && info.Attempt < 3:
		return "", errors.New("not yet")
	}
	return d.Text, nil
}

func (p *press) Print(ctx context.Context, text string) (string, error) {
	p.note(ctx)
	if p.held != nil {
		select {
		case <-p.held:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "printed " + text, nil
}

// stepsOf are the press's activities in their order.
func stepsOf(p *press) []workflow.Step {
	quick := &sdkworkflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, HeartbeatTimeout: 30 * time.Second,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, NonRetryableErrorTypes: []string{"Fatal"}},
	}
	return []workflow.Step{{Activity: p.Write}, {Activity: p.Check, Options: quick}, {Activity: p.Print}}
}

func TestChainGoesFromStepToStepInTheQueue(t *testing.T) {
	p := &press{}
	publish := func(ctx sdkworkflow.Context, title string) (string, error) {
		var results []workflow.Result
		if err := workflow.ChainResults(withOptions(ctx), title, stepsOf(p)...).Get(ctx, &results); err != nil {
			return "", err
		}
		var d draft
		var checked, printed string
		err := errors.Join(results[0].Get(ctx, &d), results[1].Get(ctx, &checked), results[2].Get(ctx, &printed))
		return fmt.Sprint(d.Title, "|", checked, "|", printed), err
	}
	b := newBed(t, bedOptions{}, []any{publish}, p.Write, p.Check, p.Print)
	run := b.start(publish, "rough")
	var got string
	require.NoError(t, run.Get(t.Context(), &got))
	require.Equal(t, "rough|text of rough|printed text of rough", got)
	b.requireRouted(run)
	require.Equal(t, 2, b.events(run, enumspb.EVENT_TYPE_MARKER_RECORDED), "route record and one dispatch")

	require.Len(t, p.attempts("Write"), 1)
	checks := p.attempts("Check")
	require.Len(t, checks, 3, "a step that fails is tried again alone")
	require.Len(t, p.attempts("Print"), 1)
	for i, info := range checks {
		require.EqualValues(t, i+1, info.Attempt)
		require.Equal(t, "1.2", info.ActivityID)
		require.Equal(t, 30*time.Second, info.HeartbeatTimeout)
		require.Equal(t, []string{"Fatal"}, info.RetryPolicy.NonRetryableErrorTypes)
		require.True(t, checks[0].ScheduledTime.Equal(info.ScheduledTime), "a step is scheduled once")
	}
	write, last := p.attempts("Write")[0], p.attempts("Print")[0]
	require.Equal(t, "1", write.ActivityID)
	require.Equal(t, "1.3", last.ActivityID)
	require.EqualValues(t, 1, last.Attempt)
	require.Zero(t, last.HeartbeatTimeout)
	require.False(t, checks[0].ScheduledTime.Before(write.StartedTime), "a step is scheduled when the one before is over")
	require.Equal(t, run.GetRunID(), last.WorkflowExecution.RunID)
}

func TestChainFailsAsItsStep(t *testing.T) {
	p := &press{}
	publish := func(ctx sdkworkflow.Context, title string) (s string, err error) {
		err = workflow.Chain(withOptions(ctx), title, stepsOf(p)...).Get(ctx, &s)
		var failed *workflow.ChainError
		if !errors.As(err, &failed) || failed.Step != 1 || failed.ActivityType != "Check" {
			return "", fmt.Errorf("names no step: %w", err)
		}
		return "", err
	}
	b := newBed(t, bedOptions{}, []any{publish}, p.Write, p.Check, p.Print)
	run := b.start(publish, "blank")
	err := run.Get(t.Context(), nil)
	b.requireRouted(run)
	require.ErrorContains(t, err, "step 2 of the chain (Check)")
	var activityErr *temporal.ActivityError
	require.ErrorAs(t, err, &activityErr)
	require.Equal(t, "1.2", activityErr.ActivityID())
	require.Equal(t, enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE, activityErr.RetryState())
	var application *temporal.ApplicationError
	require.ErrorAs(t, activityErr, &application)
	require.Equal(t, "Blank", application.Type())
	require.Empty(t, p.attempts("Print"))
}

func TestCancelledChainStops(t *testing.T) {
	p := &press{held: make(chan struct{})}
	publish := func(ctx sdkworkflow.Context) error {
		ctx, cancel := sdkworkflow.WithCancel(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, WaitForCancellation: true,
		}))
		sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
			sdkworkflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
			cancel()
		})
		err := workflow.Chain(ctx, "x", workflow.Step{Activity: p.Write}, workflow.Step{Activity: p.Check},
			workflow.Step{Activity: p.Print}, workflow.Step{Activity: p.Print}).Get(ctx, nil)
		var activityErr *temporal.ActivityError
		if !temporal.IsCanceledError(err) || !errors.As(err, &activityErr) {
			return fmt.Errorf("not cancelled as an activity: %w", err)
		}
		return nil
	}
	b := newBed(t, bedOptions{}, []any{publish}, p.Write, p.Check, p.Print)
	run := b.start(publish)
	require.Eventually(t, func() bool { return len(p.attempts("Print")) == 1 }, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, b.c.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), "cancel", nil))
	require.NoError(t, run.Get(t.Context(), nil))
	b.requireRouted(run)
	require.Len(t, p.attempts("Print"), 1, "no further step starts")
}

// Thousands of chains in one workflow cost one dispatch, and each runs once.
func TestWideChains(t *testing.T) {
	const n = 2000
	p := &press{}
	publish := func(ctx sdkworkflow.Context) (int, error) {
		ctx = withOptions(ctx)
		var futures []sdkworkflow.Future
		for i := range n {
			futures = append(futures, workflow.Chain(ctx, fmt.Sprint(i), stepsOf(p)...))
		}
		right := 0
		err := workflow.OnComplete(ctx, "printed text of ", futures, func(ctx sdkworkflow.Context, prefix string, results []workflow.Result) error {
			for i, r := range results {
				var s string
				if err := r.Get(ctx, &s); err != nil {
					return err
				}
				if s == prefix+fmt.Sprint(i) {
					right++
				}
			}
			return nil
		}).Get(ctx, nil)
		return right, err
	}
	b := newBed(t, bedOptions{}, []any{publish}, p.Write, p.Check, p.Print)
	run := b.start(publish)
	var right int
	require.NoError(t, run.Get(t.Context(), &right))
	require.Equal(t, n, right)
	b.requireRouted(run)
	require.Len(t, p.infos, 3*n, "every step ran once")
	for _, e := range history(t, b.c, run) {
		if m := e.GetMarkerRecordedEventAttributes(); m != nil {
			for _, payloads := range m.GetDetails() {
				for _, payload := range payloads.GetPayloads() {
					require.Less(t, len(payload.GetData()), 12*n, "about as large as for single calls")
				}
			}
		}
	}
}
