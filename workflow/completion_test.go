package workflow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// completionOf is a completion as a workflow gets it: it went through JSON.
func completionOf(t *testing.T, c wire.Completion) workflow.Completion {
	t.Helper()
	c.Batch, c.Index, c.Type = "b", 4, "Echo"
	encoded, err := json.Marshal(c)
	require.NoError(t, err)
	var out workflow.Completion
	require.NoError(t, json.Unmarshal(encoded, &out))
	return out
}

func payloadOf(t *testing.T, dc converter.DataConverter, v any) []*commonpb.Payload {
	t.Helper()
	p, err := dc.ToPayload(v)
	require.NoError(t, err)
	return []*commonpb.Payload{p}
}

func failureOf(t *testing.T, dc converter.DataConverter, err error) []*commonpb.Payload {
	t.Helper()
	fc := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: dc})
	p, encodeErr := wire.EncodeFailure(dc, fc.ErrorToFailure(err))
	require.NoError(t, encodeErr)
	return []*commonpb.Payload{p}
}

// inside runs f in a workflow, of a worker with the plugin and of one without.
func inside(t *testing.T, dc converter.DataConverter, f func(t *testing.T, ctx sdkworkflow.Context)) {
	t.Helper()
	run := func(t *testing.T, env *testsuite.TestWorkflowEnvironment) {
		env.SetDataConverter(dc)
		w := func(ctx sdkworkflow.Context) error { f(t, ctx); return nil }
		env.RegisterWorkflow(w)
		env.ExecuteWorkflow(w)
		require.NoError(t, env.GetWorkflowError())
	}
	t.Run("with the plugin", func(t *testing.T) {
		run(t, newBench(t, func(c *workflow.Config) { c.DataConverter = func() converter.DataConverter { return dc } }).TestWorkflowEnvironment)
	})
	t.Run("without", func(t *testing.T) {
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestWorkflowEnvironment()
		env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute})
		env.SetTestTimeout(time.Minute)
		run(t, env)
	})
}

// Results, errors and the context value are decoded as what the workflow's own activities
// return: by its data converter, bound to it.
func TestCompletionsDecodeAsActivitiesDo(t *testing.T) {
	t.Parallel()
	dc := sealed()
	bound := converter.WithDataConverterSerializationContext(dc, workflowContext(nil))
	broken := temporal.NewNonRetryableApplicationError("broken", "Broken", errors.New("root"), "detail")
	inside(t, dc, func(t *testing.T, ctx sdkworkflow.Context) {
		c := completionOf(t, wire.Completion{
			Outcome: wire.Outcome{Kind: wire.KindCompleted, Attempt: 3, Payloads: payloadOf(t, bound, []string{"r"})},
			Context: payloadOf(t, bound, 17)[0],
		})
		require.Equal(t, []any{"b", 4, "Echo", workflow.OutcomeCompleted, 3}, []any{c.Batch, c.Index, c.ActivityType, c.Outcome, c.Attempts})
		var result []string
		require.NoError(t, c.Get(ctx, &result))
		require.Equal(t, []string{"r"}, result)
		require.NoError(t, c.Get(ctx, nil))
		var order int
		require.NoError(t, c.GetContext(ctx, &order))
		require.Equal(t, 17, order)
		require.Error(t, c.Get(ctx, &order), "another type")

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindCompleted}})
		require.NoError(t, c.Get(ctx, &result), "no result")
		require.NoError(t, c.GetContext(ctx, &order), "no context value")
		require.Equal(t, 17, order)

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindFailed, Retry: wire.RetryState(enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE),
			Worker: "e", Payloads: failureOf(t, bound, broken)}})
		var outer *temporal.ActivityError
		var app *temporal.ApplicationError
		err := c.Get(ctx, &result)
		require.ErrorAs(t, err, &outer)
		require.Equal(t, []any{"Echo", "b/4", "e", enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE},
			[]any{outer.ActivityType().GetName(), outer.ActivityID(), outer.Identity(), outer.RetryState()})
		require.ErrorAs(t, err, &app)
		require.Equal(t, "Broken", app.Type())
		require.True(t, app.NonRetryable())
		require.ErrorContains(t, app, "root")
		require.Equal(t, workflow.OutcomeFailed, c.Outcome)

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindHeartbeat, Payloads: failureOf(t, bound, broken), Details: payloadOf(t, bound, "at 3")}})
		var timeout *temporal.TimeoutError
		require.ErrorAs(t, c.Get(ctx, nil), &timeout)
		require.Equal(t, enumspb.TIMEOUT_TYPE_HEARTBEAT, timeout.TimeoutType())
		require.ErrorAs(t, timeout.Unwrap(), &app, "the failure of the attempt before")
		require.Equal(t, workflow.OutcomeTimedOut, c.Outcome)

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindCanceled, Payloads: payloadOf(t, bound, "why")}})
		var canceled *temporal.CanceledError
		require.ErrorAs(t, c.Get(ctx, nil), &canceled)
		require.Equal(t, workflow.OutcomeCanceled, c.Outcome)

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindPoison}})
		require.ErrorAs(t, c.Get(ctx, nil), &app)
		require.Equal(t, workflow.ErrorTypePoison, app.Type())
		require.Equal(t, workflow.OutcomeFailed, c.Outcome)
	})
}

