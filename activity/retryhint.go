package activity

import (
	"time"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// retryLaterError is the error of a server, or of a proxy before it, that says how long to leave
// it alone.
type retryLaterError struct {
	error

	after time.Duration
}

func (e retryLaterError) Unwrap() error { return e.error }

// RetryAfter is what the queue looks for in a failed delivery.
func (e retryLaterError) RetryAfter() time.Duration { return e.after }

// withRetryHint finds the hint in the details of an error's status (google.rpc.RetryInfo).
func withRetryHint(err error) error {
	status := serviceerror.ToStatus(err)
	for _, detail := range status.Proto().GetDetails() {
		if detail.MessageName() != "google.rpc.RetryInfo" {
			continue
		}
		// Its one field is the delay; the generated type would be one more dependency.
		number, kind, n := protowire.ConsumeTag(detail.GetValue())
		if n < 0 || number != 1 || kind != protowire.BytesType {
			continue
		}
		value, m := protowire.ConsumeBytes(detail.GetValue()[n:])
		var delay durationpb.Duration
		if m >= 0 && proto.Unmarshal(value, &delay) == nil && delay.AsDuration() > 0 {
			return retryLaterError{err, delay.AsDuration()}
		}
	}
	return err
}
