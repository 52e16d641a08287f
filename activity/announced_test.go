package activity

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdkactivity "go.temporal.io/sdk/activity"
)

// Announcements go with Redis' data. Without them all calls are plain, so a worker sees to it
// that they are there.
func TestWorkersAnnounceAgainWhatRedisHasLost(t *testing.T) {
	ctx := context.Background()
	d := newDesk(t, RuntimeOptions{Marks: map[string]string{"A": "", "B": "p"}})
	for _, name := range []string{"A", "B"} {
		d.w.registry.add(noContext, sdkactivity.RegisterOptions{Name: name})
	}
	d.w.need = needMarked
	require.True(t, d.w.unannounced(ctx))
	require.NoError(t, d.w.announce(ctx))
	require.False(t, d.w.unannounced(ctx))

	require.True(t, d.redis.Del("slipstream:{namespace/"+strings.ReplaceAll(PoolName(testQueue, "p", ""), "/", "%2f")+"}:announced"))
	require.True(t, d.w.unannounced(ctx), "one of two pools")
	d.redis.FlushAll()
	require.True(t, d.w.unannounced(ctx))
	require.NoError(t, d.w.announce(ctx))
	require.False(t, d.w.unannounced(ctx))

	d.redis.Close()
	require.False(t, d.w.unannounced(ctx), "nobody knows")
}
