package activity

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func TestCallRoundTrip(t *testing.T) {
	for _, c := range []*call{
		{},
		{Input: []byte{}},
		{ActivityID: "id", Input: []byte("input"), NonRetryable: []string{"A", "B"}},
		{Input: []byte("input"), Header: []byte("h"), Gather: true, Earlier: []byte("results")},
	} {
		got, err := decodeCall(encodeCall(c))
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
}

func TestAddressRoundTrip(t *testing.T) {
	a := &address{
		Namespace: "ns", WorkflowID: "wf", RunID: "run", WorkflowType: "W", TaskQueue: "q",
		Header: &commonpb.Header{Fields: map[string]*commonpb.Payload{"k": {Data: []byte("v")}, "a": {}}},
	}
	b, err := encodeAddress(a)
	require.NoError(t, err)
	got, err := decodeAddress(b)
	require.NoError(t, err)
	require.True(t, proto.Equal(a.Header, got.Header))
	got.Header = a.Header
	require.Equal(t, a, got)

	again, err := encodeAddress(a)
	require.NoError(t, err)
	require.Equal(t, b, again, "equal addresses have equal bytes")
}

func TestAddressesOfBatchesRoundTrip(t *testing.T) {
	for _, a := range []*address{
		{Namespace: "ns", RunID: "run", TaskQueue: "q", Batch: "b"},
		{Namespace: "ns", RunID: "run", TaskQueue: "q", Batch: "b", Receiver: "w", Signal: []byte("s"), Types: []byte("t")},
		{Namespace: "ns", RunID: "run", TaskQueue: "q", Batch: "b", Receiver: "w", Start: []byte("s"), Types: []byte("t")},
	} {
		b, err := encodeAddress(a)
		require.NoError(t, err)
		got, err := decodeAddress(b)
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
}

// Tasks outlive releases: these bytes may stand in a Redis.
func TestEnvelopesKeepTheirForm(t *testing.T) {
	require.Equal(t, "0801120269641a02696e220145",
		hex.EncodeToString(encodeCall(&call{ActivityID: "id", Input: []byte("in"), NonRetryable: []string{"E"}})))
	b, err := encodeAddress(&address{Namespace: "n", WorkflowID: "w", RunID: "r", WorkflowType: "t", TaskQueue: "q"})
	require.NoError(t, err)
	require.Equal(t, "080112016e1a01772201722a0174320171", hex.EncodeToString(b))
	b, err = encodeAddress(&address{Namespace: "n", RunID: "r", TaskQueue: "q", Batch: "b", Receiver: "w", Signal: []byte("s"), Types: encodeTypes([]string{"A", "A", "B"})})
	require.NoError(t, err)
	require.Equal(t, "080112016e1a002201722a003201714201624a0177520173620e08011201411201421a0400020101", hex.EncodeToString(b))
}

func TestEnvelopeVersions(t *testing.T) {
	newer := appendVarint(nil, fieldVersion, envelopeVersion+1)
	_, err := decodeCall(newer)
	require.ErrorIs(t, err, errNewerEnvelope)
	_, err = decodeAddress(newer)
	require.ErrorIs(t, err, errNewerEnvelope)

	extended := appendVarint(appendBytes(encodeCall(&call{ActivityID: "id"}), 99, []byte("later")), 98, 7)
	got, err := decodeCall(extended)
	require.NoError(t, err)
	require.Equal(t, "id", got.ActivityID)

	_, err = decodeCall(nil)
	require.ErrorContains(t, err, "no version")
}

func TestPayloadsKeepNilApart(t *testing.T) {
	b, err := wire.EncodePayloads(nil)
	require.NoError(t, err)
	require.Nil(t, b)
	b, err = wire.EncodePayloads(&commonpb.Payloads{})
	require.NoError(t, err)
	require.NotNil(t, b)
	p, err := wire.DecodePayloads(b)
	require.NoError(t, err)
	require.NotNil(t, p)
}

func FuzzDecodeEnvelopes(f *testing.F) {
	f.Add(encodeCall(&call{ActivityID: "id", Input: []byte("in"), NonRetryable: []string{"E"}}))
	address, err := encodeAddress(&address{Namespace: "n", Header: &commonpb.Header{Fields: map[string]*commonpb.Payload{"k": {}}}})
	require.NoError(f, err)
	f.Add(address)
	f.Add(protowire.AppendTag(nil, 2, protowire.BytesType))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeCall(b); err == nil {
			again, err := decodeCall(encodeCall(c))
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
		if a, err := decodeAddress(b); err == nil {
			_, err := encodeAddress(a)
			require.NoError(t, err)
		}
	})
}
