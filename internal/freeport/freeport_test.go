package freeport

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPortThatIsFoundCanBeListenedTo(t *testing.T) {
	port, err := Find(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, port, first)
	require.LessOrEqual(t, port, last)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestASearchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Find(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
