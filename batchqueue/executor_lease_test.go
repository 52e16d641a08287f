package batchqueue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A handler may run as long as it likes: its lease is extended.
func TestHandlerLongerThanManyLeases(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{Handler: g.handle})
		b := l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", task(1))
		l.enqueue(1, "run", task(2))
		l.pass(time.Hour)
		require.Equal(t, 1, g.starts(1))
		require.Equal(t, 1, g.starts(2))
		require.Zero(t, a.Stats().Reclaimed+b.Stats().Reclaimed)
		g.done(1, 2)
		l.await(2)
	})
}

// A killed executor's tasks run elsewhere within two leases and the retry interval, as a
// further attempt. What it still does changes nothing, and it is told.
func TestKilledExecutorsTasksRunElsewhere(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		ga, gb := newGate(), newGate()
		down := &away{only: "a"}
		l.setFault(down.fault)
		a := l.start(ExecutorOptions{ID: "a", Handler: ga.handle})
		for slot := range 3 {
			l.enqueue(slot, "run", with(uint64(slot+1), TaskOptions{Retry: RetryPolicy{InitialInterval: 2 * time.Second}}))
		}
		synctest.Wait()
		require.Equal(t, 3, l.claimsOf("a"))
		b := l.start(ExecutorOptions{ID: "b", Handler: gb.handle})
		down.set(true)
		took := l.until(time.Minute, "all run at b", func() bool { return gb.starts(1)+gb.starts(2)+gb.starts(3) == 3 })
		require.LessOrEqual(t, took, 2*fakeLease+2200*time.Millisecond)
		require.GreaterOrEqual(t, took, fakeLease-fakeLease/3)
		require.Equal(t, 2, gb.delivery(1).Attempt)
		require.Equal(t, uint64(3), b.Stats().Reclaimed)
		require.Equal(t, 1, gb.delivery(1).losses)

		ga.done(1) // finishes while cut off, and keeps trying to say so
		gb.done(1, 2, 3)
		l.await(3)
		down.set(false)
		l.until(2*fakeLease, "a knows", func() bool { return a.Stats().Held == 0 })
		require.ErrorIs(t, ga.cause(2), ErrLeaseLost)
		require.ErrorIs(t, ga.cause(3), ErrLeaseLost)
		for n := range uint64(3) {
			require.Equal(t, 2, l.one("run", n+1).Attempt)
		}
	})
}

// What may be attempted once only is not started again after a loss.
func TestLossOfATaskThatMayRunOnceOnlyIsFinal(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		down := &away{only: "a"}
		l.setFault(down.fault)
		l.start(ExecutorOptions{ID: "a", Handler: g.handle})
		l.enqueue(0, "run", with(1, TaskOptions{Retry: once}), with(2, TaskOptions{Retry: once, Heartbeat: time.Hour}))
		synctest.Wait()
		l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		down.set(true)
		l.await(2)
		require.Equal(t, KindStartToClose, l.one("run", 1).Kind)
		require.Equal(t, KindHeartbeat, l.one("run", 2).Kind)
		require.Equal(t, RetryMaximumAttempts, l.one("run", 1).Retry)
		require.Equal(t, "a", l.one("run", 1).Executor, "the one it was lost with")
		require.Equal(t, 1, g.starts(1))
		down.set(false)
	})
}

// An executor that is alive but has no lease gets time to find out. Then its tasks are
// released: no attempt is lost. Only what may be attempted once is not started twice.
func TestLivingExecutorWithoutLease(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		ga, gb := newGate(), newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: ga.handle, Concurrency: 2})
		l.enqueue(0, "run", task(1), with(2, TaskOptions{Retry: once}))
		synctest.Wait()
		b := l.start(ExecutorOptions{ID: "b", Handler: gb.handle})
		l.mu.Lock()
		delete(l.slot(0).leases, "a")
		l.mu.Unlock()
		l.pass(fakeLease)
		require.Zero(t, a.Stats().Reclaimed+b.Stats().Reclaimed, "the next extension makes it good")

		l.setFault(func(op, executor string, _ int, _ bool) error {
			if executor == "a" && (op == "extend" || op == "home") {
				return errAway
			}
			return nil
		})
		took := l.until(time.Minute, "released", func() bool { return gb.starts(1) == 1 })
		require.Greater(t, took, 2*fakeLease)
		require.Equal(t, 1, gb.delivery(1).Attempt)
		require.Zero(t, gb.delivery(1).losses)
		l.await(1)
		require.Equal(t, KindStartToClose, l.one("run", 2).Kind)
		require.Zero(t, gb.starts(2))
		gb.done(1)
		l.await(2)
		l.setFault(nil)
	})
}

