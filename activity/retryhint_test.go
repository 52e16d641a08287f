package activity

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// retryInfo is an error with a google.rpc.RetryInfo, as the SDK's client returns it.
func retryInfo(t *testing.T, info []byte) error {
	t.Helper()
	p := status.New(codes.ResourceExhausted, "slow down").Proto()
	p.Details = append(p.Details, &anypb.Any{TypeUrl: "type.googleapis.com/google.rpc.RetryInfo", Value: info})
	return serviceerror.FromStatus(status.FromProto(p))
}

func TestRetryHints(t *testing.T) {
	delay, err := proto.Marshal(durationpb.New(1500 * time.Millisecond))
	require.NoError(t, err)
	info := append([]byte{1<<3 | 2, byte(len(delay))}, delay...)
	limited := retryInfo(t, info)
	var hint interface{ RetryAfter() time.Duration }
	require.ErrorAs(t, fmt.Errorf("signal: %w", deliveryError(limited)), &hint)
	require.Equal(t, 1500*time.Millisecond, hint.RetryAfter())
	var exhausted *serviceerror.ResourceExhausted
	require.ErrorAs(t, deliveryError(limited), &exhausted, "it is still what it was")

	for name, err := range map[string]error{
		"none":        serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "too many"),
		"no status":   errors.New("broken"),
		"empty":       retryInfo(t, nil),
		"damaged":     retryInfo(t, []byte{1<<3 | 2, 200}),
		"other field": retryInfo(t, []byte{2<<3 | 2, 0}),
		"negative":    retryInfo(t, []byte{1<<3 | 2, 2, 1 << 3, 0}),
	} {
		require.NotErrorAs(t, deliveryError(err), &hint, name)
	}
}
