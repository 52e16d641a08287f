package activity

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadOwner(t *testing.T) {
	for want, a := range map[Owner]*address{
		{WorkflowID: "w", WorkflowType: "W", RunID: "r"}:                 {Namespace: "ns", WorkflowID: "w", WorkflowType: "W", RunID: "r"},
		{WorkflowID: "w", WorkflowType: "W", RunID: "r", Diverted: true}: {WorkflowID: "w", WorkflowType: "W", RunID: "r", TaskToken: []byte("t")},
		{Batch: "b", Receiver: "w"}:                                      {RunID: "random", Batch: "b", Receiver: "w", Signal: []byte("s")},
	} {
		common, err := encodeAddress(a)
		require.NoError(t, err)
		got, err := ReadOwner(common)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ReadOwner([]byte("junk"))
	require.Error(t, err)
}
