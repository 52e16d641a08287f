package devstack

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// orphanEnv makes the test binary start a Redis, print its URL and wait to be killed.
const orphanEnv = "DEVSTACK_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) != "" {
		raiseOrphan()
	}
	os.Exit(m.Run())
}

func TestRedisServerDoesNotEvictAndKeepsNothing(t *testing.T) {
	needRedisServer(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p, err := startRedis(t.Context(), Options{})
	require.NoError(t, err)
	rdb := redisClient(t, p.address)
	config, err := rdb.ConfigGet(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Equal(t, "noeviction", config["maxmemory-policy"])
	require.Empty(t, config["save"])
	require.Equal(t, "no", config["appendonly"])
	require.Contains(t, p.describe, "redis-server")

	require.NoError(t, rdb.Close())
	require.NoError(t, p.stop())
	require.NoDirExists(t, config["dir"])
}

func TestRedisServerKeepsDataInTheFolderItWasGiven(t *testing.T) {
	needRedisServer(t)
	dir := t.TempDir()
	for round := range 2 {
		p, err := startRedis(t.Context(), Options{RedisDir: dir})
		require.NoError(t, err)
		rdb := redisClient(t, p.address)
		if round == 0 {
			require.NoError(t, rdb.Set(t.Context(), "kept", "yes", 0).Err())
		} else {
			require.Equal(t, "yes", rdb.Get(t.Context(), "kept").Val())
		}
		require.NoError(t, p.stop())
	}
}

func TestRedisServerOnAPortThatIsTaken(t *testing.T) {
	needRedisServer(t)
	first, err := startRedisOf(t, Options{})
	require.NoError(t, err)
	options, err := parseRedisURL(first.RedisURL())
	require.NoError(t, err)
	_, port, _ := strings.Cut(options.Addr, ":")

	_, err = startRedis(t.Context(), Options{RedisPort: atoi(t, port)})
	require.ErrorContains(t, err, "redis-server on port "+port+" did not start")
	require.NoError(t, pingRedis(t.Context(), first.RedisURL()))
}

func TestMiniredisWhereNoneIsInstalled(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Setenv("PATH", t.TempDir())
	p, err := startRedis(t.Context(), Options{})
	require.NoError(t, err)
	require.Contains(t, p.describe, "miniredis")
	require.NoError(t, pingRedis(t.Context(), p.address))
	require.NoError(t, p.stop())

	_, err = startRedis(t.Context(), Options{RedisDir: t.TempDir()})
	require.ErrorContains(t, err, "needs a real redis-server")
}

func TestRedisServerDiesWithItsParent(t *testing.T) {
	needRedisServer(t)
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent died")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanEnv+"=1", "TMPDIR="+t.TempDir()) // what it cannot remove any more, the test does
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	url, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url = strings.TrimSpace(url)
	require.NoError(t, pingRedis(t.Context(), url))

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()
	require.Eventually(t, func() bool { return pingRedis(t.Context(), url) != nil }, 10*time.Second, 20*time.Millisecond)
}

func raiseOrphan() {
	p, err := startRedis(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.address)
	select {} // until the test kills this process
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}
