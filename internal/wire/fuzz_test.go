package wire_test

import (
	"encoding/json"
	"testing"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func seeds() [][]byte {
	o := wire.Outcome{Identity: wire.Identity{RunID: "r", Number: 1, Fingerprint: 2}, Kind: wire.KindFailed, Worker: "w", Payloads: []*commonpb.Payload{{Data: []byte("x")}}}
	m := &wire.Marker{
		RunID: "r", First: 1, Addresses: []wire.Address{{Pool: "p"}}, Taken: []wire.Outcome{o},
		Answers: []wire.Answer{{Number: 1, Type: "A", State: wire.StateDone, Outcome: &o}, {Number: 2, Type: "B", Fingerprint: 4}},
	}
	return [][]byte{
		wire.EncodeOutcome(&o), wire.EncodeMarker(m),
		wire.EncodeAskReply(&wire.AskReply{RunID: "r", Found: m.Answers[1:], Taken: m.Taken, Addresses: m.Addresses}),
		wire.EncodeSignal(m.Taken).GetPayloads()[0].GetData(),
		wire.EncodeRoute(&wire.Route{Pools: map[string]string{"A": "p"}}),
		[]byte(goldenCompletion),
	}
}

// No input makes a decoder panic, and what it accepts it can write and read again.
func FuzzDecoders(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := wire.DecodeOutcome(b); err == nil {
			if _, err := wire.DecodeOutcome(wire.EncodeOutcome(o)); err != nil {
				t.Fatalf("outcome: %v", err)
			}
		}
		var c wire.Completion
		if err := json.Unmarshal(b, &c); err == nil {
			again, err := json.Marshal(c)
			if err == nil {
				err = json.Unmarshal(again, &c)
			}
			if err != nil {
				t.Fatalf("completion: %v", err)
			}
		}
		if m, err := wire.DecodeMarker(b); err == nil {
			if _, err := wire.DecodeMarker(wire.EncodeMarker(m)); err != nil {
				t.Fatalf("marker: %v", err)
			}
		}
		if r, err := wire.DecodeAskReply(b); err == nil {
			if _, err := wire.DecodeAskReply(wire.EncodeAskReply(r)); err != nil {
				t.Fatalf("ask reply: %v", err)
			}
		}
		if r, err := wire.DecodeRoute(b); err == nil {
			if _, err := wire.DecodeRoute(wire.EncodeRoute(r)); err != nil {
				t.Fatalf("route: %v", err)
			}
		}
	})
}

// A signal's index may lie about how many payloads there are.
func FuzzDecodeSignal(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed, uint8(1))
	}
	f.Fuzz(func(t *testing.T, index []byte, n uint8) {
		input := &commonpb.Payloads{Payloads: []*commonpb.Payload{{
			Metadata: map[string][]byte{"encoding": []byte(wire.SignalEncoding)}, Data: index,
		}}}
		for range n {
			input.Payloads = append(input.Payloads, &commonpb.Payload{})
		}
		outcomes, err := wire.DecodeSignal(input)
		if err != nil {
			return
		}
		if _, err := wire.DecodeSignal(wire.EncodeSignal(outcomes)); err != nil {
			t.Fatal(err)
		}
	})
}
