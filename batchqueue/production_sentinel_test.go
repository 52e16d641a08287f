package batchqueue

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/internal/redisurl"
)

// pair is a master with a replica under three Sentinels.
type pair struct {
	*rig
	master, replica *redistest.Server
	failover        redis.UniversalClient
}

func newPair(t *testing.T) *pair {
	t.Helper()
	checkLeaks(t)
	master := redistest.Start(t, redistest.Fast...)
	p := &pair{rig: newRigWith(t, shortLease), master: master, replica: redistest.Replica(t, master)}
	sentinels := redistest.Sentinels(t, 3, master, 1, 3*time.Second) // a slow machine is no dead master
	url := "redis://" + sentinels[0].Addr + "?master_name=" + redistest.MasterName
	for _, s := range sentinels[1:] {
		url += "&addr=" + s.Addr
	}
	var err error
	p.failover, err = redisurl.Open(url, redisurl.Options{MaxRetries: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.failover.Close()) })
	p.rdb = master.Client()
	return p
}

// deafen stops the replica from learning anything more: what follows is still on its way
// when the master dies.
func (p *pair) deafen() {
	p.Helper()
	require.NoError(p, p.replica.Signal(syscall.SIGSTOP))
	// More than the kernel's buffers hold; the rest is in the master's memory.
	require.NoError(p, p.rdb.Set(p.Context(), "ballast", strings.Repeat("x", 32<<20), 0).Err())
}

// promote kills the master and waits until the replica is one.
func (p *pair) promote() {
	p.Helper()
	p.master.Kill()
	require.NoError(p, p.replica.Signal(syscall.SIGCONT))
	c := p.replica.Client()
	p.eventually("the replica is the master", func() bool {
		return strings.Contains(c.Info(context.Background(), "replication").Val(), "role:master")
	})
}

// A failover loses tasks that Redis had acknowledged, and the claims of others. Executors
// find out, what the run asks for again is added again, and everything ends once.
func TestFailoverThatLosesWrites(t *testing.T) {
	p := newPair(t)
	p.q = p.queue(p.failover, 2)
	report, err := p.q.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, VerdictGood, verdictOf(report, "role"))
	g := newGate()
	e := p.start(p.q, ExecutorOptions{Handler: g.handle})
	p.ready(e)
	p.enqueue("run", tasks(3)...)
	p.eventually("all run", func() bool { now, _ := g.runs(); return now == 3 })
	// Both are on the replica.
	require.Equal(t, int64(1), p.rdb.Wait(t.Context(), 1, 5*time.Second).Val())

	p.deafen()
	lost := tasks(6)[3:]
	p.enqueue("run", lost...) // acknowledged, and never replicated
	p.eventually("they run", func() bool { now, _ := g.runs(); return now == 6 })
	g.done(1) // an outcome that may be lost too
	p.eventually("it is settled", func() bool { return e.Stats().Settled == 1 })
	p.promote()

	p.eventually("the executor lost what was lost, and nothing else", func() bool { return g.cause(4) != nil && g.cause(5) != nil && g.cause(6) != nil })
	require.ErrorIs(t, g.cause(4), ErrLeaseLost)
	slot := p.slotOf("run")
	ids := []Identity{{3, 103}, {4, 104}}
	reply, err := p.q.Ask(t.Context(), p.pool, slot, AskRequest{Run: "run", Open: ids})
	require.NoError(t, err)
	require.Equal(t, []AnswerState{AnswerQueued, AnswerNotHere}, states(reply.Answers))
	p.enqueue("run", lost...)
	p.eventually("they run again", func() bool { return g.starts(4) == 2 && g.starts(5) == 2 && g.starts(6) == 2 })
	// The outcome of the first was recorded and then forgotten: it is claimed still, by an
	// executor that knows nothing of it, and so it runs again.
	p.eventually("the first runs again", func() bool { return g.starts(1) == 2 })
	g.done(1, 2, 3, 4, 5, 6)
	p.awaitCount("run", 6)
	for n := range uint64(6) {
		require.Equal(t, KindCompleted, p.delivered("run")[n+1].Kind)
	}
	require.Equal(t, 1, g.starts(2))
	require.Equal(t, 1, g.starts(3))
}

// With Options.Replicas nothing counts that the replica does not have: a failover to it
// loses nothing that anybody relied on.
func TestFailoverWithReplicasLosesNothing(t *testing.T) {
	p := newPair(t)
	p.q = p.queueWith(p.failover, Options{Slots: 2, Replicas: 1})
	report, err := p.q.Check(t.Context())
	require.NoError(t, err)
	require.Equal(t, VerdictGood, verdictOf(report, "replicas"))
	g := newGate()
	e := p.start(p.q, ExecutorOptions{Handler: g.handle})
	p.ready(e)
	p.eventually("the replica has them within a second", func() bool {
		out, err := p.q.Enqueue(t.Context(), p.pool, &Wave{Run: "run", ID: 1, Slot: -1, Tasks: tasks(3)})
		require.NoError(t, err)
		return !slices.ContainsFunc(out.Answers, func(a Answer) bool { return a.Err != nil })
	})
	p.eventually("all run", func() bool { now, _ := g.runs(); return now == 3 })

	p.deafen()
	out, err := p.q.Enqueue(t.Context(), p.pool, &Wave{Run: "run", ID: 4, Slot: -1, Tasks: tasks(4)[3:]})
	require.NoError(t, err)
	require.Equal(t, AnswerUnsure, out.Answers[0].State)
	require.ErrorIs(t, out.Answers[0].Err, ErrNotDurable)
	require.ErrorIs(t, out.Answers[0].Err, ErrUnavailable)
	require.ErrorContains(t, out.Answers[0].Err, "on 0 of 1 replicas")
	again, err := p.q.Enqueue(t.Context(), p.pool, &Wave{Run: "run", ID: 4, Slot: -1, Tasks: tasks(4)[3:]})
	require.NoError(t, err)
	require.ErrorIs(t, again.Answers[0].Err, ErrNotDurable, "it changes nothing, and is not believed either")
	before := e.Stats().Errors
	g.done(1)
	p.eventually("its settlement waits for the replica", func() bool { return e.Stats().Errors > before })
	require.Zero(t, e.Stats().Settled)
	require.Zero(t, g.starts(4), "what is not safely claimed does not start")
	p.promote()

	p.enqueueOnMasterOnly() // without a replica the new master is alone
	g.done(2, 3)
	p.eventually("they wait for a replica", func() bool { return e.Stats().Held == 3 })
	require.NoError(t, p.replica.Client().ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
	redistest.Replica(t, p.replica)
	p.awaitCount("run", 3)
	for n := range uint64(3) {
		require.Equal(t, 1, g.starts(n+1))
	}
	require.Zero(t, e.Stats().Lost)
}

// enqueueOnMasterOnly waits until the client talks to the new master, and finds that it has
// no replica.
func (p *pair) enqueueOnMasterOnly() {
	p.Helper()
	p.eventually("the client found the new master", func() bool {
		out, err := p.q.Enqueue(p.Context(), p.pool, &Wave{Run: "probe", ID: 1, Slot: 0, Tasks: []Task{{Number: 1, Type: "nobody's"}}})
		return err == nil && strings.Contains(out.Answers[0].Err.Error(), "on 0 of 1 replicas")
	})
}

func verdictOf(r Report, setting string) Verdict {
	for _, f := range r.Findings {
		if f.Setting == setting {
			return f.Verdict
		}
	}
	return ""
}
