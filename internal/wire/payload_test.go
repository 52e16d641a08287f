package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// anyPayloads are payloads of every kind, those included that only protobuf can read.
func anyPayloads() *rapid.Generator[*commonpb.Payloads] {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7)
	return rapid.Custom(func(t *rapid.T) *commonpb.Payloads {
		p := &commonpb.Payloads{}
		for range rapid.IntRange(0, 4).Draw(t, "payloads") {
			one := &commonpb.Payload{
				Metadata: rapid.MapOf(rapid.OneOf(rapid.Just("encoding"), rapid.Just("messageType"), rapid.String()), rapid.SliceOf(rapid.Byte())).Draw(t, "metadata"),
				Data:     rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			}
			if rapid.Bool().Draw(t, "stored elsewhere") {
				one.ExternalPayloads = []*commonpb.Payload_ExternalPayloadDetails{{SizeBytes: 5}}
			}
			if rapid.Bool().Draw(t, "newer payload") {
				one.ProtoReflect().SetUnknown(unknown)
			}
			p.Payloads = append(p.Payloads, one)
		}
		if rapid.Bool().Draw(t, "newer payloads") {
			p.ProtoReflect().SetUnknown(unknown)
		}
		return p
	})
}

func TestPayloadsHaveTheBytesOfProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := anyPayloads().Draw(t, "payloads")
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		require.NoError(t, err)
		got, err := wire.EncodePayloads(p)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
		require.Equal(t, len(want), wire.PayloadsSize(p))
		for _, one := range p.GetPayloads() {
			require.Equal(t, proto.Size(one), wire.PayloadSize(one))
		}
		decoded, err := wire.DecodePayloads(got)
		require.NoError(t, err)
		require.True(t, proto.Equal(p, decoded), "%v", decoded)
		for i := range got { // the copy is its own
			got[i] = 0xff
		}
		require.True(t, proto.Equal(p, decoded), "%v", decoded)
	})
}

// What a decoder may meet: protobuf reads it, or it does not, and so do we.
func FuzzPayloads(f *testing.F) {
	for _, p := range []*commonpb.Payloads{
		{}, {Payloads: []*commonpb.Payload{nil, {Data: []byte("x")}, {Metadata: map[string][]byte{"encoding": []byte("json/plain"), "a": nil}}}},
		{Payloads: []*commonpb.Payload{{ExternalPayloads: []*commonpb.Payload_ExternalPayloadDetails{{SizeBytes: 5}}}}},
	} {
		b, err := proto.Marshal(p)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte("\n\x06\n\x04\n\x02\xff\xff"))   // a key that is not UTF-8
	f.Add([]byte("\n\x06\n\x04\x12\x02ab"))       // no key
	f.Add([]byte("\n\x02\x10\x01"))               // data of another wire type
	f.Add([]byte("\n\x06\x12\x01a\x12\x01b"))     // data twice: the last counts
	f.Add([]byte("\n\x06\n\x04\x12\x00\x12\x00")) // a value twice
	f.Fuzz(func(t *testing.T, b []byte) {
		want := &commonpb.Payloads{}
		wantErr := proto.Unmarshal(b, want)
		got, err := wire.DecodePayloads(append([]byte{}, b...))
		require.Equal(t, wantErr == nil, err == nil, "protobuf: %v, here: %v", wantErr, err)
		if err == nil {
			require.True(t, proto.Equal(want, got), "protobuf: %v, here: %v", want, got)
		}
	})
}

func TestPayloadsThatAreNone(t *testing.T) {
	t.Parallel()
	b, err := wire.EncodePayloads(nil)
	require.NoError(t, err)
	require.Nil(t, b, "no payloads")
	b, err = wire.EncodePayloads(&commonpb.Payloads{})
	require.NoError(t, err)
	require.NotNil(t, b, "zero payloads")
	p, err := wire.DecodePayloads(nil)
	require.NoError(t, err)
	require.Nil(t, p)
	p, err = wire.DecodePayloads([]byte{})
	require.NoError(t, err)
	require.NotNil(t, p)
	require.Zero(t, wire.PayloadsSize(nil))
	_, err = wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{"\xff": nil}}}})
	require.ErrorContains(t, err, `metadata key "\xff" is not UTF-8`)
}
