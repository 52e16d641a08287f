package redisurl_test

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/internal/redisurl"
)

func open(t *testing.T, raw string, o redisurl.Options) redis.UniversalClient {
	t.Helper()
	c, err := redisurl.Open(raw, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestForms(t *testing.T) {
	o := redisurl.Options{MaxRetries: 1, DialTimeout: 7 * time.Second}
	one := open(t, "redis://user:pw@host:1234/5?read_timeout=4s", o).(*redis.Client).Options()
	require.Equal(t, []any{"host:1234", 5, "user", "pw", 1, 4 * time.Second, 7 * time.Second, true},
		[]any{one.Addr, one.DB, one.Username, one.Password, one.MaxRetries, one.ReadTimeout, one.DialTimeout, one.ContextTimeoutEnabled})
	many := open(t, "rediss://user:pw@a:1?addr=b:2&addr=c:3", o).(*redis.ClusterClient).Options()
	require.Equal(t, []string{"a:1", "b:2", "c:3"}, many.Addrs)
	require.Equal(t, []any{"user", "pw", "a"}, []any{many.Username, many.Password, many.TLSConfig.ServerName})
	unix := open(t, "unix:///run/redis.sock", o).(*redis.Client).Options()
	require.Equal(t, "/run/redis.sock", unix.Addr)
	sentinel := open(t, "redis://watch:man@a:26379/2?master_name=m&addr=b:26379&username=user&password=pw", o).(*redis.Client).Options()
	require.Equal(t, []any{"FailoverClient", 2, "user", "pw"}, []any{sentinel.Addr, sentinel.DB, sentinel.Username, sentinel.Password})
}

func TestWhatCannotBeIsNamed(t *testing.T) {
	credentials := func(context.Context) (string, string, error) { return "", "", nil }
	for name, c := range map[string]struct {
		url  string
		o    redisurl.Options
		want string
	}{
		"scheme":             {"http://:secret@a", redisurl.Options{}, "scheme"},
		"port":               {"redis://:secret@a:b:c", redisurl.Options{}, "port"},
		"TLS without":        {"redis://:secret@a", redisurl.Options{TLS: &tls.Config{}}, "rediss://"},
		"two passwords":      {"redis://:secret@a", redisurl.Options{Credentials: credentials}, "keep one"},
		"two more":           {"redis://a?master_name=m&password=secret", redisurl.Options{Credentials: credentials}, "keep one"},
		"no master":          {"redis://:secret@a?master_name=", redisurl.Options{}, "master_name is empty"},
		"reads from copies":  {"redis://:secret@a?master_name=m&route_by_latency=true", redisurl.Options{}, "leave them out"},
		"unknown option":     {"redis://:secret@a?addr=b:1&what=1", redisurl.Options{}, "what"},
		"a node without one": {"redis://:secret@a?addr=b", redisurl.Options{}, "addr"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := redisurl.Open(c.url, c.o)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	open(t, "redis://watch:man@a?master_name=m", redisurl.Options{Credentials: credentials}) // the password is the Sentinels'
}

// A server that wants certificates takes who has one, and says to others that it is missing.
func TestClientCertificates(t *testing.T) {
	_, server := redistest.StartTLS(t)
	require.NoError(t, open(t, server.URL(), redisurl.Options{TLS: server.Client}).Ping(t.Context()).Err())
	// Who writes after the server has closed hears only of that.
	stranger := open(t, server.URL(), redisurl.Options{TLS: server.Stranger})
	redistest.Eventually(t, 30*time.Second, "a stranger is told what it lacks", func() bool {
		err := stranger.Ping(t.Context()).Err()
		require.Error(t, err)
		return strings.Contains(err.Error(), "certificate required")
	})
	require.ErrorContains(t, open(t, server.URL(), redisurl.Options{}).Ping(t.Context()).Err(), "authority")
}

func TestCredentialsOfEachConnection(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "one")
	password := "one"
	c := open(t, s.URL(), redisurl.Options{Credentials: func(context.Context) (string, string, error) { return "default", password, nil }})
	require.NoError(t, c.Ping(t.Context()).Err())
	password = "two"
	require.NoError(t, c.ConfigSet(t.Context(), "requirepass", "two").Err(), "the open connection stays")
	require.NoError(t, c.(*redis.Client).Conn().Ping(t.Context()).Err())
}
