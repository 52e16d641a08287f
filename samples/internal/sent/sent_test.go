package sent

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestCountsWhatIsSentAndNotWhatScriptsDo(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	server := redistest.Start(t)
	require.NoError(t, server.Client().ConfigSet(t.Context(), "requirepass", "secret").Err())
	// Nothing is sent twice, however slowly Redis answers.
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "secret", MaxRetries: -1, ReadTimeout: time.Minute})
	defer func() { _ = rdb.Close() }()
	c, err := Start(t.Context(), rdb)
	require.NoError(t, err)
	require.NoError(t, rdb.Set(t.Context(), "a \"b] c", "x\ny", 0).Err())
	script := `redis.call('SET', KEYS[1], 'y') return redis.call('GET', KEYS[1])`
	require.NoError(t, rdb.Eval(t.Context(), script, []string{"b"}).Err())
	_, err = rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Get(t.Context(), "b")
		p.Get(t.Context(), "b")
		return nil
	})
	require.NoError(t, err)
	counts, err := c.Stop(t.Context())
	require.NoError(t, err)
	delete(counts, "hello") // of a connection more, if one was opened
	delete(counts, "client")
	require.Equal(t, Counts{"set": 1, "eval": 1, "get": 2}, counts)
	require.Equal(t, 4, counts.Total())
}

func TestSaysWhyItCannotCount(t *testing.T) {
	server := redistest.Start(t)
	require.NoError(t, server.Client().ConfigSet(t.Context(), "requirepass", "secret").Err())
	wrong := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "wrong", MaxRetries: -1})
	defer func() { _ = wrong.Close() }()
	_, err := Start(t.Context(), wrong)
	require.ErrorContains(t, err, "WRONGPASS")

	right := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "secret", MaxRetries: -1})
	defer func() { _ = right.Close() }()
	c, err := Start(t.Context(), right)
	require.NoError(t, err)
	server.Kill()
	_, err = c.Stop(t.Context())
	require.Error(t, err)
	_, err = Start(t.Context(), right)
	require.ErrorContains(t, err, server.Addr)
}
