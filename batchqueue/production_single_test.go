package batchqueue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// A server is killed and comes back, with its data or without: scripts, groups, leases and
// subscriptions are there again without anybody's doing.
func TestKilledServerComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		kept bool
	}{
		"with an append-only file": {[]string{"--appendonly", "yes", "--appendfsync", "no"}, true},
		"without its data":         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			r := newRigOn(t, redistest.Start(t, c.args...), 2, shortLease)
			g := newGate()
			a := r.start(r.q, ExecutorOptions{ID: "a", Handler: g.handle})
			b := r.start(r.q, ExecutorOptions{ID: "b", Handler: g.handle})
			r.ready(a, b)
			r.enqueue("before", tasks(20)...)
			r.eventually("all run", func() bool { now, _ := g.runs(); return now == 20 })
			r.server.Kill()
			for n := range uint64(10) {
				g.done(n + 1) // settlements that nobody takes yet
			}
			r.server.Restart()
			for n := range uint64(10) {
				g.done(n + 11)
			}
			if c.kept {
				r.awaitCount("before", 20)
				for n := range uint64(20) {
					require.Equal(t, 1, g.starts(n+1))
					require.Equal(t, 1, r.delivered("before")[n+1].Attempt)
				}
			} else {
				r.eventually("all that was lost is let go of", func() bool { return a.Stats().Held+b.Stats().Held == 0 })
				require.Empty(t, r.delivered("before"))
			}
			// A bell, not a sweep after ten seconds, brings what comes next, and the configuration
			// is watched.
			r.eventually("the executors listen again", func() bool {
				channel := r.q.keys.configBell(r.pool)
				return r.rdb.PubSubNumSub(t.Context(), channel).Val()[channel] == 2
			})
			r.ready(a, b)
			for n := range uint64(5) {
				g.done(n + 101)
			}
			next := tasks(5)
			for i := range next {
				next[i].Number += 100
			}
			r.enqueue("after", next...)
			took := r.eventually("the next ones are done", func() bool { return len(r.delivered("after")) == 5 })
			require.Less(t, took, 8*time.Second)
			_, err := r.q.SetConfig(t.Context(), r.pool, PoolConfig{Slots: 2, Paused: true})
			require.NoError(t, err)
			took = r.eventually("both have paused", func() bool { return a.Stats().Permits+b.Stats().Permits == 0 })
			require.Less(t, took, 8*time.Second)
			require.Empty(t, r.twice)
		})
	}
}

// Redis fills up for real. It refuses what is new and says so; what makes room goes on, by
// executors that came when it was full already, until there is room again.
func TestFullRedisIsDrained(t *testing.T) {
	checkLeaks(t)
	r := newRigOn(t, redistest.Start(t, "--maxmemory", "24mb"), 2, shortLease)
	payload := []byte(strings.Repeat("x", 20<<10))
	var runs []string
	var full error
	for i := 0; full == nil; i++ {
		require.Less(t, i, 1000, "it never fills")
		wave := &Wave{Run: fmt.Sprintf("run-%d", i), ID: 1, Slot: -1, Common: []byte("common")}
		for n := range uint64(50) {
			wave.Tasks = append(wave.Tasks, Task{Number: n + 1, Fingerprint: n, Type: "A", Payload: payload})
		}
		out, err := r.q.Enqueue(t.Context(), r.pool, wave)
		require.NoError(t, err)
		if full = out.Answers[0].Err; full == nil {
			runs = append(runs, wave.Run)
		}
	}
	require.ErrorIs(t, full, ErrFull)
	require.ErrorContains(t, full, "maxmemory")
	require.NoError(t, r.rdb.ConfigSet(t.Context(), "maxmemory", "20mb").Err()) // it was nearly full: not by the bytes of a refused call
	require.ErrorIs(t, r.q.Announce(t.Context(), r.pool, []string{"A"}), ErrFull, "what grows is refused everywhere")
	report, err := r.q.Check(t.Context())
	require.NoError(t, err, "whoever starts now is needed")
	require.Contains(t, strings.Join(report.Warnings, "\n"), "is full")

	first := runs[0]
	require.NoError(t, r.q.Cancel(t.Context(), r.pool, r.slotOf(first), first, []Identity{{1, 0}, {2, 1}}))
	var failed atomic.Int64
	release := make(chan struct{})
	e := r.start(r.q, ExecutorOptions{ID: "late", Concurrency: 40, Handler: func(_ context.Context, d *Delivery) Result {
		<-release
		if d.Number == 3 && d.Attempt == 1 {
			failed.Add(1)
			return Result{Kind: KindFailed} // a retry is kept as well
		}
		return Result{Kind: KindCompleted, Payload: d.Payload[:len(d.Payload)/20]}
	}})
	r.eventually("as many run as may", func() bool { return e.Stats().Running == 40 })
	time.Sleep(3 * shortLease) //nolint:forbidigo // an executor that cannot say that it lives would count as dead
	r.eventually("it is present", func() bool {
		executors, err := r.q.Executors(t.Context(), r.pool)
		require.NoError(t, err)
		return executors[0].Present
	})
	close(release)
	for _, run := range runs {
		r.awaitCount(run, 50)
	}
	r.eventually("all is settled and acknowledged", func() bool {
		s, err := r.q.Stats(t.Context(), r.pool)
		return err == nil && e.Stats().Held == 0 && s.Depth()+s.InFlight()+s.Delayed+s.Outbox == 0
	})
	require.Equal(t, KindCanceled, r.delivered(first)[1].Kind)
	require.EqualValues(t, len(runs), failed.Load())
	require.Equal(t, 2, r.delivered(first)[3].Attempt)
	require.Zero(t, e.Stats().Lost)
	require.Empty(t, r.twice)
	require.NoError(t, r.q.Forget(t.Context(), r.pool, r.slotOf(first), first), "a run that has ended is forgotten")
	r.enqueue("after", task(1))
	r.awaitOutcome("after", 1)
}

