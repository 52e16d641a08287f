package batchqueue

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBudgetOptionsNameTheFieldAndTheFix(t *testing.T) {
	for field, o := range map[string]BudgetOptions{
		"Concurrency":   {Concurrency: -1},
		"RatePerSecond": {RatePerSecond: math.NaN()},
	} {
		_, err := NewBudget(o)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "BudgetOptions."+field)
		require.Regexp(t, ": give .* or 0 for", err.Error())
	}
	b, err := NewBudget(BudgetOptions{})
	require.NoError(t, err)
	require.Equal(t, 1000, b.limit)
}

// another is a lab with another pool in the same bubble.
func (l *lab) another() *lab {
	return &lab{T: l.T, fakeRedis: newFake(l.conf.Slots), book: l.book}
}

func (l *lab) budget(o BudgetOptions) *Budget {
	l.Helper()
	b, err := NewBudget(o)
	require.NoError(l, err)
	return b
}

// load is a handler that takes a second, and counts what runs side by side in all pools.
type load struct {
	running, most, done atomic.Int64
}

func (w *load) handle(ctx context.Context, d *Delivery) Result {
	return w.in(func() Result { return echo(ctx, d) })
}

func (w *load) in(f func() Result) Result {
	n := w.running.Add(1)
	for most := w.most.Load(); n > most && !w.most.CompareAndSwap(most, n); most = w.most.Load() {
	}
	time.Sleep(time.Second) //nolint:forbidigo // by synctest's clock
	w.running.Add(-1)
	w.done.Add(1)
	return f()
}

func TestExecutorsShareABudget(t *testing.T) {
	for _, permits := range []int{1, 3, 8} {
		t.Run(fmt.Sprint(permits), func(t *testing.T) {
			inLab(t, 2, func(t *testing.T, l *lab) {
				l.rtt = time.Millisecond
				b, all := l.budget(BudgetOptions{Concurrency: permits}), &load{}
				pools := []*lab{l, l.another(), l.another()}
				done := make([]atomic.Int64, len(pools))
				for i, pool := range pools {
					e := pool.start(ExecutorOptions{Budget: b, Handler: func(ctx context.Context, d *Delivery) Result {
						defer done[i].Add(1)
						return all.handle(ctx, d)
					}})
					l.until(time.Second, "permits", func() bool { return e.Stats().Permits == permits })
				}
				for i, pool := range pools {
					pool.enqueue(0, fmt.Sprint("run", i), tasks(100)...)
					pool.enqueue(1, fmt.Sprint("other", i), tasks(100)...)
				}
				l.pass(30 * time.Second)
				require.EqualValues(t, permits, all.most.Load(), "at a time, over all pools")
				require.Greater(t, all.done.Load(), int64(permits*28), "and no permit lies idle")
				for i := range done {
					require.InDelta(t, all.done.Load()/3, done[i].Load(), float64(permits+3), "each pool gets its share")
				}
				l.await(3 * 200)
			})
		})
	}
}

// A pool with work may use the whole budget, but gives way when another one has work.
func TestFreePermitsGoToWhoHoldsTheFewest(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other := l.budget(BudgetOptions{Concurrency: 4}), l.another()
		slow, quick := newGate(), newGate()
		l.start(ExecutorOptions{Budget: b, Handler: slow.handle})
		other.start(ExecutorOptions{Budget: b, Handler: quick.handle})
		l.enqueue(0, "slow", tasks(20)...)
		synctest.Wait()
		now, _ := slow.runs()
		require.Equal(t, 4, now, "nobody else wants them")
		other.enqueue(0, "quick", tasks(20)...)
		synctest.Wait()
		for n, want := range [][2]int{{3, 1}, {2, 2}, {2, 2}, {2, 2}} {
			slow.done(uint64(n + 1))
			synctest.Wait()
			s, _ := slow.runs()
			q, _ := quick.runs()
			require.Equal(t, want, [2]int{s, q}, "after %d returned: at once, and not more than half", n+1)
		}
		for n := range uint64(20) {
			slow.done(n + 1)
			quick.done(n + 1)
		}
		l.await(40)
	})
}

