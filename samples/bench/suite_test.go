package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnServersOfSomebodyElse(t *testing.T) {
	needRedisServer(t)
	stack, err := devstack.StartProcess(t.Context(), devstack.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	servers := []string{"-temporal", stack.Temporal(), "-namespace", stack.Namespace(), "-redis", stack.RedisURL()}

	// The seed suite measures nothing of value. It shows that every case works, and that what it did was right.
	t.Run("seed suite", func(t *testing.T) {
		r := runBench(t, t.Context(), exitOK, append(servers, "-suite", "seed", "-html", filepath.Join(t.TempDir(), "out.html"))...)
		require.Equal(t, caseNames(allCases()), r.Configuration.Cases)
		require.Len(t, r.Cases, len(allCases()))
		for i, c := range r.Cases {
			require.Empty(t, c.Problems, c.Name)
			for _, v := range allCases()[i].variants {
				require.Contains(t, c.variants(), v.name, c.Name)
			}
			for _, row := range c.Rows {
				require.Equal(t, notJudged, row.Verdict, "%s, %s", c.Name, row.title())
			}
		}
		require.NotEmpty(t, r.Versions["temporal server"])
		require.NotEmpty(t, r.Versions["redis server"])
	})

	t.Run("interrupted", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, interrupt) // the first case alone takes minutes
		r := runBench(t, ctx, exitInterrupted, append(servers, "-suite", "full", "-case", "idle,latency")...)
		require.LessOrEqual(t, len(r.Cases), 1, "nothing begins after an interrupt")
	})

	options, err := redis.ParseURL(stack.RedisURL())
	require.NoError(t, err)
	rdb := redis.NewClient(options)
	defer rdb.Close()
	keys, err := rdb.Keys(t.Context(), "*bench*").Result()
	require.NoError(t, err)
	require.Empty(t, keys, "somebody else's Redis is left as it was")
}

func TestServersOfItsOwnAreMeteredToo(t *testing.T) {
	needRedisServer(t)
	folder := t.TempDir()
	r := runBench(t, t.Context(), exitOK, "-suite", "seed", "-case", "echo-10k", "-reps", "2", "-cpuprofile", folder, "-memprofile", folder)
	require.Len(t, r.Cases, 1)
	require.Equal(t, []string{slipstream, plain, slipstream, plain}, taken(r.Cases[0]), "in turn")
	routed, plainly := r.Cases[0].Samples[0], r.Cases[0].Samples[1]
	require.Equal(t, 200, routed.Tasks)
	require.Zero(t, routed.History.ActivitiesScheduled)
	require.Positive(t, routed.Redis.Commands)
	require.Positive(t, routed.Redis.ByCommand["evalsha"].Calls)
	require.Positive(t, routed.CPU.Redis)
	require.Equal(t, 100, plainly.History.ActivitiesScheduled)
	require.Positive(t, plainly.CPU.Process)
	require.Positive(t, plainly.PeakMemory)
	require.NotNil(t, plainly.Latency)
	require.FileExists(t, filepath.Join(folder, "echo-10k.cpu.pprof"))
	require.FileExists(t, filepath.Join(folder, "echo-10k.mem.pprof"))
}

func TestStrictFailsWhereATargetIsMissed(t *testing.T) {
	r := &report{Cases: []*caseReport{example(full)}}
	require.Equal(t, exitOK, exitCode(config{}, r))
	require.Equal(t, exitMissed, exitCode(config{strict: true}, r))
	r.Cases[0].add(nil, os.ErrDeadlineExceeded)
	require.Equal(t, exitFailed, exitCode(config{strict: true}, r), "a wrong result is worse")
}

// runBench runs the command and returns what it wrote.
func runBench(t *testing.T, ctx context.Context, want int, args ...string) report { //nolint:revive // the test comes first
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.json")
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	defer out.Close()
	code := run(ctx, append([]string{"-json", path}, args...), out, out)
	output, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	t.Logf("%s", output)
	require.Equal(t, want, code)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(raw, &r))
	return r
}

// taken are the variants of a case's samples, in the order in which they were taken.
func taken(c *caseReport) []string {
	var variants []string
	for _, s := range c.Samples {
		variants = append(variants, s.Variant)
	}
	return variants
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
