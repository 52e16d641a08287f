package devstack

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/freeport"
)

func TestStartBringsUpBothAndStopTakesThemDown(t *testing.T) {
	ctx := t.Context()
	s, err := Start(ctx, Options{})
	require.NoError(t, err)
	require.NoError(t, checkTemporal(ctx, s.Temporal(), s.Namespace()))
	require.NoError(t, pingRedis(ctx, s.RedisURL()))
	require.Contains(t, s.Describe(), s.Temporal())
	require.Contains(t, s.Describe(), "Redis: ")

	// A second stack on the first one's servers.
	external, err := Start(ctx, Options{Temporal: s.Temporal(), Namespace: s.Namespace(), Redis: s.RedisURL()})
	require.NoError(t, err)
	require.Equal(t, s.Temporal(), external.Temporal())
	require.NoError(t, external.Stop())
	require.NoError(t, pingRedis(ctx, s.RedisURL()), "stopping it must leave them running")

	// One on a namespace that is missing.
	_, err = Start(ctx, Options{Temporal: s.Temporal(), Namespace: "nowhere", NoRedis: true})
	require.ErrorContains(t, err, `has no namespace "nowhere"`)

	require.NoError(t, s.Stop())
	require.Error(t, pingRedis(ctx, s.RedisURL()))
	require.NoError(t, s.Stop(), "a second Stop does nothing")
}

// StartProcess is a program that starts one stack; the end-to-end tests run on it.
func TestProgramStartsOneStackAfterTheOther(t *testing.T) {
	p, err := Build(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Remove()) })
	for range 2 {
		s, err := p.Start(t.Context(), Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Stop() })
		require.NoError(t, checkTemporal(t.Context(), s.Temporal(), s.Namespace()))
		require.NoError(t, pingRedis(t.Context(), s.RedisURL()))
		require.NotZero(t, s.TemporalPID())
		require.NoError(t, s.Stop())
		require.Error(t, pingRedis(t.Context(), s.RedisURL()))
	}
}

// A server that was killed leaves what it had acknowledged to the next one on its file and port.
func TestTemporalServerGoesOnWhereAKilledOneEnded(t *testing.T) {
	p, err := Build(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Remove()) })
	port, err := freeport.Find(t.Context())
	require.NoError(t, err)
	o := Options{NoRedis: true, TemporalFile: filepath.Join(t.TempDir(), "temporal.sqlite"), TemporalPort: port}
	var pid int
	for round := range 2 {
		s, err := p.Start(t.Context(), o)
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Stop() })
		require.NotEqual(t, pid, s.TemporalPID())
		pid = s.TemporalPID()
		c, err := client.DialContext(t.Context(), client.Options{HostPort: s.Temporal(), Namespace: s.Namespace(), Logger: silent{}})
		require.NoError(t, err)
		if round == 0 {
			_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "kept", TaskQueue: "nobody"}, "Workflow")
			require.NoError(t, err)
		} else {
			_, err = c.DescribeWorkflowExecution(t.Context(), "kept", "")
			require.NoError(t, err)
		}
		c.Close()
		require.NoError(t, s.KillTemporal())
		require.Error(t, checkTemporal(t.Context(), s.Temporal(), s.Namespace()))
		require.Error(t, s.KillTemporal(), "it is gone")
		require.NoError(t, s.Stop())
	}
}

func TestNoRedis(t *testing.T) {
	p, err := startRedisOf(t, Options{NoRedis: true})
	require.NoError(t, err)
	require.Empty(t, p.RedisURL())
}

func TestStartFailsClearlyWhereNothingAnswers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const nowhere = "127.0.0.1:1"
	_, err := Start(t.Context(), Options{Temporal: nowhere, NoRedis: true})
	require.ErrorContains(t, err, "no Temporal server answers at 127.0.0.1:1")
	_, err = Start(t.Context(), Options{Temporal: nowhere, Redis: "redis://" + nowhere})
	require.ErrorContains(t, err, "no Redis answers at 127.0.0.1:1")
}

func TestStartHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	_, err := Start(ctx, Options{NoRedis: true, Temporal: "127.0.0.1:1"})
	require.Error(t, err)
	require.Less(t, time.Since(begin), externalTimeout)
}

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		options Options
		want    string // in the error; empty: no error
	}{
		"zero":                  {Options{}, ""},
		"external":              {Options{Temporal: "localhost:7233", Namespace: "n", Redis: "rediss://:pw@h:6379/1"}, ""},
		"namespace alone":       {Options{Namespace: "n"}, "needs a server"},
		"no port":               {Options{Temporal: "localhost"}, "is not HOST:PORT"},
		"redis scheme":          {Options{Redis: "http://localhost"}, "Redis URL is not valid"},
		"redis port":            {Options{RedisPort: 70000}, "is not a port"},
		"temporal port":         {Options{TemporalFile: "f", TemporalPort: 70000}, "is not a port"},
		"temporal port alone":   {Options{TemporalPort: 7233}, "needs a file"},
		"external and file":     {Options{Temporal: "localhost:7233", TemporalFile: "f"}, "drop them"},
		"external and port":     {Options{Redis: "redis://localhost", RedisPort: 1}, "drop them"},
		"password stays hidden": {Options{Redis: "redis://:secret@localhost:6379/x"}, "write it like"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.options.Validate()
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestBindFlags(t *testing.T) {
	var o Options
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	o.BindFlags(flags)
	require.NoError(t, flags.Parse([]string{"-temporal", "h:1", "-namespace", "n", "-redis", "redis://r:2"}))
	require.Equal(t, Options{Temporal: "h:1", Namespace: "n", Redis: "redis://r:2"}, o)
}

// startRedisOf runs the Redis half of a stack, which is quick.
func startRedisOf(t *testing.T, o Options) (*Stack, error) {
	t.Helper()
	var s Stack
	var err error
	if !o.NoRedis {
		s.redis, err = startRedis(t.Context(), o)
	}
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return &s, err
}

func pingRedis(ctx context.Context, url string) error {
	options, err := parseRedisURL(url)
	if err != nil {
		return err
	}
	rdb, err := dialRedis(ctx, options)
	if err != nil {
		return err
	}
	defer rdb.Close()
	return rdb.Ping(ctx).Err()
}

func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := parseRedisURL(url)
	require.NoError(t, err)
	rdb := redis.NewClient(options)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func needRedisServer(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed: run make setup")
		}
		t.Skip("redis-server is not installed")
	}
}