// The pool's configuration bounds its executor within the budget, and does so live.
func TestThePoolsConcurrencyBoundsWithinTheBudget(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other := l.budget(BudgetOptions{Concurrency: 4}), l.another()
		g, h := newGate(), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		other.start(ExecutorOptions{Budget: b, Handler: h.handle})
		l.enqueue(0, "run", tasks(30)...)
		set := func(concurrency int) {
			l.mu.Lock()
			l.conf.Concurrency = concurrency
			l.publish(l.keys.configBell(l.pool), "")
			l.mu.Unlock()
			synctest.Wait()
		}
		runs := func() [2]int {
			synctest.Wait()
			a, _ := g.runs()
			b, _ := h.runs()
			return [2]int{a, b}
		}
		require.Equal(t, [2]int{4, 0}, runs())
		set(1)
		g.done(1, 2, 3, 4)
		require.Equal(t, [2]int{1, 0}, runs())
		require.Equal(t, 1, e.Stats().Permits)
		other.enqueue(0, "other", tasks(30)...)
		require.Equal(t, [2]int{1, 3}, runs())
		set(100)
		require.Equal(t, 4, e.Stats().Permits)
		require.Equal(t, [2]int{1, 3}, runs(), "but no permit is free")
		h.done(1)
		require.Equal(t, [2]int{2, 2}, runs())
		for n := range uint64(30) {
			g.done(n + 1)
			h.done(n + 1)
		}
		l.await(60)
	})
}

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

// When another pool holds the budget, others of the pool are called to what waits.
func TestAnExhaustedBudgetCallsOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other := l.budget(BudgetOptions{Concurrency: 2}), l.another()
		g := newGate()
		l.start(ExecutorOptions{ID: "busy", Budget: b, Handler: g.handle})
		l.start(ExecutorOptions{ID: "idle", Types: []string{"B"}})
		l.pass(fakeLease) // they know of each other
		other.start(ExecutorOptions{Budget: b, Handler: g.handle})
		other.enqueue(0, "other", task(1))
		synctest.Wait()
		before := l.count("ring")
		l.enqueue(0, "run", task(11), task(12))
		synctest.Wait()
		require.Equal(t, before+1, l.count("ring"))
		g.done(1, 11, 12)
		l.await(3)
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

// One rate for two executors and the guests, and none of them is shut out.
func TestABudgetsRateIsShared(t *testing.T) {
	for _, rate := range []float64{0.5, 10, 40} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.rtt = time.Millisecond
				b, other := l.budget(BudgetOptions{RatePerSecond: rate}), l.another()
				var claims [2]atomic.Int64
				var guests atomic.Int64
				ctx, cancel := context.WithCancel(l.Context())
				defer cancel()
				for range 20 {
					go func() {
						for b.Acquire(ctx) == nil {
							guests.Add(1)
							b.Release()
						}
					}()
				}
				for i, pool := range []*lab{l, other} {
					pool.start(ExecutorOptions{Budget: b, Handler: func(ctx context.Context, d *Delivery) Result {
						claims[i].Add(1)
						return echo(ctx, d)
					}})
					pool.enqueue(0, fmt.Sprint("run", i), tasks(int(rate*70))...)
				}
				l.pass(100 * time.Second)
				g, c := float64(guests.Load()), float64(claims[0].Load()+claims[1].Load())
				t.Logf("%v guests, %v claims, of which %v and %v", g, c, claims[0].Load(), claims[1].Load())
				require.LessOrEqual(t, g+c, max(1, rate)+100*rate+1, "one rate")
				require.GreaterOrEqual(t, g+c, 90*rate, "which is used")
				for _, n := range []float64{g, float64(claims[0].Load()), float64(claims[1].Load())} {
					require.InDelta(t, (g+c)/3, n, rate+4)
				}

				cancel()
				l.until(time.Hour, "claims have it all", func() bool { return claims[0].Load()+claims[1].Load() == 2*int64(rate*70) })
				before := time.Now()
				for range 3 {
					require.NoError(t, b.Acquire(l.Context()))
					b.Release()
				}
				require.LessOrEqual(t, time.Since(before).Seconds(), 4/rate+1, "then guests have it all")
			})
		})
	}
}

