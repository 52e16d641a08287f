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
