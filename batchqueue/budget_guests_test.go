package batchqueue

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// visit is a guest that leaves when the test says so.
type visit struct {
	entered atomic.Bool
	leave   chan struct{}
	err     error
	gone    chan struct{}
}

func (b *Budget) visit(ctx context.Context) *visit {
	v := &visit{leave: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(v.gone)
		if v.err = b.Acquire(ctx); v.err != nil {
			return
		}
		v.entered.Store(true)
		<-v.leave
		b.Release()
	}()
	synctest.Wait()
	return v
}

func (v *visit) end() {
	close(v.leave)
	<-v.gone
	synctest.Wait()
}

func TestAGuestComesBeforeClaims(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 3}), newGate()
		l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		l.enqueue(0, "run", tasks(20)...)
		synctest.Wait()
		first := b.visit(l.Context())
		require.False(t, first.entered.Load(), "no permit is free")
		g.done(1)
		synctest.Wait()
		require.True(t, first.entered.Load())
		now, _ := g.runs()
		require.Equal(t, 2, now)
		first.end()
		now, _ = g.runs()
		require.Equal(t, 3, now, "the permit went back to claims")
		for n := range uint64(20) {
			g.done(n + 1)
		}
		l.await(20)
	})
}

// Guests that never cease leave room for claims, and claims that never cease for guests.
func TestNeitherGuestsNorClaimsShutTheOthersOut(t *testing.T) {
	for _, permits := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(permits), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.rtt = time.Millisecond
				b, all := l.budget(BudgetOptions{Concurrency: permits}), &load{}
				var guests atomic.Int64
				ctx, cancel := context.WithCancel(l.Context())
				defer cancel()
				for range 3 * permits {
					go func() {
						for b.Acquire(ctx) == nil {
							all.in(func() Result { return Result{} })
							guests.Add(1)
							b.Release()
						}
					}()
				}
				l.start(ExecutorOptions{Budget: b, Handler: all.handle})
				l.enqueue(0, "run", tasks(50*permits)...)
				l.pass(40 * time.Second)
				require.EqualValues(t, permits, all.most.Load())
				require.Greater(t, all.done.Load(), int64(36*permits), "no permit lies idle")
				require.Greater(t, guests.Load(), int64(12*permits))
				require.Greater(t, all.done.Load()-guests.Load(), int64(12*permits))
				cancel()
				l.await(50 * permits)
			})
		})
	}
}

func TestAGuestThatGivesUpTakesNothing(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 1, RatePerSecond: 0.1}), newGate()
		ended, cancel := context.WithCancel(l.Context())
		cancel()
		require.ErrorIs(t, b.Acquire(ended), context.Canceled)

		in := b.visit(l.Context())
		require.True(t, in.entered.Load())
		for range 3 { // for a permit
			ctx, cancel := context.WithTimeout(l.Context(), time.Second)
			require.ErrorIs(t, b.Acquire(ctx), context.DeadlineExceeded)
			cancel()
		}
		in.end()
		for range 3 { // for a start
			ctx, cancel := context.WithTimeout(l.Context(), time.Second)
			require.ErrorIs(t, b.Acquire(ctx), context.DeadlineExceeded)
			cancel()
		}
		require.Equal(t, 1, b.free())
		l.pass(5 * time.Second)
		l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		l.enqueue(0, "run", task(1))
		synctest.Wait()
		require.Equal(t, 1, g.starts(1))
		g.done(1)
		l.await(1)
	})
}

// While Redis is slow to answer, claims speak for permits that they may not need. Guests
// get them all the same, and what a claim brings beyond the rest is put back.
func TestGuestsDoNotWaitForRedis(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 4}), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		l.slow = map[string]time.Duration{"claim": time.Second}
		l.enqueue(0, "run", tasks(6)...)
		synctest.Wait()
		began := time.Now()
		guests := []*visit{b.visit(l.Context()), b.visit(l.Context()), b.visit(l.Context())}
		l.until(time.Minute, "guests enter", func() bool {
			return guests[0].entered.Load() && guests[1].entered.Load() && guests[2].entered.Load()
		})
		require.Equal(t, claimPatience, time.Since(began))
		l.pass(time.Second)
		now, most := g.runs()
		require.Equal(t, 1, now, "one permit was left")
		require.Equal(t, 1, most)
		require.EqualValues(t, 3, e.Stats().Released, "three of four came in vain")
		l.mu.Lock()
		l.slow = nil
		l.mu.Unlock()
		for _, v := range guests {
			v.end()
		}
		for n := range uint64(6) {
			g.done(n + 1)
		}
		l.await(6)
		for n := range uint64(6) {
			require.Equal(t, 1, l.one("run", n+1).Attempt, "no attempt was lost")
		}
		_, most = g.runs()
		require.LessOrEqual(t, most, 4)
	})
}

// Only what slow claims speak for is given away, not what handlers hold.
func TestGuestsDoNotTakeWhatHandlersHold(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 4}), newGate()
		l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		l.enqueue(0, "run", tasks(2)...)
		synctest.Wait()
		l.slow = map[string]time.Duration{"claim": time.Second}
		l.enqueue(0, "more", task(3), task(4))
		synctest.Wait()
		var guests []*visit
		entered := func() (n int) {
			for _, v := range guests {
				if v.entered.Load() {
					n++
				}
			}
			return n
		}
		for range 4 {
			guests = append(guests, b.visit(l.Context()))
		}
		l.pass(10 * time.Second)
		require.Equal(t, 2, entered())
		now, most := g.runs()
		require.Equal(t, 2, now)
		require.Equal(t, 2, most)
		g.done(1, 2, 3, 4)
		l.until(time.Minute, "all enter", func() bool { return entered() == 4 })
		for _, v := range guests {
			v.end()
		}
		l.await(4)
	})
}

// Tasks whose claim's reply was lost find the permits that the claim held taken.
func TestAdoptedTasksStayWithinTheBudget(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 3}), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		failed := false
		l.setFault(func(op, _ string, _ int, after bool) error {
			if op == "claim" && after && !failed {
				failed = true
				return errAway
			}
			return nil
		})
		l.enqueue(0, "run", tasks(3)...)
		synctest.Wait()
		guests := []*visit{b.visit(l.Context()), b.visit(l.Context())}
		require.True(t, guests[0].entered.Load() && guests[1].entered.Load())
		l.pass(2 * fakeLease)
		require.EqualValues(t, 3, e.Stats().Adopted)
		now, _ := g.runs()
		require.Equal(t, 1, now)
		guests[0].end()
		guests[1].end()
		now, most := g.runs()
		require.Equal(t, 3, now)
		require.Equal(t, 3, most)
		g.done(1, 2, 3)
		l.await(3)
		require.Equal(t, 1, l.one("run", 1).Attempt)
	})
}

// A claim that is answered in time keeps what it was granted.
func TestGuestsWaitForClaimsThatAreAnsweredSoon(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, g := l.budget(BudgetOptions{Concurrency: 2}), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		l.slow = map[string]time.Duration{"claim": claimPatience / 2}
		l.enqueue(0, "run", tasks(5)...)
		synctest.Wait()
		v := b.visit(l.Context())
		l.pass(time.Minute)
		require.False(t, v.entered.Load())
		require.Zero(t, e.Stats().Released)
		g.done(1)
		synctest.Wait()
		require.True(t, v.entered.Load())
		v.end()
		g.done(2, 3, 4, 5)
		l.await(5)
	})
}