// Redis is away for longer than a lease: when it is back nobody has one. That says
// nothing against the executors, and nothing starts twice.
func TestOutageLongerThanTheLeaseCostsNothing(t *testing.T) {
	for _, outage := range []time.Duration{fakeLease / 2, 2 * fakeLease, 10 * time.Minute} {
		inLab(t, 2, func(t *testing.T, l *lab) {
			g := newGate()
			down := &away{}
			l.setFault(down.fault)
			var es []*Executor
			for i := range 3 {
				es = append(es, l.start(ExecutorOptions{ID: fmt.Sprint("e", i), Handler: g.handle, Concurrency: 4}))
			}
			for slot := range 2 {
				l.enqueue(slot, fmt.Sprint("run", slot), tasks(5)...)
			}
			l.pass(30 * time.Second)
			down.set(true)
			l.pass(outage)
			g.done(1, 1)
			l.pass(time.Second)
			down.set(false)
			back := l.until(time.Minute, "all are present", func() bool { return l.alive() == 3 })
			require.LessOrEqual(t, back, fakeLease/10, "the living are quick")
			l.pass(3 * fakeLease)
			for _, e := range es {
				require.Zero(t, e.Stats().Reclaimed, "after %v", outage)
				require.Zero(t, e.Stats().Lost)
			}
			require.Equal(t, 2, l.book.size(), "finished during the outage")
			g.done(2, 3, 4, 5, 2, 3, 4, 5)
			l.await(10)
			for n := range uint64(5) {
				require.Equal(t, 2, g.starts(n+1), "once per run")
				require.Equal(t, 1, l.one("run0", n+1).Attempt)
			}
		})
	}
}

// loseReplyOfClaim loses the reply of the executor's next claim that takes something.
func (l *lab) loseReplyOfClaim(executor string) {
	lose := true
	l.setFault(func(op, _ string, _ int, after bool) error {
		if op == "claim" && after && lose && l.claimsOf(executor) > 0 {
			lose = false
			return errAway
		}
		return nil
	})
}

// The reply of a claim is lost: the tasks are in this executor's hands and nobody knows.
// It finds them and runs them, once, as the first attempt.
func TestClaimsWhoseReplyWasLostAreAdopted(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle, Concurrency: 10})
		l.pass(time.Second)
		l.loseReplyOfClaim("e")
		l.enqueue(0, "run", tasks(4)...)
		took := l.until(time.Minute, "all run", func() bool { now, _ := g.runs(); return now == 4 })
		require.Less(t, took, fakeLease/5, "an error makes it look soon")
		require.Equal(t, uint64(4), e.Stats().Adopted)
		require.Equal(t, 1, g.delivery(1).Attempt)
		g.done(1, 2, 3, 4)
		l.await(4)
		for n := range uint64(4) {
			require.Equal(t, 1, g.starts(n+1))
		}
	})
}

// A claim that the executor does not know may be one that it has run, if Redis has lost the
// settlement in a failover. What may start only once does not start then.
func TestUnknownClaimsOfWhatStartsOnlyOnceEndAsLost(t *testing.T) {
	for name, c := range map[string]struct {
		heartbeat time.Duration
		want      Kind
	}{
		"plain":           {0, KindStartToClose},
		"with heartbeats": {time.Minute, KindHeartbeat},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				g := newGate()
				e := l.start(ExecutorOptions{ID: "e", Handler: g.handle, Concurrency: 10})
				l.pass(time.Second)
				l.loseReplyOfClaim("e")
				once, other := task(1), task(2)
				once.Options.Retry.MaximumAttempts, once.Options.Heartbeat = 1, c.heartbeat
				l.enqueue(0, "run", once, other)
				l.until(time.Minute, "the other runs", func() bool { now, _ := g.runs(); return now == 1 })
				g.done(2)
				l.await(2)
				require.Zero(t, g.starts(1))
				require.Equal(t, 1, g.starts(2))
				require.Equal(t, c.want, l.one("run", 1).Kind)
				require.Zero(t, e.Stats().Held)
			})
		})
	}
}

