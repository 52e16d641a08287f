package batchqueue

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// user is the one that docs/security.md describes, on a real server: it may do what the
// queue does, and nothing that it does not.
type user struct {
	server *redistest.Server
	grants []string // words of ACL SETUSER
	rdb    *redis.Client
	admin  *redis.Client
}

func documentedUser(t *testing.T) *user {
	t.Helper()
	server := redistest.Start(t)
	u := &user{server: server, admin: server.Client(), grants: documentedGrants(t)[0]}
	setUser(t, u.admin, u.grants)
	u.rdb = redis.NewClient(&redis.Options{Addr: server.Addr, Username: userName, Password: userPassword, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = u.rdb.Close() })
	require.NoError(t, u.admin.ConfigResetStat(t.Context()).Err())
	return u
}

func (u *user) live(t *testing.T) {
	t.Helper()
	t.Run("executors", func(t *testing.T) { liveOnce(t, u.server, u.admin, u.rdb) })
}

// requireNoRefusal looks whether the server refused anything.
func (u *user) requireNoRefusal(t *testing.T) {
	t.Helper()
	require.Empty(t, refusals(t, u.admin))
}

// requireUse looks whether all that is granted was used.
func (u *user) requireUse(t *testing.T) {
	t.Helper()
	used := usedCommands(t, u.admin)
	for _, word := range u.grants {
		if command, ok := strings.CutPrefix(word, "+"); ok {
			require.True(t, used[command], "docs/security.md grants %q, and nothing uses it", command)
		}
	}
}

// A cluster's client asks for more than a single server's.
func TestTheDocumentedUserSufficesInACluster(t *testing.T) {
	grants := documentedGrants(t)
	server := redistest.StartCluster(t, 1).Nodes[0]
	admin := server.Client()
	setUser(t, admin, grants[0])
	setUser(t, admin, grants[1])
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{server.Addr}, Username: userName, Password: userPassword, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	liveOnce(t, server, admin, rdb)
	require.Empty(t, refusals(t, admin))
}

// liveOnce has the queue do what conformance does not: executors, bells, configuration
// under way, an executor that dies.
func liveOnce(t *testing.T, server *redistest.Server, admin *redis.Client, rdb redis.UniversalClient) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	r := &rig{T: t, server: server, rdb: admin, pool: "pool", lease: shortLease, mail: make(map[string]map[uint64]Outcome)}
	r.q = r.queue(rdb, 2)
	ctx := t.Context()

	report, err := r.q.Check(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, report.Version)
	require.NoError(t, r.q.Announce(ctx, r.pool, []string{"A"}))
	require.NoError(t, r.q.Enlist(ctx, r.pool, "worker", time.Minute))
	require.NoError(t, r.q.Inherit(ctx, r.pool, "build", r.pool))

	// An executor that took a task and is gone.
	r.enqueue("lost", with(1, TaskOptions{Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond}}))
	for slot := range 2 {
		_, err := r.q.claim(ctx, r.pool, slot, claimRequest{executor: "gone", types: []string{"A"}, count: 1, bytes: 1 << 20,
			lease: 50 * time.Millisecond, outboxLimit: 1 << 20})
		require.NoError(t, err)
	}
	g := newGate()
	a := r.start(r.q, ExecutorOptions{ID: "a", Handler: g.handle, Concurrency: 10, PoolRatePerSecond: 1000})
	b := r.start(r.q, ExecutorOptions{ID: "b", Handler: g.handle, Concurrency: 10, PoolRatePerSecond: 1000})
	r.ready(a, b)
	r.eventually("the lost task runs again", func() bool { return g.starts(1) == 1 })
	g.delivery(1).RecordHeartbeat([]byte("half way"))
	r.eventually("details are in redis", func() bool {
		return r.rdb.HLen(ctx, r.q.keys.slot(r.pool, g.delivery(1).slot)+suffixHeartbeats).Val() == 1
	})
	g.done(1)
	require.Equal(t, 2, r.awaitOutcome("lost", 1).Attempt)

	// A window, and the inbox that hears of its outcome.
	inbox := r.q.NewInbox()
	require.NoError(t, inbox.Start(ctx))
	defer func() { require.NoError(t, inbox.Stop()) }()
	bell := r.q.keys.inbox(inbox.ID())
	r.eventually("the inbox listens", func() bool { return r.rdb.PubSubNumSub(ctx, bell).Val()[bell] == 1 })
	heard := inbox.Expect("waits", []uint64{2})
	defer heard.Cancel()
	out, err := r.q.Enqueue(ctx, r.pool, &Wave{Run: "waits", ID: 1, Tasks: []Task{task(2)}, Window: time.Minute, Inbox: inbox.ID(), Slot: -1})
	require.NoError(t, err)
	r.eventually("the task runs", func() bool { return g.starts(2) == 1 })
	g.done(2)
	select {
	case <-heard.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the inbox heard nothing")
	}
	taken, err := r.q.CloseWindow(ctx, r.pool, out.Slot, "waits", 1, Room{1 << 19, true})
	require.NoError(t, err)
	require.Len(t, taken, 1)

	// A change of the configuration reaches the executors; a cancel reaches a handler.
	_, err = r.q.ChangeConfig(ctx, r.pool, func(c *PoolConfig) error { c.Concurrency, c.RatePerSecond = 7, 500; return nil })
	require.NoError(t, err)
	r.eventually("executors follow", func() bool { return a.Stats().Permits == 7 && b.Stats().Permits == 7 })
	r.enqueue("canceled", task(3))
	r.eventually("the task runs", func() bool { return g.starts(3) == 1 })
	require.NoError(t, r.q.CancelTask(ctx, r.pool, "canceled", 3))
	r.eventually("the handler hears of it", func() bool { return g.cause(3) != nil })
	g.done(3)
	r.awaitOutcome("canceled", 3)
	r.eventually("it is acknowledged", func() bool { // a leader that hands over might send it twice
		s, err := r.q.Stats(ctx, r.pool)
		return err == nil && s.Outbox == 0
	})

	// Others come, and some of the first are no longer at home where they listened.
	r.start(r.q, ExecutorOptions{ID: "c", Handler: g.handle})
	r.start(r.q, ExecutorOptions{ID: "d", Handler: g.handle})
	r.eventually("homes are left", func() bool { return len(a.Stats().Homes)+len(b.Stats().Homes) < 4 })

	// What operators look at.
	for what, look := range map[string]func() error{
		"stats":     func() error { _, err := r.q.Stats(ctx, r.pool); return err },
		"pools":     func() error { _, err := r.q.Pools(ctx); return err },
		"executors": func() error { _, err := r.q.Executors(ctx, r.pool); return err },
		"runs":      func() error { _, err := r.q.Runs(ctx, r.pool); return err },
		"details":   func() error { _, err := r.q.Details(ctx, r.pool, "canceled"); return err },
		"letters":   func() error { _, err := r.q.DeadLetterCount(ctx, r.pool); return err },
		"enlisted":  func() error { _, err := r.q.Enlisted(ctx, r.pool); return err },
		"heirs":     func() error { _, err := r.q.Inheritance(ctx, r.pool); return err },
		"attended":  func() error { _, err := r.q.Attended(ctx, r.pool); return err },
	} {
		require.NoError(t, look(), what)
	}
	require.Empty(t, r.twice)
}

