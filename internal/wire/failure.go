package wire

import (
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// EncodeFailure writes a failure as one payload. Its bytes go through the user's data
// converter as a []byte: a failure's message and stack trace are as secret as a result,
// and only this way does a codec see them.
//
// dc is the converter under the workflow's serialization context, as on all Slipstream
// payloads.
func EncodeFailure(dc converter.DataConverter, f *failurepb.Failure) (*commonpb.Payload, error) {
	b, err := proto.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode failure: %w", err)
	}
	p, err := dc.ToPayload(b)
	if err != nil {
		return nil, fmt.Errorf("encode failure: data converter: %w", err)
	}
	return p, nil
}

// DecodeFailure reads what EncodeFailure wrote with an equal data converter.
func DecodeFailure(dc converter.DataConverter, p *commonpb.Payload) (*failurepb.Failure, error) {
	var b []byte
	if err := dc.FromPayload(p, &b); err != nil {
		return nil, fmt.Errorf("decode failure: data converter: %w", err)
	}
	f := &failurepb.Failure{}
	if err := proto.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("decode failure: %w", err)
	}
	return f, nil
}

// TimeoutFailure is the failure that the server makes of a time-out.
func TimeoutFailure(kind enumspb.TimeoutType) *failurepb.Failure {
	return &failurepb.Failure{
		Message:     fmt.Sprintf("activity %s timeout", kind),
		Source:      "Server",
		FailureInfo: &failurepb.Failure_TimeoutFailureInfo{TimeoutFailureInfo: &failurepb.TimeoutFailureInfo{TimeoutType: kind}},
	}
}
