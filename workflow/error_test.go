package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

func failure(t testing.TB, err error) []*commonpb.Payload {
	t.Helper()
	p, err := wire.EncodeFailure(converter.GetDefaultDataConverter(), temporal.GetDefaultFailureConverter().ErrorToFailure(err))
	require.NoError(t, err)
	return []*commonpb.Payload{p}
}

// outcomeOf runs one call that ends with that outcome and returns its error.
func outcomeOf(t *testing.T, o wire.Outcome, change ...func(*workflow.Config)) error {
	t.Helper()
	b := newBench(t, change...)
	b.queue.answer = func(*wire.Call) wire.Answer {
		copied := o
		return wire.Answer{State: wire.StateDone, Outcome: &copied}
	}
	var got error
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute, ActivityID: "my-id"})
		got = sdkworkflow.ExecuteActivity(ctx, "Echo", "a").Get(ctx, nil)
		return "", nil
	})
	require.NoError(t, err)
	return got
}

// What workflow code can see of an error, layer by layer.
func describeError(err error) []string {
	var layers []string
	for ; err != nil; err = errors.Unwrap(err) {
		layer := fmt.Sprintf("%T", err)
		var details string
		switch e := err.(type) { //nolint:errorlint // layer by layer
		case *temporal.ActivityError:
			layer += fmt.Sprint(" ", e.ActivityType().GetName(), " ", e.ActivityID(), " ", e.RetryState())
		case *temporal.ApplicationError:
			if e.HasDetails() {
				_ = e.Details(&details)
			}
			layer += fmt.Sprint(" ", e.Message(), " ", e.Type(), " ", e.NonRetryable(), " ", e.NextRetryDelay(), " ", e.Category(), " ", details)
		case *temporal.TimeoutError:
			if e.HasLastHeartbeatDetails() {
				_ = e.LastHeartbeatDetails(&details)
			}
			layer += fmt.Sprint(" ", e.Message(), " ", e.TimeoutType(), " ", details)
		case *temporal.CanceledError:
			if e.HasDetails() {
				_ = e.Details(&details)
			}
			layer += " " + details
		case *temporal.PanicError:
			layer += fmt.Sprint(" ", e.Error(), " ", e.StackTrace() != "")
		default:
			layer += " " + e.Error()
		}
		layers = append(layers, layer)
	}
	return layers
}

// Errors of handlers look as they do from a plain activity in the same environment.
func TestErrorsLookAsFromAPlainActivity(t *testing.T) {
	t.Parallel()
	type custom struct{ error }
	for name, err := range map[string]error{
		"plain":         errors.New("plain"),
		"wrapped":       fmt.Errorf("outer: %w", errors.New("inner")),
		"custom type":   custom{errors.New("custom")},
		"application":   temporal.NewApplicationError("message", "Type", "detail"),
		"non-retryable": temporal.NewNonRetryableApplicationError("message", "Type", errors.New("cause"), "detail"),
		"all options": temporal.NewApplicationErrorWithOptions("message", "Type", temporal.ApplicationErrorOptions{
			NextRetryDelay: time.Minute, Category: temporal.ApplicationErrorCategoryBenign, Details: []any{"detail"},
		}),
	} {
		plain := newBench(t, func(c *workflow.Config) { c.Enabled = nil })
		plain.RegisterActivityWithOptions(func(context.Context) error { return err }, sdkactivity.RegisterOptions{Name: "Fail"})
		var want error
		_, runErr := plain.run(func(ctx sdkworkflow.Context) (string, error) {
			ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
				StartToCloseTimeout: time.Minute, ActivityID: "my-id", RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
			})
			want = sdkworkflow.ExecuteActivity(ctx, "Fail").Get(ctx, nil)
			return "", nil
		})
		require.NoError(t, runErr)
		var activityErr *temporal.ActivityError
		require.ErrorAs(t, want, &activityErr)

		got := outcomeOf(t, wire.Outcome{
			Kind: wire.KindFailed, Retry: wire.RetryState(activityErr.RetryState()), Worker: "executor", Payloads: failure(t, err),
		})
		wantLayers, gotLayers := describeError(want), describeError(got)
		wantLayers[0] = fmt.Sprintf("*internal.ActivityError Echo my-id %v", activityErr.RetryState())
		require.Equal(t, wantLayers, gotLayers, name)
	}
}

func TestIdentityOfTheExecutor(t *testing.T) {
	t.Parallel()
	var activityErr *temporal.ActivityError
	require.ErrorAs(t, outcomeOf(t, wire.Outcome{Kind: wire.KindFailed, Worker: "executor", Payloads: failure(t, errors.New("x"))}), &activityErr)
	require.Equal(t, "executor", activityErr.Identity())
	require.ErrorAs(t, outcomeOf(t, wire.Outcome{Kind: wire.KindStartToClose, Worker: "executor"}), &activityErr)
	require.Empty(t, activityErr.Identity(), "the server's time-outs name nobody")
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	detail, err := encodeJSON("progress")
	require.NoError(t, err)
	for kind, want := range map[wire.Kind]string{
		wire.KindScheduleToStart: "activity ScheduleToStart timeout ScheduleToStart",
		// The server's words, whichever limit the last attempt ran into.
		wire.KindScheduleToClose: "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying ScheduleToClose",
		wire.KindStartToClose:    "activity StartToClose timeout StartToClose",
		wire.KindHeartbeat:       "activity Heartbeat timeout Heartbeat",
	} {
		got := outcomeOf(t, wire.Outcome{
			Kind: kind, Retry: wire.RetryState(enumspb.RETRY_STATE_TIMEOUT),
			Details: detail.GetPayloads(), Payloads: failure(t, temporal.NewApplicationError("last failure", "Last")),
		})
		require.Equal(t, []string{
			"*internal.ActivityError Echo my-id Timeout",
			"*internal.TimeoutError " + want + " progress",
			"*internal.ApplicationError last failure Last false 0s 0 ",
		}, describeError(got))
	}
	require.Equal(t, []string{
		"*internal.ActivityError Echo my-id MaximumAttemptsReached",
		"*internal.TimeoutError activity StartToClose timeout StartToClose ",
	}, describeError(outcomeOf(t, wire.Outcome{
		Kind: wire.KindStartToClose, Retry: wire.RetryState(enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED),
	})))
	require.Equal(t, []string{
		"*internal.ActivityError Echo my-id CancelRequested",
		"*internal.TimeoutError activity ScheduleToClose timeout ScheduleToClose ",
	}, describeError(outcomeOf(t, wire.Outcome{
		Kind: wire.KindScheduleToClose, Retry: wire.RetryState(enumspb.RETRY_STATE_CANCEL_REQUESTED),
	})))
}

