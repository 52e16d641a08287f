package plugin

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func act(context.Context) error { return nil }

func TestOptionsHaveDefaults(t *testing.T) {
	s, err := Options{RedisURL: "redis://localhost:1", Marks: []Mark{{Activity: act, Pool: "p"}}}.settle()
	require.NoError(t, err)
	defer s.redis.Close()
	require.Equal(t, 250*time.Millisecond, s.Window)
	require.Equal(t, 10*time.Second, s.DrainTimeout)
	require.Equal(t, 2<<20, s.MaxPayloadBytes)
	require.Equal(t, map[string]string{"act": "p"}, s.marks)
	require.True(t, s.owned)
}

func TestOptionsKeepWhatIsSet(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{})
	defer rdb.Close()
	s, err := Options{Redis: rdb, Window: -1, DrainTimeout: time.Second, MaxPayloadBytes: 5, Concurrency: 3, Lease: time.Second, Slots: 9, KeyPrefix: "k", PauseAboveMemory: -1}.settle()
	require.NoError(t, err)
	require.Zero(t, s.Window, "negative means off")
	require.Equal(t, time.Second, s.DrainTimeout)
	require.Equal(t, 5, s.MaxPayloadBytes)
	require.False(t, s.owned)
	require.Equal(t, 9, s.queueOptions("n").Slots)
	require.Equal(t, "k", s.queueOptions("n").KeyPrefix)
	require.InDelta(t, -1, s.queueOptions("n").PauseAboveMemory, 0)
}

func TestWrongOptionsAreNamed(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{})
	defer rdb.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"no Redis":          {Options{}, []string{"Options.Redis and Options.RedisURL are both empty", "redis://localhost:6379"}},
		"both":              {Options{Redis: rdb, RedisURL: "redis://x"}, []string{"both set; keep one"}},
		"nil client":        {Options{Redis: (*redis.Client)(nil)}, []string{"Options.Redis is a nil pointer"}},
		"not a URL":         {Options{RedisURL: "localhost:6379"}, []string{"Options.RedisURL cannot be used", "redis://[user:password@]host:port"}},
		"wrong scheme":      {Options{RedisURL: "http://x"}, []string{"Options.RedisURL"}},
		"wrong database":    {Options{RedisURL: "redis://x/y"}, []string{"Options.RedisURL"}},
		"TLS without":       {Options{RedisURL: "redis://x", RedisTLS: &tls.Config{}}, []string{"Options.RedisURL", "rediss://"}},
		"TLS of a client":   {Options{Redis: rdb, RedisTLS: &tls.Config{}}, []string{"Options.RedisTLS", "Options.Redis is"}},
		"negative replicas": {Options{Redis: rdb, Replicas: -1}, []string{"Options.Replicas is -1"}},
		"a ring":            {Options{Redis: ring}, []string{"Ring", "Cluster or Sentinel"}},
		"prefix":            {Options{Redis: rdb, KeyPrefix: "a{b}"}, []string{"KeyPrefix"}},
		"negative permits":  {Options{Redis: rdb, Concurrency: -1}, []string{"Options.Concurrency is -1", "or 0 for"}},
		"too many permits":  {Options{Redis: rdb, Concurrency: 2_000_000}, []string{"Options.Concurrency is 2000000", "start more workers"}},
		"long window":       {Options{Redis: rdb, Window: time.Minute}, []string{"Options.Window is 1m0s", "2.5s"}},
		"long mark window":  {Options{Redis: rdb, Marks: []Mark{{Activity: act, Window: time.Minute}}}, []string{"mark 0: Window is 1m0s", "2.5s"}},
		"negative drain":    {Options{Redis: rdb, DrainTimeout: -1}, []string{"Options.DrainTimeout is -1ns"}},
		"short lease":       {Options{Redis: rdb, Lease: time.Millisecond}, []string{"Lease", "1s"}},
		"negative slots":    {Options{Redis: rdb, Slots: -1}, []string{"Slots"}},
		"too much memory":   {Options{Redis: rdb, PauseAboveMemory: 70}, []string{"PauseAboveMemory is 70", "up to 1"}},
		"too many slots":    {Options{Redis: rdb, Slots: 5000}, []string{"Slots"}},
		"negative payload":  {Options{Redis: rdb, MaxPayloadBytes: -1}, []string{"Options.MaxPayloadBytes is -1"}},
		"huge payload":      {Options{Redis: rdb, MaxPayloadBytes: 1 << 30}, []string{"Options.MaxPayloadBytes is 1073741824"}},
		"unknown mark":      {Options{Redis: rdb, Marks: []Mark{{Activity: 3}}}, []string{"Options.Marks: mark 0: int is no activity"}},
		"duplicate mark":    {Options{Redis: rdb, Marks: []Mark{{Activity: act}, {Activity: "act"}}}, []string{`mark 1: activity type "act" is marked twice`}},
		"several at a time": {Options{Window: time.Hour, Slots: -1}, []string{"Options.Window", "Slots", "Options.Redis"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(c.o)
			require.Nil(t, p)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.ErrorContains(t, err, "slipstream: ")
		})
	}
}

func TestRedisURLsOfSeveralServers(t *testing.T) {
	s, err := Options{RedisURL: "redis://a:1?addr=b:2", Replicas: 1, Fsync: true}.settle()
	require.NoError(t, err)
	defer s.redis.Close()
	require.IsType(t, &redis.ClusterClient{}, s.redis)
	require.Equal(t, 1, s.queueOptions("n").Replicas)
	require.True(t, s.queueOptions("n").Fsync)
	s, err = Options{RedisURL: "redis://a:1?master_name=m", RedisCredentials: func(context.Context) (string, string, error) { return "u", "p", nil }}.settle()
	require.NoError(t, err)
	defer s.redis.Close()
	require.NotNil(t, s.redis.(*redis.Client).Options().CredentialsProviderContext)
	_, err = New(Options{RedisURL: "redis://a:1?addr=b:2&read_only=true"})
	require.ErrorContains(t, err, "reads from replicas")
}

func TestErrorsDoNotQuoteThePassword(t *testing.T) {
	for _, url := range []string{"redis://user:secret@host/notanumber", "http://user:secret@host", "redis://user:secret@host:port:port", "://user:secret@", "redis://a?master_name=m&password=secret&x=1"} {
		_, err := New(Options{RedisURL: url})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "secret", url)
	}
}
