package workflow

import (
	"errors"
	"maps"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
)

// encode returns the arguments as ctx's data converter encodes them under the workflow's
// serialization context, and the header with what interceptors and propagators put on
// the call. It panics when the arguments cannot be encoded, as the SDK does.
//
// No public function hands out a workflow context's converter or its propagators, and
// both may differ from the client's (workflow.WithDataConverter, a replayer's options).
// But building a continue-as-new error, which is not returned to anybody here, runs
// exactly them over exactly these values and does nothing else.
func (r *router) encode(ctx sdkworkflow.Context, args []any) (*commonpb.Payloads, *commonpb.Header, error) {
	return encodedBy(r.Next.NewContinueAsNewError(ctx, "slipstream", args...))
}

// encodedBy takes from a continue-as-new error what encode returns.
func encodedBy(built error) (*commonpb.Payloads, *commonpb.Header, error) {
	var encoded *sdkworkflow.ContinueAsNewError
	if !errors.As(built, &encoded) {
		return nil, nil, built
	}
	if len(encoded.Header.GetFields()) == 0 {
		return encoded.Input, nil, nil
	}
	// The fields are the map on ctx. Dispatch reads them on another goroutine, so the
	// wave needs its own.
	return encoded.Input, &commonpb.Header{Fields: maps.Clone(encoded.Header.GetFields())}, nil
}

// decode is encode's counterpart for one payload.
func decode(ctx sdkworkflow.Context, p *commonpb.Payload, value any) error {
	future, settable := sdkworkflow.NewFuture(ctx)
	settable.SetValue(&commonpb.Payloads{Payloads: []*commonpb.Payload{p}})
	return future.Get(ctx, value)
}

// bare returns the payloads as values that encode to the same content again. Payloads
// that a codec wrapped are unwrapped on the way.
func bare(ctx sdkworkflow.Context, input *commonpb.Payloads) ([]any, error) {
	values := make([]any, len(input.GetPayloads()))
	for i, p := range input.GetPayloads() {
		var raw converter.RawValue
		if err := decode(ctx, p, &raw); err != nil {
			return nil, err
		}
		values[i] = raw
	}
	return values, nil
}

// canonical returns an encoding of the arguments that does not depend on a codec, for
// the fingerprint: encryption gives other bytes each time. Nil means that input itself
// will do, because no codec has wrapped it or because there is nothing better.
func canonical(args []any, input *commonpb.Payloads) []byte {
	if !wrapped(input) {
		return nil
	}
	plain, err := converter.GetDefaultDataConverter().ToPayloads(args...)
	if err != nil {
		return nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(plain)
	if err != nil {
		return nil
	}
	return b
}

func wrapped(input *commonpb.Payloads) bool {
	for _, p := range input.GetPayloads() {
		switch string(p.GetMetadata()[converter.MetadataEncoding]) {
		case converter.MetadataEncodingNil, converter.MetadataEncodingBinary,
			converter.MetadataEncodingJSON, converter.MetadataEncodingProtoJSON, converter.MetadataEncodingProto:
		default:
			return true
		}
	}
	return false
}