func TestCanceledDetails(t *testing.T) {
	t.Parallel()
	detail, err := encodeJSON("half done")
	require.NoError(t, err)
	got := outcomeOf(t, wire.Outcome{Kind: wire.KindCanceled, Payloads: detail.GetPayloads()})
	require.Equal(t, []string{"*internal.ActivityError Echo my-id NonRetryableFailure", "*internal.CanceledError half done"}, describeError(got))
	require.True(t, temporal.IsCanceledError(got))
	require.Equal(t, "canceled", errors.Unwrap(got).Error())
}

func TestErrorsOfTheQueueItself(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		outcome wire.Outcome
		want    string
	}{
		"poison":       {wire.Outcome{Kind: wire.KindPoison}, workflow.ErrorTypePoison},
		"unknown kind": {wire.Outcome{Kind: 200}, workflow.ErrorTypeUnreadable},
		"no failure":   {wire.Outcome{Kind: wire.KindFailed}, workflow.ErrorTypeUnreadable},
		"junk failure": {wire.Outcome{Kind: wire.KindFailed, Payloads: []*commonpb.Payload{{Data: []byte("junk")}}}, workflow.ErrorTypeUnreadable},
	} {
		var application *temporal.ApplicationError
		require.ErrorAs(t, outcomeOf(t, tt.outcome), &application, name)
		require.Equal(t, tt.want, application.Type(), name)
		require.True(t, application.NonRetryable(), name)
	}
	require.Equal(t, "SlipstreamPoison", workflow.ErrorTypePoison, "stands in users' code")
	require.Equal(t, "SlipstreamRefused", workflow.ErrorTypeRefused)
}

func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		failure *commonpb.Payload
		want    string
	}{
		{failure(t, temporal.NewNonRetryableApplicationError("3 MiB of arguments", workflow.ErrorTypeRefused, nil))[0], "3 MiB of arguments"},
		{nil, "the call was refused"},
	} {
		b := newBench(t)
		b.queue.answer = func(*wire.Call) wire.Answer {
			return wire.Answer{State: wire.StateRefused, Failure: tt.failure}
		}
		_, err := b.run(echoOnce)
		var activityErr *temporal.ActivityError
		require.ErrorAs(t, err, &activityErr)
		require.Equal(t, enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE, activityErr.RetryState())
		var application *temporal.ApplicationError
		require.ErrorAs(t, err, &application)
		require.Equal(t, workflow.ErrorTypeRefused, application.Type())
		require.Equal(t, tt.want, application.Message())
	}
}

// An error that a workflow lets through is written as it came.
func TestEncodedAttributes(t *testing.T) {
	t.Parallel()
	fc := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
	p, err := wire.EncodeFailure(converter.GetDefaultDataConverter(), fc.ErrorToFailure(temporal.NewApplicationError("secret", "Type")))
	require.NoError(t, err)
	got := outcomeOf(t, wire.Outcome{Kind: wire.KindFailed, Payloads: []*commonpb.Payload{p}}, func(c *workflow.Config) {
		c.FailureConverter = func() converter.FailureConverter { return fc }
	})
	var application *temporal.ApplicationError
	require.ErrorAs(t, got, &application)
	require.Equal(t, "secret", application.Message())
}

// A converter that panics fails one call, not the workflow task, and each that follows.
type panicking struct{ converter.DataConverter }

func (panicking) FromPayload(*commonpb.Payload, any) error { panic("no key") }

type panickingFailures struct{ converter.FailureConverter }

func (panickingFailures) FailureToError(*failurepb.Failure) error { panic("no key") }

func TestConvertersThatPanic(t *testing.T) {
	t.Parallel()
	o := wire.Outcome{Kind: wire.KindFailed, Payloads: failure(t, errors.New("x"))}
	for name, change := range map[string]func(*workflow.Config){
		"data": func(c *workflow.Config) { c.DataConverter = func() converter.DataConverter { return panicking{} } },
		"failure": func(c *workflow.Config) {
			c.FailureConverter = func() converter.FailureConverter { return panickingFailures{} }
		},
	} {
		var application *temporal.ApplicationError
		require.ErrorAs(t, outcomeOf(t, o, change), &application, name)
		require.Equal(t, workflow.ErrorTypeUnreadable, application.Type(), name)
		require.Equal(t, name+" converter: no key", application.Message())
	}
}

func TestArgumentsThatCannotBeEncodedPanicAsInTheSDK(t *testing.T) {
	t.Parallel()
	text := func(enabled bool) string {
		b := newBench(t, func(c *workflow.Config) { c.Enabled = func() bool { return enabled } })
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			return "", sdkworkflow.ExecuteActivity(options(ctx), "Echo", make(chan int)).Get(ctx, nil)
		})
		require.Error(t, err)
		return err.Error()
	}
	require.Equal(t, text(false), text(true))
}
