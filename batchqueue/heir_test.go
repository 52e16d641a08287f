package batchqueue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestWhoSpokeLastInherits(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *redis.Client{
		"redis":     func(t *testing.T) *redis.Client { return redistest.Start(t).Client() },
		"miniredis": func(t *testing.T) *redis.Client { return redistest.Mini(t) },
	} {
		t.Run(name, func(t *testing.T) {
			rdb := start(t)
			q := newQueue(t, rdb)
			inheritance := func() Inheritance {
				i, err := q.Inheritance(t.Context(), "family")
				require.NoError(t, err)
				return i
			}
			require.Empty(t, inheritance())
			require.NoError(t, q.Inherit(t.Context(), "family", "old", "p2"))
			require.NoError(t, q.Inherit(t.Context(), "family", "old", "p1"))
			require.NoError(t, q.Inherit(t.Context(), "another", "somebody", "p3"))
			require.Equal(t, Inheritance{Heir: "old", Pools: []string{"p1", "p2"}}, inheritance())
			require.NoError(t, q.Inherit(t.Context(), "family", "", "p1"))
			require.Equal(t, Inheritance{Pools: []string{"p1", "p2"}}, inheritance(), "a party may have no name")

			for _, key := range []string{q.keys.heir("family"), q.keys.inherited("family")} {
				ttl, err := rdb.PTTL(t.Context(), key).Result()
				require.NoError(t, err)
				require.Positive(t, ttl, key)
				require.LessOrEqual(t, ttl, inheritanceKept)
			}
			past := float64(time.Now().Add(-time.Second).UnixMilli())
			require.NoError(t, rdb.ZAdd(t.Context(), q.keys.inherited("family"), redis.Z{Score: past, Member: "p2"}).Err())
			require.Equal(t, []string{"p1"}, inheritance().Pools, "nobody spoke for p2 any more")
			require.NoError(t, q.Inherit(t.Context(), "family", "new", "p1"))
			require.EqualValues(t, 1, rdb.ZCard(t.Context(), q.keys.inherited("family")).Val(), "and it leaves nothing")
		})
	}
}

func TestInheritanceWithoutRedis(t *testing.T) {
	s := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second})
	t.Cleanup(func() { _ = c.Close() })
	q := newQueue(t, c)
	s.Kill()
	require.ErrorIs(t, q.Inherit(t.Context(), "family", "party", "pool"), ErrUnavailable)
	_, err := q.Inheritance(t.Context(), "family")
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = q.Attended(t.Context(), "pool")
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestAPoolIsAttendedByItsOwnExecutors(t *testing.T) {
	r := newRig(t, 1, longLease)
	attended := func() bool {
		yes, err := r.q.Attended(t.Context(), r.pool)
		require.NoError(t, err)
		return yes
	}
	require.False(t, attended())
	heir := r.start(r.q, ExecutorOptions{Heir: true})
	r.ready(heir)
	require.False(t, attended(), "an heir is not one of its own")
	release := make(chan struct{})
	own := r.start(r.q, ExecutorOptions{Types: []string{"B"}, Handler: func(context.Context, *Delivery) Result {
		<-release
		return Result{Kind: KindCompleted}
	}})
	r.eventually("attended", attended)
	task := task(1)
	task.Type = "B"
	_, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: run, Slot: 0, Tasks: []Task{task}})
	require.NoError(t, err)
	r.eventually("it runs", func() bool { return own.Stats().Running == 1 })
	own.Leave(t.Context())
	require.False(t, attended(), "who has left claims nothing more")
	close(release)
	r.awaitOutcome(run, 1)
}

// An executor that leaves claims nothing more, and finishes what it has, however long
// that takes.
func TestLeaveKeepsWhatRuns(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle})
		l.enqueue(0, "run", task(1))
		synctest.Wait()
		b := l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		l.pass(time.Second)
		a.Leave(context.Background())
		a.Leave(context.Background())
		synctest.Wait()
		require.Empty(t, a.Stats().Leads)
		require.Len(t, b.Stats().Leads, 4, "others take over at once")
		l.enqueue(0, "run", task(2))
		l.pass(time.Hour)
		require.NoError(t, g.cause(1))
		require.Equal(t, 1, l.claimsOf("a"), "its lease is kept")
		require.Equal(t, 1, l.claimsOf("b"))
		g.done(1, 2)
		l.await(2)
		require.Equal(t, 1, l.one("run", 1).Attempt)
		require.Zero(t, a.Stats().Held)
		began := time.Now()
		l.stop(a)
		require.Zero(t, time.Since(began))
		a.Leave(context.Background())
	})
}

func TestStopAfterLeaveReleasesWhatRuns(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle, DrainTimeout: time.Second})
		l.enqueue(0, "run", task(1))
		synctest.Wait()
		a.Leave(context.Background())
		l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		l.pass(time.Minute)
		began := time.Now()
		l.stop(a)
		require.InDelta(t, time.Second, time.Since(began), float64(10*time.Millisecond))
		synctest.Wait()
		require.ErrorIs(t, g.cause(1), ErrStopping)
		require.Equal(t, 2, g.starts(1))
		require.Equal(t, 1, g.delivery(1).Attempt, "no attempt is lost")
		g.done(1)
		l.await(1)
	})
}

func TestLeaveBeforeStart(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		e := l.executor(t, ExecutorOptions{Deliver: l.book.deliver})
		e.Leave(context.Background())
		require.NoError(t, e.Start(t.Context()))
		l.enqueue(0, "run", task(1))
		l.await(1)
		l.stop(e)
	})
}

func TestExecutorsSayWhetherTheyAreHeirs(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{ID: "heir", Heir: true})
		l.start(ExecutorOptions{ID: "own"})
		l.mu.Lock()
		defer l.mu.Unlock()
		require.True(t, l.present_["heir"].Heir)
		require.False(t, l.present_["own"].Heir)
	})
}