const (
	securityPage = "../docs/security.md"
	userName     = "slipstream"
	userPassword = "PASSWORD"
)

var aclCommand = regexp.MustCompile(`(?m)^redis-cli (ACL SETUSER ` + userName + ` (?:.*\\\n)*.*)$`)

// documentedGrants reads the ACL SETUSER commands of the page, in order: first the one that
// makes the user, then what a cluster needs beside that.
func documentedGrants(t *testing.T) [][]string {
	t.Helper()
	page, err := os.ReadFile(securityPage)
	require.NoError(t, err)
	var grants [][]string
	for _, found := range aclCommand.FindAllStringSubmatch(string(page), -1) {
		line := strings.NewReplacer("\\\n", " ", "'", "").Replace(found[1])
		grants = append(grants, strings.Fields(line)[3:])
	}
	require.GreaterOrEqual(t, len(grants), 2, "%s has no commands of the form: redis-cli ACL SETUSER %s ...", securityPage, userName)
	require.Contains(t, grants[0], ">"+userPassword)
	return grants
}

func setUser(t *testing.T, admin *redis.Client, words []string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", userName}
	for _, w := range words {
		args = append(args, w)
	}
	require.NoError(t, admin.Do(t.Context(), args...).Err())
	require.NoError(t, admin.Do(t.Context(), "ACL", "LOG", "RESET").Err())
}

// refusals are what Redis has refused, by reason and object. That servers from 7.2 on refuse
// go-redis's introduction is in docs/security.md, and loses nothing.
func refusals(t *testing.T, admin *redis.Client) (out []string) {
	t.Helper()
	entries, err := admin.ACLLog(context.WithoutCancel(t.Context()), 100).Result()
	require.NoError(t, err)
	for _, e := range entries {
		if e.Object == "client|setinfo" {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s %s (%s)", e.Username, e.Reason, e.Object, e.Context))
	}
	return out
}

var commandStat = regexp.MustCompile(`(?m)^cmdstat_([^:]+):calls=[1-9]`)

// usedCommands are those that the server has run since its counters were reset, scripts'
// among them.
func usedCommands(t *testing.T, admin *redis.Client) map[string]bool {
	t.Helper()
	info, err := admin.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	used := make(map[string]bool)
	for _, found := range commandStat.FindAllStringSubmatch(info, -1) {
		used[found[1]] = true
	}
	return used
}
