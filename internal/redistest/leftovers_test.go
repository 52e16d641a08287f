package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestLeftovers(t *testing.T) {
	rdb, ctx := Mini(t), t.Context()
	look := func() []string {
		t.Helper()
		left, err := leftovers(ctx, rdb, "slipstream:*")
		require.NoError(t, err)
		return left
	}
	slot := "slipstream:{ns/pool/0}:"
	require.NoError(t, rdb.Set(ctx, slot+"deliverer", "e", 1e9).Err())
	require.NoError(t, rdb.Set(ctx, "slipstream:{ns/pool}:config", "{}", 0).Err())
	require.NoError(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: slot + "ready:A", ID: "1-1", Values: []string{"k", "v"}}).Err())
	require.Equal(t, []string{slot + "ready:A: 1 tasks"}, look())
	require.NoError(t, rdb.XDel(ctx, slot+"ready:A", "1-1").Err())
	require.Empty(t, look())

	require.NoError(t, rdb.HSet(ctx, slot+"run:x", "o", 1).Err())
	require.NoError(t, rdb.ZAdd(ctx, slot+"due", redis.Z{Member: "wx/0"}).Err())
	require.Equal(t, []string{slot + "due: of run x, which nobody will end", slot + "run:x: of run x, which nobody will end"}, look())
	require.NoError(t, rdb.ZAdd(ctx, slot+"deliverable", redis.Z{Member: "x"}).Err())
	require.Empty(t, look(), "its outcomes wait for the next Deliverer")
	require.NoError(t, rdb.Del(ctx, slot+"deliverable").Err())
	require.NoError(t, rdb.ZAdd(ctx, slot+"due", redis.Z{Member: "px"}).Err())
	require.Empty(t, look(), "it is parked")
	require.NoError(t, rdb.HSet(ctx, slot+"cancels", "c", "e").Err())
	require.Equal(t, []string{slot + "cancels: a hash for good"}, look())
}
