package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEverySlotHasOneLeaderAndTwoHomes(t *testing.T) {
	inLab(t, 16, func(t *testing.T, l *lab) {
		var es []*Executor
		for i := range 5 {
			es = append(es, l.start(ExecutorOptions{ID: fmt.Sprint("e", i)}))
		}
		l.pass(fakeLease)
		homes, leads := make(map[int]int), make(map[int]int)
		for _, e := range es {
			s := e.Stats()
			for _, slot := range s.Homes {
				homes[slot]++
			}
			for _, slot := range s.Leads {
				leads[slot]++
				require.Contains(t, s.Homes, slot)
			}
			require.Less(t, len(s.Leads), 10, "no one leads them all: who came first hands over")
		}
		for slot := range 16 {
			require.Equal(t, 2, homes[slot])
			require.Equal(t, 1, leads[slot])
		}
	})
}

// A round over very many slots must be over before the lease is, however far Redis is.
func TestManySlotsFarAway(t *testing.T) {
	inLab(t, 400, func(t *testing.T, l *lab) {
		l.rtt = 30 * time.Millisecond
		e := l.start(ExecutorOptions{})
		l.pass(2 * fakeLease)
		require.Len(t, e.Stats().Leads, 400)
		before := l.count("resign")
		l.pass(time.Minute)
		require.Len(t, e.Stats().Leads, 400)
		require.Equal(t, before, l.count("resign"))
		l.enqueue(399, "run", task(1))
		require.Less(t, l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 }), time.Second)
	})
}

// Both are at home everywhere. Who came first does not keep all the work of leading.
func TestLateComerGetsItsShareOfLeads(t *testing.T) {
	inLab(t, 16, func(t *testing.T, l *lab) {
		l.rtt = time.Millisecond
		a := l.start(ExecutorOptions{ID: "a"})
		l.pass(time.Second)
		require.Len(t, a.Stats().Leads, 16)
		b := l.start(ExecutorOptions{ID: "b"})
		l.pass(100 * time.Millisecond) // it says that it is there
		require.Greater(t, len(b.Stats().Leads), 3)
		require.Equal(t, 16, len(a.Stats().Leads)+len(b.Stats().Leads))
	})
}

// While an executor drains, nobody counts on it: every slot has two homes without it.
func TestDrainingExecutorIsNobodysHome(t *testing.T) {
	inLab(t, 16, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle})
		l.enqueue(0, "run", task(1))
		synctest.Wait()
		b, c := l.start(ExecutorOptions{ID: "b"}), l.start(ExecutorOptions{ID: "c"})
		l.pass(fakeLease)
		require.Less(t, len(b.Stats().Homes)+len(c.Stats().Homes), 32)
		done := make(chan error)
		go func() { done <- a.Stop(context.Background()) }()
		l.pass(fakeLease)
		require.Equal(t, 32, len(b.Stats().Homes)+len(c.Stats().Homes))
		require.Equal(t, 1, a.Stats().Running)
		g.done(1)
		require.NoError(t, <-done)
		l.await(1)
	})
}

func TestLeadIsHandedOverAtOnceByAStop(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle, Deliver: func(ctx context.Context, b *Batch) error {
			if b.Run == "hangs" {
				<-ctx.Done()
				return ctx.Err()
			}
			return l.book.deliver(ctx, b)
		}})
		b := l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		l.pass(fakeLease)
		leads := a.Stats().Leads
		require.NotEmpty(t, leads)
		l.enqueue(leads[0], "run", task(1))
		l.enqueue(leads[0], "hangs", task(2))
		g.done(2)
		synctest.Wait()
		done := make(chan error)
		go func() { done <- a.Stop(context.Background()) }()
		l.pass(10 * time.Millisecond)
		require.Len(t, b.Stats().Leads, 3, "though a still drains")
		l.pass(handOver)
		require.Len(t, b.Stats().Leads, 4, "a sending does not hold it up for long")
		g.done(1)
		require.NoError(t, <-done)
		l.await(2)
	})
}