// Starts that a claim held and did not need are a waiting guest's at once.
func TestUnusedStartsAreGivenToGuests(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b := l.budget(BudgetOptions{Concurrency: 10, RatePerSecond: 0.01})
		l.slow = map[string]time.Duration{"claim": time.Second}
		l.startCold(ExecutorOptions{Budget: b})
		l.until(time.Minute, "a claim is under way", func() bool { return l.count("claim") == 1 })
		began := time.Now()
		require.NoError(t, b.Acquire(l.Context()))
		require.LessOrEqual(t, time.Since(began), time.Second)
		b.Release()
	})
}

// Who was refused a start and does not come again loses its turn.
func TestTurnsThatAreNotTakenAreLost(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b := l.budget(BudgetOptions{RatePerSecond: 0.5})
		e := l.executor(l.T, ExecutorOptions{Budget: b, Deliver: l.book.deliver})
		require.NoError(t, e.Start(l.Context()))
		l.enqueue(0, "run", tasks(1)...)
		l.await(1)
		l.enqueue(0, "run", tasks(2)[1:]...)
		synctest.Wait()
		l.stop(e)
		began := time.Now()
		for range 3 {
			require.NoError(t, b.Acquire(l.Context()))
			b.Release()
		}
		require.InDelta(t, 8, time.Since(began).Seconds(), 0.1, "2 s each, and 2 s until the turn was lost")
	})
}

// The rate that executors bring for their pool holds where the configuration has none.
func TestThePoolsRateComesFromItsExecutors(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = time.Millisecond
		for _, id := range []string{"a", "b"} {
			l.start(ExecutorOptions{ID: id, PoolRatePerSecond: 10})
		}
		l.enqueue(0, "run", tasks(2000)...)
		perSecond := func() float64 {
			l.pass(2 * time.Second) // what was drawn before is used up
			before := l.book.size()
			l.pass(10 * time.Second)
			return float64(l.book.size()-before) / 10
		}
		set := func(rate float64) {
			l.mu.Lock()
			l.conf.Version++
			l.conf.RatePerSecond = rate
			l.publish(l.keys.configBell(l.pool), "")
			l.mu.Unlock()
		}
		require.InDelta(t, 10, perSecond(), 1)
		set(40)
		require.InDelta(t, 40, perSecond(), 4, "the configuration wins")
		set(5)
		require.InDelta(t, 5, perSecond(), 1, "also where it is lower")
		set(0)
		require.InDelta(t, 10, perSecond(), 1, "no rate there: the executors' own again")
	})
}

// A suspect takes the process down for all executors in it: alone means alone among all
// that share the budget. Guests go on.
func TestASuspectRunsAloneInTheWholeBudget(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other := l.budget(BudgetOptions{Concurrency: 4}), l.another()
		mine, theirs := newGate(), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: mine.handle})
		other.start(ExecutorOptions{Budget: b, Handler: theirs.handle})
		other.enqueue(0, "fine", task(1), task(2))
		synctest.Wait()
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		l.pass(10 * time.Second)
		e.claimer.wantAlone(0, time.Now())
		l.pass(10 * time.Second)
		require.Zero(t, mine.starts(1), "others run")
		other.enqueue(0, "fine", tasks(10)[2:]...)
		l.enqueue(0, "mine", tasks(11)[1:]...)
		l.pass(time.Second)
		require.Zero(t, theirs.starts(3)+mine.starts(2), "room is being made")

		theirs.done(1, 2)
		l.until(time.Second, "the suspect runs", func() bool { return mine.starts(1) == 1 })
		v := b.visit(l.Context())
		require.True(t, v.entered.Load())
		v.end()
		l.pass(10 * time.Second)
		require.Zero(t, theirs.starts(3)+mine.starts(2), "nothing beside it")
		mine.done(1)
		l.until(time.Second, "the others go on", func() bool { now, _ := theirs.runs(); return now > 0 })
		a, _ := mine.runs()
		c, _ := theirs.runs()
		require.Equal(t, [2]int{2, 2}, [2]int{a, c}, "with even shares of what is free at once")
		require.Zero(t, e.Stats().Released, "the suspect was not claimed in vain")
		for n := range uint64(20) {
			mine.done(n)
			theirs.done(n)
		}
		l.await(21)
	})
}

