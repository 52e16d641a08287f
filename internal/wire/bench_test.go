package wire_test

import (
	"fmt"
	"testing"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// The benchmarks are of a wave, or a signal, of so many.
const benchWidth = 1000

func benchOutcomes() []wire.Outcome {
	out := make([]wire.Outcome, benchWidth)
	for i := range out {
		out[i] = wire.Outcome{
			Identity: wire.Identity{RunID: "0190c2a4-5b1e-7c3a-9f00-0123456789ab", Number: uint64(i + 1), Fingerprint: uint64(i)},
			Kind:     wire.KindCompleted, Attempt: 1,
			Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: fmt.Appendf(nil, `"result %d"`, i)}},
		}
	}
	return out
}

func perCall(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchWidth, "ns/call")
}

func BenchmarkSignal(b *testing.B) {
	outcomes := benchOutcomes()
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.EncodeSignal(outcomes)
		}
		perCall(b)
	})
	b.Run("decode", func(b *testing.B) {
		input := wire.EncodeSignal(outcomes)
		b.ReportAllocs()
		for b.Loop() {
			if got, err := wire.DecodeSignal(input); err != nil || len(got) != benchWidth {
				b.Fatal(len(got), err)
			}
		}
		perCall(b)
	})
}

func BenchmarkMarker(b *testing.B) {
	queued := &wire.Marker{RunID: "0190c2a4-5b1e-7c3a-9f00-0123456789ab", First: 1, Addresses: []wire.Address{{Pool: "translate", Slot: 2}}}
	done := &wire.Marker{RunID: queued.RunID, First: 1, Addresses: queued.Addresses}
	for i, o := range benchOutcomes() {
		queued.Answers = append(queued.Answers, wire.Answer{Number: o.Number, Type: "Translate", State: wire.StateQueued, Fingerprint: uint64(i) * 0x9e3779b97f4a7c15})
		done.Answers = append(done.Answers, wire.Answer{Number: o.Number, Type: "Translate", State: wire.StateDone, Outcome: &o})
	}
	for name, m := range map[string]*wire.Marker{"queued": queued, "done": done} {
		b.Run("encode/"+name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = len(wire.EncodeMarker(m))
			}
			perCall(b)
			b.ReportMetric(float64(size)/benchWidth, "B/call")
		})
		b.Run("decode/"+name, func(b *testing.B) {
			raw := wire.EncodeMarker(m)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.DecodeMarker(raw); err != nil {
					b.Fatal(err)
				}
			}
			perCall(b)
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	c := call()
	b.ReportAllocs()
	for b.Loop() {
		wire.Fingerprint("0190c2a4-5b1e-7c3a-9f00-0123456789ab", c)
	}
}
