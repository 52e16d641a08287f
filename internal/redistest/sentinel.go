package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Replica starts a server that copies the master, and waits until it has.
func Replica(t testing.TB, master *Server, args ...string) *Server {
	t.Helper()
	s := Start(t, append([]string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", master.port), "--repl-diskless-load", "swapdb"}, args...)...)
	c := s.Client()
	Eventually(t, 20*time.Second, "the replica follows its master", func() bool {
		return strings.Contains(c.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	return s
}

// Fast makes a master begin the first copy for a replica at once, instead of waiting five
// seconds for others to join.
var Fast = []string{"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"}

// MasterName is the name under which Sentinels know their master.
const MasterName = "slipstream"

// Sentinels starts as many Sentinels that watch the master, and waits until they know each
// other and its replicas. They take it for dead after downAfter without an answer.
func Sentinels(t testing.TB, n int, master *Server, replicas int, downAfter time.Duration) []*Server {
	t.Helper()
	out := make([]*Server, n)
	for i := range out {
		dir, port := t.TempDir(), freePort(t)
		file := filepath.Join(dir, "sentinel.conf")
		config := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d %d\nsentinel down-after-milliseconds %s %d\nsentinel failover-timeout %s 1500\n",
			port, dir, MasterName, master.port, n/2+1, MasterName, downAfter.Milliseconds(), MasterName)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatalf("write the configuration of a Sentinel: %v", err)
		}
		out[i] = start(t, port, []string{file, "--sentinel"})
	}
	for _, s := range out {
		c := redis.NewSentinelClient(&redis.Options{Addr: s.Addr})
		Eventually(t, 20*time.Second, "a Sentinel knows the others and the replicas", func() bool {
			m := c.Master(t.Context(), MasterName).Val()
			return m["num-other-sentinels"] == fmt.Sprint(n-1) && m["num-slaves"] == fmt.Sprint(replicas)
		})
		_ = c.Close()
	}
	return out
}