// A client that re-sends by itself hides the loss: the second claim succeeds.
func TestLossHiddenByAReSendIsFoundByTheNextAudit(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.reSends = true
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle, Concurrency: 3})
		l.pass(time.Second)
		l.enqueue(0, "run", tasks(8)...)
		l.pass(2 * fakeLease)
		now, most := g.runs()
		require.Equal(t, 3, now)
		require.Equal(t, 3, most, "adoption keeps to the permits")
		require.Equal(t, 3, l.claimsOf("e"), "what finds no permit goes back")
		require.Equal(t, uint64(3), e.Stats().Released)
		for n := range uint64(8) {
			g.done(n + 1)
		}
		l.await(8)
		for n := range uint64(8) {
			require.Equal(t, 1, g.starts(n+1))
			require.Equal(t, 1, l.one("run", n+1).Attempt)
		}
	})
}

func TestHiddenLossOfEverythingIsFoundToo(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.reSends = true
		e := l.start(ExecutorOptions{ID: "e"})
		l.pass(time.Second)
		l.enqueue(0, "run", task(1))
		took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
		require.LessOrEqual(t, took, fakeLease)
		require.Equal(t, uint64(1), e.Stats().Adopted)
	})
}

// reSendingStore sends the first claim that brings something twice.
type reSendingStore struct {
	*fakeClient
	once sync.Once
}

func (s *reSendingStore) claim(ctx context.Context, pool string, slot int, r claimRequest) (claimReply, error) {
	reply, err := s.fakeClient.claim(ctx, pool, slot, r)
	if len(reply.deliveries) > 0 {
		s.once.Do(func() { reply, err = s.fakeClient.claim(ctx, pool, slot, r) })
	}
	return reply, err
}

// An audit never takes what is about to arrive, or just left, for a difference: claims
// and settlements run beside it at random, and no task is adopted, lost or run twice.
func TestAuditsBesideClaimsAndSettlements(t *testing.T) {
	for seed := range uint64(20) {
		inLab(t, 2, func(t *testing.T, l *lab) {
			random := rand.New(rand.NewPCG(seed, 0))
			l.rtt = 10 * time.Millisecond
			l.slow = map[string]time.Duration{"claim": 50 * time.Millisecond, "settle": time.Duration(seed%2) * 50 * time.Millisecond}
			g := newGate()
			e := l.start(ExecutorOptions{Concurrency: 20, Handler: g.handle})
			for i := range 300 {
				l.enqueue(i%2, "run", task(uint64(i+1)))
				if i%3 == 0 {
					e.audits.wantAll()
				}
				l.pass(time.Duration(random.IntN(30)) * time.Millisecond)
				g.done(uint64(random.IntN(i+1) + 1))
			}
			for n := range uint64(300) {
				g.done(n + 1)
			}
			l.await(300)
			l.pass(2 * fakeLease)
			require.Greater(t, l.count("audit"), 15)
			require.Zero(t, e.Stats().Adopted)
			require.Zero(t, e.Stats().Lost)
			require.Zero(t, e.Stats().Held)
			for n := range uint64(300) {
				require.Equal(t, 1, g.starts(n+1))
				l.one("run", n+1)
			}
		})
	}
}

// A claim that somebody took away is found by the audit.
func TestClaimThatWasTakenAwayIsFound(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle})
		l.enqueue(0, "run", tasks(2)...)
		synctest.Wait()
		l.steal(0, 1, "thief")
		l.until(2*fakeLease, "its context ends", func() bool { return g.cause(1) != nil })
		require.ErrorIs(t, g.cause(1), ErrLeaseLost)
		require.Equal(t, uint64(1), e.Stats().Lost)
		g.done(2)
		l.await(1)
		require.Empty(t, l.outcomes(0, "run"), "what the robbed handler returned is dropped")
	})
}

// 54 to 56: who lost its claim cannot finish, fail or release it.
func TestLostClaimCannotBeSettled(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle})
		l.enqueue(0, "run", tasks(3)...)
		synctest.Wait()
		for n := range uint64(3) {
			l.steal(0, n+1, "thief")
		}
		g.done(1)
		g.open(2, Result{Kind: KindFailed})
		synctest.Wait()
		l.stop(e) // releases 3
		require.Equal(t, 3, l.claimsOf("thief"))
		require.Empty(t, l.outcomes(0, "run"))
		require.Equal(t, uint64(3), e.Stats().Lost)
	})
}