// Details are decoded late, by the converter of the workflow.
func TestDetailsOfCompletions(t *testing.T) {
	t.Parallel()
	dc := converter.GetDefaultDataConverter()
	inside(t, dc, func(t *testing.T, ctx sdkworkflow.Context) {
		var first string
		var second int
		c := completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindFailed, Payloads: failureOf(t, dc, temporal.NewApplicationError("m", "T", "d", 5))}})
		var app *temporal.ApplicationError
		require.ErrorAs(t, c.Get(ctx, nil), &app)
		require.NoError(t, app.Details(&first, &second))
		require.Equal(t, []any{"d", 5}, []any{first, second})

		c = completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindHeartbeat, Details: payloadOf(t, dc, "at 3")}})
		var timeout *temporal.TimeoutError
		require.ErrorAs(t, c.Get(ctx, nil), &timeout)
		require.NoError(t, timeout.LastHeartbeatDetails(&first))
		require.Equal(t, "at 3", first)
	})
}

// custom is a failure converter of the user's.
type custom struct{ converter.FailureConverter }

var errCustom = errors.New("custom")

func (custom) FailureToError(*failurepb.Failure) error { return errCustom }

func TestTheFailureConverterOfThePlugin(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *workflow.Config) {
		c.FailureConverter = func() converter.FailureConverter { return custom{} }
	})
	c := completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindStartToClose}})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		return fmt.Sprint(errors.Is(c.Get(ctx, nil), errCustom)), nil
	})
	require.NoError(t, err)
	require.Equal(t, "true", got)
}

// A failure that cannot be read is a failure all the same, and never the end of the
// workflow task.
func TestUnreadableCompletions(t *testing.T) {
	t.Parallel()
	junk := []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("no such")}, Data: []byte("junk")}}
	inside(t, converter.GetDefaultDataConverter(), func(t *testing.T, ctx sdkworkflow.Context) {
		for _, o := range []wire.Outcome{{Kind: wire.KindFailed, Payloads: junk}, {Kind: wire.KindFailed}, {}} {
			c := completionOf(t, wire.Completion{Outcome: o})
			var app *temporal.ApplicationError
			require.ErrorAs(t, c.Get(ctx, nil), &app)
			require.Equal(t, workflow.ErrorTypeUnreadable, app.Type())
		}
		var s string
		c := completionOf(t, wire.Completion{Outcome: wire.Outcome{Kind: wire.KindCompleted, Payloads: junk}})
		require.Error(t, c.Get(ctx, &s))
	})
	var c workflow.Completion
	require.Error(t, json.Unmarshal([]byte(`{"index": "x"}`), &c))
}

// They come by an ordinary signal channel, and may be passed on.
func TestCompletionsAreReceivedAndPassedOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() {
		b.SignalWorkflow("done", []wire.Completion{
			{Batch: "b", Index: 1, Type: "Echo", Outcome: wire.Outcome{Kind: wire.KindCompleted, Payloads: payloadOf(t, converter.GetDefaultDataConverter(), "r")}},
			{Batch: "b", Index: 0, Type: "Echo", Outcome: wire.Outcome{Kind: wire.KindCanceled}},
		})
	})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var completions, passed []workflow.Completion
		sdkworkflow.GetSignalChannel(ctx, "done").Receive(ctx, &completions)
		encoded, err := json.Marshal(completions)
		if err == nil {
			err = json.Unmarshal(encoded, &passed)
		}
		if err != nil {
			return "", err
		}
		var s string
		err = passed[0].Get(ctx, &s)
		return fmt.Sprint(s, " ", err, " ", passed[1].Outcome), nil
	})
	require.NoError(t, err)
	require.Equal(t, "r <nil> canceled", got)
}
