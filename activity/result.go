package activity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// Types of the application errors that Slipstream itself makes. Workflow code may match
// them; they never change.
const (
	// ErrTypeResultPending: the handler of a routed call returned
	// activity.ErrResultPending. Routed calls cannot be completed asynchronously: take
	// the mark off the activity.
	ErrTypeResultPending = "slipstream.ResultPending"
	// ErrTypeUndecodable: what a task carries through the queue is damaged, so that its
	// handler could not be started. It is not retried.
	ErrTypeUndecodable = "slipstream.Undecodable"
)

func errUndecodable(activityType string, cause error) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("a task of activity %q is damaged in the queue", activityType), ErrTypeUndecodable, cause)
}

func errResultPending(activityType string) error {
	message := fmt.Sprintf("activity %q returned activity.ErrResultPending, but its calls go through Slipstream's queue "+
		"and cannot be completed asynchronously; remove %q from the plugin's Marks", activityType, activityType)
	return temporal.NewNonRetryableApplicationError(message, ErrTypeResultPending, nil)
}

// resultPending is the result of a handler that returned activity.ErrResultPending. The
// token of a diverted task is a real one: somebody else will answer it.
func (v *invocation) resultPending() batchqueue.Result {
	if v.diverted == nil {
		return v.failed(errResultPending(v.d.Type))
	}
	v.diverted.pending = true
	return batchqueue.Result{Kind: batchqueue.KindCompleted}
}

// markerOverhead is how far below the payload limit a result must stay: it shares a marker
// or a signal with its identity, and the server ends a run whose marker is over the limit.
const markerOverhead = 16 << 10

// completed is the result of a handler that returned without error.
func (v *invocation) completed(output *commonpb.Payloads) batchqueue.Result {
	if v.address.Batch != "" && v.address.Receiver == "" {
		return batchqueue.Result{Kind: batchqueue.KindCompleted} // nobody will ever read it
	}
	result := v.answer(batchqueue.KindCompleted, output)
	if result.Kind == batchqueue.KindCompleted && (v.call.Gather || !v.d.Last()) {
		return v.step(output, result.Payload)
	}
	return result
}

// canceled is the result of a handler that acknowledged a cancel.
func (v *invocation) canceled(err *temporal.CanceledError) batchqueue.Result {
	// Details go through the data converter, not through the user's failure converter:
	// so does the SDK in its response to a cancel.
	fc := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: v.dc})
	return v.answer(batchqueue.KindCanceled, fc.ErrorToFailure(err).GetCanceledFailureInfo().GetDetails())
}

// answer is a result with payloads, if they are within the limit.
func (v *invocation) answer(kind batchqueue.Kind, p *commonpb.Payloads) batchqueue.Result {
	payload, err := wire.EncodePayloads(p)
	switch {
	case err != nil:
		return v.failed(err)
	case len(payload) > v.payloadLimit():
		return v.tooLarge(len(payload))
	}
	return batchqueue.Result{Kind: kind, Payload: payload}
}

func (v *invocation) tooLarge(size int) batchqueue.Result {
	v.w.logger.Error("Activity task postprocess error: "+payloadLimitMessage,
		v.tags("PayloadSize", size, "PayloadSizeLimit", v.payloadLimit())...)
	return v.failed(payloadSizeError{})
}

// payloadLimit is the limit for what an attempt reports: its result, or its heartbeats.
// That of a diverted task shares nothing; in a batch it may be written in base64 on its way.
func (v *invocation) payloadLimit() int {
	limit := v.w.rt.o.MaxPayloadBytes - markerOverhead
	switch {
	case v.diverted != nil:
		return v.w.rt.o.MaxPayloadBytes
	case v.address.Batch != "":
		return limit / 4 * 3
	}
	return limit
}

// failed is the result of an attempt that ended in err. Whether it may be retried is
// decided here, by the server's rules.
func (v *invocation) failed(err error) batchqueue.Result {
	v.err = err
	failure := v.fc.ErrorToFailure(err)
	v.errType = failure.GetApplicationFailureInfo().GetType()
	if failure.GetApplicationFailureInfo().GetCategory() != enumspb.APPLICATION_ERROR_CATEGORY_BENIGN {
		if _, tooLarge := err.(payloadSizeError); tooLarge { //nolint:errorlint // made here, never wrapped
			v.countFailure(reasonPayloadsTooLarge)
		} else {
			v.countFailure(reasonActivityError)
		}
	}
	if proto.Size(failure) > v.payloadLimit() {
		failure = truncatedFailure(failure)
		if v.diverted != nil { // the server takes application failures only
			failure.FailureInfo = &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{NonRetryable: true}}
		}
	}
	result := batchqueue.Result{
		Kind:           batchqueue.KindFailed,
		NonRetryable:   !isRetryable(failure, v.call.NonRetryable),
		NextRetryDelay: failure.GetApplicationFailureInfo().GetNextRetryDelay().AsDuration(),
	}
	payload, encodeErr := wire.EncodeFailure(v.sealed, failure)
	if encodeErr == nil {
		result.Payload, encodeErr = wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{payload}})
	}
	if encodeErr != nil {
		// The workflow then sees a failure without its reason; the log has it.
		v.w.logger.Error("[Slipstream] the failure of an activity could not be encoded, the workflow sees one without its reason", v.tags("Error", errors.Join(err, encodeErr))...)
	}
	return result
}