// slotOf asks until Redis answers: after a failover the pool may still have connections to
// the former master.
func (r *rig) slotOf(run string) (slot int) {
	r.Helper()
	r.eventually("Redis answers", func() (ok bool) {
		found, err := r.q.slotOf(r.Context(), r.pool, run)
		slot = found
		return err == nil
	})
	return slot
}

// A script of somebody else's does not end: Redis answers BUSY to everybody until it is
// killed. Nothing is lost by that, nothing runs twice, and nobody asks hot.
func TestBusyServer(t *testing.T) {
	checkLeaks(t)
	r := newRigOn(t, redistest.Start(t, "--busy-reply-threshold", "50"), 2, shortLease)
	g := newGate()
	var errs atomic.Int64
	e := r.start(r.q, ExecutorOptions{Handler: g.handle, Observer: Observer{Error: func(error) { errs.Add(1) }}})
	r.ready(e)
	r.enqueue("run", tasks(10)...)
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 10 })

	stuck := redis.NewClient(&redis.Options{Addr: r.server.Addr, ReadTimeout: time.Minute, MaxRetries: -1})
	defer stuck.Close()
	ended := make(chan error, 1)
	go func() { ended <- stuck.Eval(context.Background(), "while true do end", nil).Err() }()
	r.eventually("the server is busy", func() bool { return redis.HasErrorPrefix(r.rdb.Ping(t.Context()).Err(), "BUSY") })
	out, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: "other", Slot: 0, Tasks: tasks(1)})
	require.NoError(t, err)
	require.Equal(t, AnswerUnsure, out.Answers[0].State)
	require.ErrorIs(t, out.Answers[0].Err, ErrUnavailable)
	require.ErrorContains(t, out.Answers[0].Err, "BUSY")
	for n := range uint64(10) {
		g.done(n + 1)
	}
	began := errs.Load()
	time.Sleep(3 * shortLease) //nolint:forbidigo // the leases have to end
	require.Less(t, errs.Load()-began, int64(200), "tries are spaced")

	require.NoError(t, r.rdb.ScriptKill(t.Context()).Err())
	require.ErrorContains(t, <-ended, "killed")
	r.awaitCount("run", 10)
	for n := range uint64(10) {
		require.Equal(t, 1, g.starts(n+1))
		require.Equal(t, 1, r.delivered("run")[n+1].Attempt)
	}
	require.Zero(t, e.Stats().Lost)
	require.Empty(t, r.twice)
}

// The server takes no more connections, and those that there were are gone.
func TestTooManyConnections(t *testing.T) {
	checkLeaks(t)
	r := newRigOn(t, redistest.Start(t), 2, shortLease)
	rdb := redis.NewClient(&redis.Options{Addr: r.server.Addr, ClientName: "queue", MaxRetries: 1, DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	q := r.queue(rdb, 2)
	g := newGate()
	e := r.start(q, ExecutorOptions{Handler: g.handle})
	r.ready(e)
	r.enqueue("run", tasks(10)...)
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 10 })
	r.cutOff("queue")
	r.eventually("it is said why", func() bool { // if the server is fast enough to say it itself
		_, err := q.Check(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		return strings.Contains(err.Error(), "max number of clients reached")
	})
	for n := range uint64(10) {
		g.done(n + 1)
	}
	r.eventually("settlements have failed", func() bool { return e.Stats().Errors > 5 })
	require.NoError(t, r.rdb.ConfigSet(t.Context(), "maxclients", "1000").Err())
	took := r.eventually("all is delivered", func() bool { return len(r.delivered("run")) == 10 })
	require.Less(t, took, 10*time.Second)
	for n := range uint64(10) {
		require.Equal(t, 1, g.starts(n+1))
	}
	require.Empty(t, r.twice)
}

// cutOff lets the server accept no more connections and ends those of a client's name.
func (r *rig) cutOff(name string) {
	r.Helper()
	ctx := r.Context()
	conn := r.rdb.Conn() // must be open before
	defer conn.Close()
	require.NoError(r, conn.ConfigSet(ctx, "maxclients", "1").Err())
	list, err := conn.ClientList(ctx).Result()
	require.NoError(r, err)
	killed := 0
	for line := range strings.Lines(list) {
		var id string
		mine := false
		for field := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(field, "id="); ok {
				id = v
			}
			mine = mine || field == "name="+name
		}
		if mine {
			require.NoError(r, conn.ClientKillByFilter(ctx, "ID", id).Err())
			killed++
		}
	}
	require.NotZero(r, killed)
}