// The reply that made it a leader is lost: at stop it resigns all the same.
func TestLeadThatNobodyKnowsOfIsGivenUpByAStop(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.setFault(func(op, _ string, _ int, after bool) error {
			if op == "home" && after {
				return errAway
			}
			return nil
		})
		a := l.start(ExecutorOptions{ID: "a"})
		require.Empty(t, a.Stats().Leads)
		l.setFault(nil)
		l.mu.Lock()
		require.Equal(t, "a", l.slot(1).leader)
		l.mu.Unlock()
		l.stop(a)
		b := l.start(ExecutorOptions{ID: "b"})
		require.Equal(t, []int{0, 1}, b.Stats().Leads)
	})
}

func TestLeadOfADeadExecutorPassesOn(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		down := &away{only: "a"}
		l.setFault(down.fault)
		a := l.start(ExecutorOptions{ID: "a"})
		b := l.start(ExecutorOptions{ID: "b"})
		l.pass(fakeLease)
		down.set(true)
		took := l.until(time.Minute, "b leads all", func() bool { return len(b.Stats().Leads) == 4 })
		require.LessOrEqual(t, took, fakeLease+fakeLease/3+10*time.Millisecond)
		require.Empty(t, a.Stats().Leads, "it does not trust what it cannot renew")
		down.set(false)
	})
}

// Work in a slot that a full home executor cannot hold reaches the others at once.
func TestOverflowCallsTheOthers(t *testing.T) {
	inLab(t, 8, func(t *testing.T, l *lab) {
		g := newGate()
		var es []*Executor
		for i := range 5 {
			es = append(es, l.start(ExecutorOptions{ID: fmt.Sprint("e", i), Concurrency: 10, Handler: g.handle}))
		}
		l.pass(fakeLease)
		// 20 tasks in each of two slots: no more than the homes' permits, one by one.
		for n := range uint64(20) {
			l.enqueue(0, "a", task(n+1))
			l.enqueue(1, "b", task(n+101))
		}
		took := l.until(time.Minute, "all run", func() bool { now, _ := g.runs(); return now == 40 })
		require.LessOrEqual(t, took, overflowEvery+2*callSpread)
		for _, e := range es {
			require.LessOrEqual(t, e.Stats().Running, 10)
		}
		for n := range uint64(20) {
			g.done(n+1, n+101)
		}
		l.await(40)
	})
}

// Nobody rings for it: the sweep finds it.
func TestSweepFindsWhatNobodyRangFor(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{})
		l.pass(time.Minute)
		l.mu.Lock()
		l.listeners = make(map[*fakeListener]bool)
		l.mu.Unlock()
		l.enqueue(0, "run", task(1))
		took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
		require.LessOrEqual(t, took, sweepEvery+fakeLease)
	})
}

// guestOfFullHomes starts three executors for one task each. The two at home in slot 0 run
// tasks of slot 1, the third does nothing.
func guestOfFullHomes(t *testing.T, l *lab) *gate {
	t.Helper()
	es, gates := make([]*Executor, 3), make([]*gate, 3)
	for i := range es {
		gates[i] = newGate()
		es[i] = l.start(ExecutorOptions{ID: fmt.Sprint("e", i), Handler: gates[i].handle, Concurrency: 1})
	}
	l.pass(fakeLease)
	l.enqueue(1, "other", tasks(3)...)
	l.until(time.Minute, "all are full", func() bool {
		return !slices.ContainsFunc(es, func(e *Executor) bool { return e.Stats().Running == 0 })
	})
	guest := slices.IndexFunc(es, func(e *Executor) bool { return !slices.Contains(e.Stats().Homes, 0) })
	require.GreaterOrEqual(t, guest, 0)
	gates[guest].done(1, 2, 3)
	l.until(time.Minute, "the guest is idle", func() bool { return es[guest].Stats().Running == 0 })
	t.Cleanup(func() {
		for _, g := range gates {
			g.done(1, 2, 3)
		}
	})
	return gates[guest]
}

