package batchqueue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// A right that the user lacks is one error, before anything is started, and it names what
// is missing; later too, for whoever takes a right away.
func TestMissingRightsAreNamed(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client()
	user := func(rules ...any) *Queue {
		require.NoError(t, admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "app", "reset", "on", ">pw", "~slipstream:*", "&slipstream:*"}, rules...)...).Err())
		c := redis.NewClient(&redis.Options{Addr: s.Addr, Username: "app", Password: "pw", MaxRetries: -1})
		t.Cleanup(func() { _ = c.Close() })
		return newQueue(t, c)
	}
	check := func(q *Queue, want ...string) {
		t.Helper()
		_, err := q.Check(t.Context())
		require.ErrorIs(t, err, ErrServer)
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
	}
	_, err := user("+@all", "-@dangerous", "+info").Check(t.Context())
	require.NoError(t, err)
	q := user("+@all", "-xadd", "-xgroup|create", "-publish")
	check(q, "may not use PUBLISH, XADD, XGROUP CREATE", "+publish +xadd +xgroup|create")
	check(user("+@all", "-ping"), "'ping'")
	check(user("+@all", "-info"), "'info'")
	check(user("+@all", "-eval", "-evalsha"), "'evalsha'")
	check(user("+@all", "resetkeys", "~other:*"), "keys and channels slipstream:*", "permissions to access")
	check(user("+@all", "resetchannels"), "may not use PUBLISH, SUBSCRIBE on keys")
	q = user("+@all")
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "app", "resetpass", ">new").Err())
	check(q, "user and password", "WRONGPASS")

	q = user("+@all", "-xreadgroup")
	out, err := q.Enqueue(t.Context(), "pool", &Wave{Run: run, Tasks: []Task{task(1)}})
	require.NoError(t, err)
	require.NoError(t, out.Answers[0].Err)
	_, err = q.claim(t.Context(), "pool", 0, claimRequest{executor: "e", types: []string{"A"}, count: 1, bytes: 1, lease: time.Minute, outboxLimit: 9})
	require.ErrorIs(t, err, ErrDenied)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "Check names it")
	check(q, "may not use XREADGROUP on keys", "+xreadgroup")
	q = user("+@all", "-evalsha")
	out, err = q.Enqueue(t.Context(), "pool", &Wave{Run: run, Tasks: []Task{task(1)}})
	require.NoError(t, err)
	require.ErrorIs(t, out.Answers[0].Err, ErrDenied)
	require.ErrorContains(t, out.Answers[0].Err, "'evalsha'")
}

// The password changes while executors run. Connections that are open stay, new ones use
// the new password, and once the old one is gone too everybody is still served.
func TestPasswordRotation(t *testing.T) {
	checkLeaks(t)
	r := newRigOn(t, redistest.Start(t), 2, shortLease)
	acl := func(rules ...any) {
		t.Helper()
		require.NoError(t, r.rdb.Do(t.Context(), append([]any{"ACL", "SETUSER", "app", "on", "~*", "&*", "+@all"}, rules...)...).Err())
	}
	acl(">old")
	var password atomic.Value
	password.Store("old")
	rdb := redis.NewClient(&redis.Options{Addr: r.server.Addr, MaxRetries: 1, ClientName: "queue", CredentialsProviderContext: func(context.Context) (string, string, error) {
		return "app", password.Load().(string), nil
	}})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	q := r.queue(rdb, 2)
	g := newGate()
	e := r.start(q, ExecutorOptions{Handler: g.handle})
	r.ready(e)
	r.enqueue("run", tasks(10)...)
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 10 })

	acl(">new", "<old") // the secret store is slower than that
	g.done(1)
	r.awaitOutcome("run", 1) // open connections are not asked again
	require.NoError(t, r.rdb.ClientKillByFilter(t.Context(), "USER", "app").Err())
	g.done(2)
	r.eventually("new connections are refused", func() bool {
		_, err := q.Stats(t.Context(), r.pool)
		return errors.Is(err, ErrDenied) && strings.Contains(err.Error(), "WRONGPASS")
	})
	password.Store("new")
	for n := range uint64(8) {
		g.done(n + 3)
	}
	took := r.eventually("all is delivered", func() bool { return len(r.delivered("run")) == 10 })
	require.Less(t, took, 10*time.Second)
	for n := range uint64(10) {
		require.Equal(t, 1, g.starts(n+1))
	}
	require.Empty(t, r.twice)
}
