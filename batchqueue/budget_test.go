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
