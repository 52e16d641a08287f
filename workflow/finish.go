package workflow

import (
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/sdkerror"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// The types of the application errors that only routed calls can end in. They are what
// temporal.ApplicationError.Type returns and may be listed in retry policies and
// compared in workflow code; they never change.
const (
	// ErrorTypePoison: executors died with the call too often; it is in the dead letters.
	ErrorTypePoison = "SlipstreamPoison"
	// ErrorTypeRefused: dispatch refused the call, for instance because its arguments
	// are too large.
	ErrorTypeRefused = "SlipstreamRefused"
	// ErrorTypeUnreadable: the call ended, but how it did cannot be read: a failure that
	// the data converter does not decode, or a kind of outcome that only a newer version
	// knows.
	ErrorTypeUnreadable = "SlipstreamUnreadableOutcome"
)

// finish settles a call with its outcome: the result, or the error that the SDK would
// give for a plain activity.
func (r *router) finish(ctx sdkworkflow.Context, c *call, o *wire.Outcome) {
	if o.Kind == wire.KindCompleted {
		r.settle(ctx, c, c.value(o.Payloads), nil)
		return
	}
	step := int(o.Step)
	if step > 0 && o.Kind == wire.KindCanceled && o.Attempt == 0 && len(o.Payloads) == 0 {
		r.settle(ctx, c, nil, sdkworkflow.ErrCanceled) // the step before completed, this one was not scheduled
		return
	}
	err := r.errors(c.ctx).of(o, c.typeIn(step), c.activityIDIn(step))
	if o.Kind != wire.KindCanceled {
		err = c.inStep(step, err)
	}
	r.settle(ctx, c, nil, err)
}

// refuse settles a call that dispatch did not accept.
func (r *router) refuse(ctx sdkworkflow.Context, c *call, encoded *commonpb.Payload) {
	e := r.errors(c.ctx)
	var cause *failurepb.Failure
	if encoded != nil {
		cause = e.decode([]*commonpb.Payload{encoded})
	}
	if cause == nil {
		cause = application(ErrorTypeRefused, "the call was refused")
	}
	r.settle(ctx, c, nil, c.inStep(0, sdkerror.Activity(&failurepb.ActivityFailureInfo{
		ActivityType: &commonpb.ActivityType{Name: c.Type},
		ActivityId:   c.ActivityID,
		RetryState:   enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE,
	}, e.toError(cause))))
}

// errorMaker makes the errors that workflow code gets for activities. Its converters are
// the user's, bound to the workflow; they may panic, and so may making them.
type errorMaker struct {
	data    func() converter.DataConverter
	failure func() converter.FailureConverter
}

func (r *router) errors(ctx sdkworkflow.Context) errorMaker {
	return errorMaker{
		data: func() converter.DataConverter { return r.dataConverter(ctx) },
		failure: func() converter.FailureConverter {
			return converter.WithFailureConverterSerializationContext(r.config.failureConverter(), r.serializationContext(ctx))
		},
	}
}

// of is the error for an outcome that is no result. Only its cause is the failure
// converter's, as for a plain activity.
func (e errorMaker) of(o *wire.Outcome, activityType, activityID string) error {
	info := &failurepb.ActivityFailureInfo{
		ActivityType: &commonpb.ActivityType{Name: activityType},
		ActivityId:   activityID,
		Identity:     o.Worker,
		RetryState:   enumspb.RetryState(o.Retry),
	}
	var cause *failurepb.Failure
	switch o.Kind {
	case wire.KindFailed:
		cause = e.decode(o.Payloads)
		if cause == nil {
			cause = unreadable("the activity failed, but with no failure")
		}
	case wire.KindCanceled:
		info.RetryState = enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE
		return sdkerror.Activity(info, sdkerror.Canceled(e.data(), payloadsOrNil(o.Payloads)))
	case wire.KindScheduleToStart, wire.KindScheduleToClose, wire.KindStartToClose, wire.KindHeartbeat:
		info.Identity = "" // as the server's time-out events have none
		cause = timedOut(o, e.decode(o.Payloads))
	case wire.KindPoison:
		info.RetryState = enumspb.RETRY_STATE_NON_RETRYABLE_FAILURE
		cause = application(ErrorTypePoison, "executors were lost with this call too often, it is in the dead letters")
		cause.Cause = e.decode(o.Payloads)
	default:
		cause = unreadable(fmt.Sprintf("the call ended in a way that this version does not know (%d)", o.Kind))
	}
	return sdkerror.Activity(info, e.toError(cause))
}

func (e errorMaker) toError(failure *failurepb.Failure) (err error) {
	defer caught(func(p any) {
		err = temporal.NewNonRetryableApplicationError(fmt.Sprintf("failure converter: %v", p), ErrorTypeUnreadable, nil)
	})
	return e.failure().FailureToError(failure)
}

// decode reads the failure that an attempt left, nil for no payload. A payload that the
// converter does not take becomes a failure that says so: the call did end, and a workflow
// task must not fail.
func (e errorMaker) decode(payloads []*commonpb.Payload) (failure *failurepb.Failure) {
	if len(payloads) == 0 {
		return nil
	}
	defer caught(func(p any) { failure = unreadable(fmt.Sprintf("data converter: %v", p)) })
	failure, err := wire.DecodeFailure(e.data(), payloads[0])
	if err != nil {
		return unreadable(err.Error())
	}
	return failure
}

// dataConverter returns the client's data converter as a call made with ctx needs it.
func (r *router) dataConverter(ctx sdkworkflow.Context) converter.DataConverter {
	dc := converter.WithDataConverterSerializationContext(r.config.dataConverter(), r.serializationContext(ctx))
	if aware, ok := dc.(sdkworkflow.ContextAware); ok {
		dc = aware.WithWorkflowContext(ctx)
	}
	return dc
}

// caught runs f after a panic of a user's converter. Signals are handled outside of
// workflow code, where such a panic would fail the workflow task and each that follows.
func caught(f func(any)) {
	if p := recover(); p != nil {
		f(p)
	}
}

// serializationContext is the workflow's, on everything of Slipstream: results are
// decoded by the workflow's own future, which knows no other.
func (r *router) serializationContext(ctx sdkworkflow.Context) converter.WorkflowSerializationContext {
	info := r.Next.GetInfo(ctx)
	return converter.WorkflowSerializationContext{Namespace: info.Namespace, WorkflowID: info.WorkflowExecution.ID}
}

var timeoutTypes = map[wire.Kind]enumspb.TimeoutType{
	wire.KindScheduleToStart: enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START,
	wire.KindScheduleToClose: enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE,
	wire.KindStartToClose:    enumspb.TIMEOUT_TYPE_START_TO_CLOSE,
	wire.KindHeartbeat:       enumspb.TIMEOUT_TYPE_HEARTBEAT,
}

// noTimeToRetry is the server's message for the time-out of a call that was still to be
// tried, whatever time-out its last attempt ran into.
const noTimeToRetry = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"

// timedOut is the failure that the server writes for a time-out.
func timedOut(o *wire.Outcome, last *failurepb.Failure) *failurepb.Failure {
	failure := wire.TimeoutFailure(timeoutTypes[o.Kind])
	if o.Kind == wire.KindScheduleToClose && enumspb.RetryState(o.Retry) == enumspb.RETRY_STATE_TIMEOUT {
		failure.Message = noTimeToRetry
	}
	failure.GetTimeoutFailureInfo().LastHeartbeatDetails = payloadsOrNil(o.Details)
	failure.Cause = last
	return failure
}

func application(errorType, message string) *failurepb.Failure {
	return &failurepb.Failure{
		Message: message,
		Source:  "Slipstream",
		FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{
			Type:         errorType,
			NonRetryable: true,
		}},
	}
}

func unreadable(message string) *failurepb.Failure {
	return application(ErrorTypeUnreadable, message)
}

func payloadsOrNil(payloads []*commonpb.Payload) *commonpb.Payloads {
	if len(payloads) == 0 {
		return nil
	}
	return &commonpb.Payloads{Payloads: payloads}
}