// Claims of two pools run side by side: see TestSuspectThatComesInCompanyIsGivenBack.
func TestASuspectThatComesBesideAnotherPoolsClaimIsGivenBack(t *testing.T) {
	for later := range 10 {
		inLab(t, 1, func(t *testing.T, l *lab) {
			b, other, g := l.budget(BudgetOptions{}), l.another(), newGate()
			l.rtt, other.rtt = 10*time.Millisecond, 10*time.Millisecond
			l.mu.Lock()
			l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
			l.mu.Unlock()
			other.enqueue(0, "fine", task(2), task(3))
			l.startCold(ExecutorOptions{Budget: b, Concurrency: 5, Handler: g.handle}) // its claim leaves permits
			l.pass(time.Duration(later) * time.Millisecond)
			other.startCold(ExecutorOptions{Budget: b, Handler: g.handle})
			l.until(time.Minute, "something runs", func() bool { now, _ := g.runs(); return now > 0 })
			l.pass(time.Second)
			alone, others := g.starts(1), g.starts(2)+g.starts(3)
			require.True(t, alone == 0 || others == 0, "%d and %d", alone, others)
			g.done(1, 2, 3)
			l.await(3)
		})
	}
}

// A suspect takes a permit like any task, and where its pool is paused nobody waits for it.
func TestASuspectThatCannotRunNow(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other, g := l.budget(BudgetOptions{Concurrency: 1}), l.another(), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		other.start(ExecutorOptions{Budget: b, Handler: g.handle})
		v := b.visit(l.Context())
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		e.claimer.wantAlone(0, time.Now())
		l.pass(time.Second)
		require.Zero(t, g.starts(1), "the guest has the permit")
		require.Zero(t, e.Stats().Claimed, "it is not claimed in vain")
		l.mu.Lock()
		l.conf.Paused = true
		l.publish(l.keys.configBell(l.pool), "")
		l.mu.Unlock()
		synctest.Wait()
		v.end()
		other.enqueue(0, "fine", task(2))
		synctest.Wait()
		require.Equal(t, 1, g.starts(2))
		require.Zero(t, g.starts(1))
		g.done(2)
		l.await(1)
	})
}

// An executor that stops neither holds the others up nor leaves anything behind.
func TestAnExecutorThatStopsLeavesTheBudgetToTheOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other, h := l.budget(BudgetOptions{Concurrency: 2}), l.another(), newGate()
		e := l.executor(l.T, ExecutorOptions{Budget: b, Deliver: l.book.deliver})
		require.NoError(t, e.Start(l.Context()))
		other.start(ExecutorOptions{Budget: b, Handler: h.handle})
		other.enqueue(0, "other", task(1))
		synctest.Wait()
		e.claimer.wantAlone(0, time.Now())
		other.enqueue(0, "other", task(2))
		synctest.Wait()
		require.Zero(t, h.starts(2), "claiming has stopped for a suspect")
		require.NoError(t, e.Stop(context.Background()))
		synctest.Wait()
		require.Equal(t, 1, h.starts(2))
		require.Len(t, b.claimers, 1)
		h.done(1, 2)
		l.await(2)
	})
}
