package sdkerror_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/slipstream-go/slipstream/internal/sdkerror"
)

// word is an error that only a converter of the user's own could have made.
type word string

func (w word) Error() string { return string(w) }

func TestActivityKeepsItsCauseAndNoFailure(t *testing.T) {
	err := sdkerror.Activity(&failurepb.ActivityFailureInfo{
		ActivityType: &commonpb.ActivityType{Name: "Translate"}, ActivityId: "7", Identity: "worker",
		RetryState: enumspb.RETRY_STATE_TIMEOUT,
	}, word("palabra"))
	var failed *temporal.ActivityError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "Translate", failed.ActivityType().GetName())
	require.Equal(t, "7", failed.ActivityID())
	require.Equal(t, "worker", failed.Identity())
	require.Equal(t, enumspb.RETRY_STATE_TIMEOUT, failed.RetryState())
	require.Equal(t, word("palabra"), errors.Unwrap(err))
	require.Nil(t, failed.Failure(), "the error remembers that it was made by a converter")
}

func TestActivityWithoutCause(t *testing.T) {
	require.NoError(t, errors.Unwrap(sdkerror.Activity(&failurepb.ActivityFailureInfo{}, nil)))
}

func TestCanceledDecodesItsDetails(t *testing.T) {
	details, err := converter.GetDefaultDataConverter().ToPayloads("half", 7)
	require.NoError(t, err)
	var canceled *temporal.CanceledError
	require.ErrorAs(t, sdkerror.Canceled(converter.GetDefaultDataConverter(), details), &canceled)
	var s string
	var n int
	require.NoError(t, canceled.Details(&s, &n))
	require.Equal(t, "half", s)
	require.Equal(t, 7, n)
	require.Nil(t, canceled.Failure())

	require.ErrorAs(t, sdkerror.Canceled(converter.GetDefaultDataConverter(), nil), &canceled)
	require.False(t, canceled.HasDetails())
}

// A converter that encodes messages must find one to encode.
func TestPanicIsConvertedAsAnyError(t *testing.T) {
	err := sdkerror.Panic("a secret", "the stack")
	var panicked *temporal.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "a secret", err.Error())
	require.Equal(t, "the stack", panicked.StackTrace())

	encoding := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
	failure := encoding.ErrorToFailure(err)
	require.Equal(t, "PanicError", failure.GetApplicationFailureInfo().GetType())
	require.Equal(t, "Encoded failure", failure.GetMessage())
	require.Empty(t, failure.GetStackTrace())
	require.Equal(t, "a secret", encoding.FailureToError(failure).Error())
}