// Home executors that are full call the others to what nobody rang for, too.
func TestSweepOfFullHomesCallsOthers(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		guest := guestOfFullHomes(t, l)
		l.mu.Lock()
		l.muted = map[string]bool{l.keys.slotBell(l.pool, 0): true}
		l.mu.Unlock()
		for n := uint64(11); n < 20; n++ {
			l.enqueue(0, "run", task(n))
			took := l.until(time.Minute, "it runs", func() bool { return guest.starts(n) == 1 })
			require.LessOrEqual(t, took, sweepEvery+fakeLease)
			guest.done(n)
			l.pass(time.Second)
		}
	})
}

func TestSweepOfForeignSlotsFindsWhatItsHomesCannotTell(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		guest := guestOfFullHomes(t, l)
		l.mu.Lock()
		l.muted = map[string]bool{l.keys.slotBell(l.pool, 0): true, l.keys.poolBell(l.pool): true}
		l.mu.Unlock()
		l.enqueue(0, "run", task(11))
		took := l.until(time.Minute, "it runs", func() bool { return guest.starts(11) == 1 })
		require.LessOrEqual(t, took, sweepForeignEvery+fakeLease)
		guest.done(11)
	})
}

// Whoever learnt that another one left does not go back to what it saw before, and hand
// leads over to it.
func TestLeadsStayWhenAnExecutorLeaves(t *testing.T) {
	for offset := time.Duration(0); offset < fakeLease/3; offset += 100 * time.Millisecond {
		inLab(t, 8, func(t *testing.T, l *lab) {
			l.slow = map[string]time.Duration{"extend": 500 * time.Millisecond}
			g := newGate()
			a := l.start(ExecutorOptions{ID: "a", Handler: g.handle})
			l.enqueue(0, "run", task(1))
			synctest.Wait()
			b := l.start(ExecutorOptions{ID: "b", Types: []string{"A"}})
			l.pass(2*fakeLease + offset)
			b.Leave(t.Context())
			l.pass(100 * time.Millisecond)
			require.Len(t, a.Stats().Leads, 8)
			before := l.count("resign")
			l.pass(2 * fakeLease)
			require.Equal(t, before, l.count("resign"), "left after %v", offset)
			g.done(1)
		})
	}
}

// Redis says that another one leads, after a failover for instance: two must not.
func TestTermEndsWhenAnotherOneLeads(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		a := l.start(ExecutorOptions{ID: "a"})
		require.Equal(t, []int{0, 1}, a.Stats().Leads)
		l.mu.Lock()
		s := l.slot(1)
		s.leader, s.leads = "other", l.now().Add(time.Minute)
		l.mu.Unlock()
		l.pass(fakeLease/3 + time.Millisecond)
		require.Equal(t, []int{0}, a.Stats().Leads)
	})
}

// Executors take only what they handle; a type without an executor holds up nothing.
func TestTypesOfAMixedFleet(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		var wrong error
		only := func(types ...string) Handler {
			return func(ctx context.Context, d *Delivery) Result {
				if !slices.Contains(types, d.Type) {
					wrong = errors.New("took a " + d.Type)
				}
				return echo(ctx, d)
			}
		}
		for i := range 4 {
			l.start(ExecutorOptions{ID: fmt.Sprint("old", i), Types: []string{"A"}, Handler: only("A")})
		}
		l.start(ExecutorOptions{ID: "young", Types: []string{"A", "B"}, Handler: only("A", "B")})
		l.pass(fakeLease)
		for slot := range 2 {
			a, b, c := task(1), task(2), task(3)
			b.Type, c.Type = "B", "C"
			l.enqueue(slot, fmt.Sprint("run", slot), c, b, a)
		}
		took := l.until(time.Minute, "A and B", func() bool { return l.book.size() == 4 })
		require.LessOrEqual(t, took, 2*callSpread, "B's only executor is at home everywhere")
		require.NoError(t, wrong)
		l.pass(time.Minute)
		require.Equal(t, 4, l.book.size())
	})
}
