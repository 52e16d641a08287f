package wire

import (
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
)

// SignalName is the signal that carries outcomes into a run. It stands in histories:
// it never changes.
const SignalName = "__slipstream_complete"

// SignalEncoding is the content encoding of the index, the signal's first payload.
const SignalEncoding = "binary/slipstream"

// metadataEncoding is the SDK's key for a payload's content encoding.
const metadataEncoding = "encoding"

var errNoVersion = errors.New("no version: not a Slipstream message")

// EncodeSignal writes outcomes as signal input. Payload 0 is the index, in the clear: it
// holds no user data. Payloads 1..n are the results, failures and details exactly as
// the handlers' data converter encoded them, so a codec server can show them.
//
// Equal outcomes give equal payloads, as a re-sent batch must (protocol S).
func EncodeSignal(outcomes []Outcome) *commonpb.Payloads {
	index, payloads := encodeBatch(outcomes)
	first := &commonpb.Payload{
		Metadata: map[string][]byte{metadataEncoding: []byte(SignalEncoding)},
		Data:     index,
	}
	return &commonpb.Payloads{Payloads: append([]*commonpb.Payload{first}, payloads...)}
}

// DecodeSignal reads what EncodeSignal wrote. Anything else is an error, never a panic:
// anybody may send a signal.
func DecodeSignal(input *commonpb.Payloads) ([]Outcome, error) {
	payloads := input.GetPayloads()
	if len(payloads) == 0 {
		return nil, errors.New("decode completion signal: no payload")
	}
	if encoding := string(payloads[0].GetMetadata()[metadataEncoding]); encoding != SignalEncoding {
		return nil, fmt.Errorf("decode completion signal: index has encoding %q, want %q", encoding, SignalEncoding)
	}
	outcomes, err := decodeBatch(payloads[0].GetData(), payloads[1:])
	if err != nil {
		return nil, fmt.Errorf("decode completion signal: %w", err)
	}
	return outcomes, nil
}