// The SDK's values of the tag failure_reason.
const (
	reasonActivityError    = "ActivityError"
	reasonPayloadsTooLarge = "PayloadsTooLarge"
)

func (v *invocation) countFailure(reason string) {
	v.metrics.WithTags(map[string]string{"failure_reason": reason}).Counter("temporal_activity_execution_failed").Inc(1)
}

// isRetryable is the server's rule.
func isRetryable(f *failurepb.Failure, nonRetryable []string) bool {
	switch {
	case f.GetTerminatedFailureInfo() != nil, f.GetCanceledFailureInfo() != nil:
		return false
	case f.GetTimeoutFailureInfo() != nil:
		kind := f.GetTimeoutFailureInfo().GetTimeoutType()
		if kind != enumspb.TIMEOUT_TYPE_START_TO_CLOSE && kind != enumspb.TIMEOUT_TYPE_HEARTBEAT {
			return false
		}
		return !isFinal(kind, nonRetryable)
	case f.GetServerFailureInfo() != nil:
		return !f.GetServerFailureInfo().GetNonRetryable()
	case f.GetApplicationFailureInfo() != nil:
		return !f.GetApplicationFailureInfo().GetNonRetryable() &&
			!slices.Contains(nonRetryable, f.GetApplicationFailureInfo().GetType())
	}
	return true
}

// isFinal tells whether a retry policy does not retry that time-out. Policies name
// time-outs as error types.
func isFinal(kind enumspb.TimeoutType, nonRetryable []string) bool {
	return slices.Contains(nonRetryable, "TemporalTimeout:"+kind.String())
}

// timeoutFailure is what the server remembers of an attempt that timed out: the cause of
// a later time-out. It is the executor's TimeoutFailure.
func (w *Worker) timeoutFailure(d *batchqueue.Delivery, kind batchqueue.Kind) []byte {
	return withTrace(w.timedOut(d, kind), w.traceOf(d, kind))
}

func (w *Worker) timedOut(d *batchqueue.Delivery, kind batchqueue.Kind) []byte {
	var failure *failurepb.Failure
	switch kind {
	case batchqueue.KindStartToClose:
		failure = wire.TimeoutFailure(enumspb.TIMEOUT_TYPE_START_TO_CLOSE)
	case batchqueue.KindHeartbeat:
		failure = wire.TimeoutFailure(enumspb.TIMEOUT_TYPE_HEARTBEAT)
	default:
		return nil // no other time-out is followed by an attempt
	}
	encoded, err := w.encodeFailure(d, failure)
	if err != nil {
		// A later time-out then has no cause.
		w.logger.Warn("[Slipstream] a time-out could not be encoded", "ActivityType", d.Type, "Error", err)
		return nil
	}
	return encoded
}

func (w *Worker) encodeFailure(d *batchqueue.Delivery, failure *failurepb.Failure) ([]byte, error) {
	a, err := decodeAddress(d.Common)
	if err != nil {
		return nil, err
	}
	_, dc, _ := w.rt.client.taskConverters(a, d.Type)
	payload, err := wire.EncodeFailure(dc, failure)
	if err != nil {
		return nil, err
	}
	return wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{payload}})
}

// payloadLimitMessage is the SDK's.
const payloadLimitMessage = "[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit."

// payloadSizeError bears the name of the SDK's error: the name is the failure's type.
type payloadSizeError struct{}

func (payloadSizeError) Error() string { return payloadLimitMessage }

// failureLimitMessage is the server's.
const failureLimitMessage = "Failure exceeds size limit."

// keptFailureBytes is how much of an oversized failure's message and stack trace is
// kept, each.
const keptFailureBytes = 4 << 10

// truncatedFailure is what the server makes of a failure over the limit.
func truncatedFailure(f *failurepb.Failure) *failurepb.Failure {
	return &failurepb.Failure{
		Message:     failureLimitMessage,
		Source:      "Server",
		FailureInfo: &failurepb.Failure_ServerFailureInfo{ServerFailureInfo: &failurepb.ServerFailureInfo{NonRetryable: true}},
		Cause: &failurepb.Failure{
			Message:    cut(f.GetMessage()),
			Source:     f.GetSource(),
			StackTrace: cut(f.GetStackTrace()),
			FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{
				Type:         f.GetApplicationFailureInfo().GetType(),
				NonRetryable: f.GetApplicationFailureInfo().GetNonRetryable(),
			}},
		},
	}
}

func cut(s string) string {
	if len(s) > keptFailureBytes {
		return strings.ToValidUTF8(s[:keptFailureBytes], "")
	}
	return s
}
