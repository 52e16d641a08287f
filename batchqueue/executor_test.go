package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOptionsNameTheFieldAndTheFix(t *testing.T) {
	good := ExecutorOptions{Pool: "p", Types: []string{"A"}, Handler: echo, Deliver: func(context.Context, *Batch) error { return nil }}
	for field, spoil := range map[string]func(*ExecutorOptions){
		"Pool":                               func(o *ExecutorOptions) { o.Pool = "" },
		"ID":                                 func(o *ExecutorOptions) { o.ID = "a:b" },
		"Types":                              func(o *ExecutorOptions) { o.Types = nil },
		"Types has":                          func(o *ExecutorOptions) { o.Types = []string{"A", ""} },
		"Concurrency":                        func(o *ExecutorOptions) { o.Concurrency = -1 },
		"Handler":                            func(o *ExecutorOptions) { o.Handler = nil },
		"Deliver":                            func(o *ExecutorOptions) { o.Deliver = nil },
		"DrainTimeout":                       func(o *ExecutorOptions) { o.DrainTimeout = -1 },
		"ClaimBytes":                         func(o *ExecutorOptions) { o.ClaimBytes = -1 },
		"RatePerSecond":                      func(o *ExecutorOptions) { o.RatePerSecond = math.NaN() },
		"RatePerSecond is 1 beside a Budget": func(o *ExecutorOptions) { o.RatePerSecond, o.Budget = 1, newBudget(1, 0) },
		"PoolRatePerSecond":                  func(o *ExecutorOptions) { o.PoolRatePerSecond = -1 },
	} {
		o := good
		spoil(&o)
		_, err := newExecutor(newFake(1).backend(""), o)
		require.ErrorIs(t, err, ErrInvalid, field)
		require.ErrorContains(t, err, "ExecutorOptions."+field)
		require.Regexp(t, "(: |, )(name|give|leave) ", err.Error())
	}
	e, err := newExecutor(newFake(1).backend(""), good)
	require.NoError(t, err)
	require.NotEmpty(t, e.ID())
	require.Equal(t, 1000, e.opts.Concurrency)
	require.Equal(t, 10*time.Second, e.opts.DrainTimeout)
	require.Equal(t, 8<<20, e.opts.ClaimBytes)
	require.Equal(t, e.ID(), e.opts.Worker)
}

// Convex 23: never more handlers than permits, over all slots, and all are used.
func TestNeverMoreHandlersThanPermits(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.rtt = time.Millisecond
		g := newGate()
		l.start(ExecutorOptions{Concurrency: 10, Handler: g.handle})
		for slot := range 4 {
			var ts []Task
			for i := range 25 {
				ts = append(ts, task(uint64(slot*25+i+1)))
			}
			l.enqueue(slot, "run", ts...)
		}
		l.pass(time.Second)
		now, _ := g.runs()
		require.Equal(t, 10, now, "all permits are used")
		for n := range uint64(100) {
			g.done(n + 1)
		}
		l.await(100)
		_, most := g.runs()
		require.Equal(t, 10, most)
		require.Zero(t, l.claimsOf("x"))
	})
}

// Convex 22: a slow task holds its own permit only.
func TestSlowTaskDoesNotHoldUpOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.start(ExecutorOptions{Concurrency: 2, Handler: g.handle})
		l.enqueue(0, "run", tasks(21)...)
		for n := uint64(2); n <= 21; n++ {
			g.done(n)
		}
		l.await(20)
		require.Equal(t, 1, g.starts(1))
		g.done(1)
		l.await(21)
	})
}

// Convex 21: a round that brings nothing does not end the claiming.
func TestWorkThatComesAfterAnEmptyRound(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{})
		l.pass(time.Minute)
		require.Positive(t, l.count("claim"))
		l.enqueue(1, "run", task(1))
		took := l.until(time.Second, "outcome", func() bool { return l.book.size() == 1 })
		require.Zero(t, took, "the bell needs no waiting")
	})
}

// Convex 24, 25: errors while claiming are waited out, with back-off.
func TestClaimErrorsAreTriedAgainWithBackOff(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		down := &away{on: true}
		l.start(ExecutorOptions{})
		l.setFault(func(op, x string, slot int, after bool) error {
			if op == "claim" {
				return down.fault(op, x, slot, after)
			}
			return nil
		})
		before := l.count("claim")
		l.enqueue(0, "run", task(1))
		l.pass(20 * time.Second)
		tries := l.count("claim") - before
		require.Less(t, tries, 25, "not hot")
		require.Greater(t, tries, 8, "not given up")
		down.set(false)
		took := l.until(3*time.Second, "outcome", func() bool { return l.book.size() == 1 })
		require.LessOrEqual(t, took, retryMost)
	})
}

// Convex 42 to 48: each result is reported once, as it is.
func TestResultsAreReportedOnceAndUnchanged(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		huge := make([]byte, 1<<21)
		results := map[uint64]Result{
			1: {Kind: KindCompleted, Payload: []byte(`{"nested":[1,{"a":null}]}`)},
			2: {Kind: KindCompleted},
			3: {Kind: KindCompleted, Payload: []byte{}},
			4: {Kind: KindFailed, NonRetryable: true, Payload: []byte("why")},
			5: {Kind: KindFailed, NonRetryable: true, Payload: huge},
			6: {Kind: KindCanceled, Payload: []byte("stopped")},
			7: {Kind: KindCompleted, Payload: huge},
		}
		l.start(ExecutorOptions{Worker: "worker", Handler: func(_ context.Context, d *Delivery) Result { return results[d.Number] }})
		l.enqueue(0, "run", tasks(7)...)
		l.await(7)
		for n, r := range results {
			o := l.one("run", n)
			require.Equal(t, r.Kind, o.Kind)
			require.Equal(t, r.Payload, o.Payload)
			require.Equal(t, "worker", o.Executor)
			require.Equal(t, 1, o.Attempt)
			require.Equal(t, 100+n, o.Fingerprint)
		}
		require.Equal(t, RetryNonRetryable, l.one("run", 4).Retry)
	})
}

func TestHandlerThatDoesNotSayHowItEndedHasFailed(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{Handler: func(context.Context, *Delivery) Result { return Result{} }})
		l.enqueue(0, "run", with(1, TaskOptions{Retry: RetryPolicy{MaximumAttempts: 2}}))
		l.await(1)
		o := l.one("run", 1)
		require.Equal(t, KindFailed, o.Kind)
		require.Equal(t, 2, o.Attempt)
	})
}

// Convex 35 to 41, 48: failures are retried by policy, and see what was before.
func TestFailedAttemptsAreRetriedByPolicy(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var at []time.Time
		var seen []Delivery
		l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
			at, seen = append(at, time.Now()), append(seen, *d)
			if d.Attempt < 4 {
				return Result{Kind: KindFailed, Payload: fmt.Appendf(nil, "failure %d", d.Attempt)}
			}
			return Result{Kind: KindCompleted}
		}})
		l.enqueue(0, "run", with(1, TaskOptions{Retry: RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 3, MaximumInterval: 500 * time.Millisecond}}))
		l.await(1)
		require.Equal(t, 4, l.one("run", 1).Attempt)
		for i, want := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond} {
			gap := at[i+1].Sub(at[i])
			require.GreaterOrEqual(t, gap, want)
			require.LessOrEqual(t, gap, want*11/10+time.Millisecond)
			require.Equal(t, fmt.Sprintf("failure %d", i+1), string(seen[i+1].LastFailure))
			require.Equal(t, seen[0].Payload, seen[i+1].Payload)
			require.Equal(t, seen[0].ScheduledAt, seen[i+1].ScheduledAt)
		}
	})
}

// The last heartbeat counts, also one without details.
func TestLastHeartbeatIsKept(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var seen []string
		l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
			seen = append(seen, string(d.Heartbeat))
			switch d.Attempt {
			case 1:
				d.RecordHeartbeat([]byte("one"))
				d.RecordHeartbeat([]byte("two"))
			case 3:
				d.RecordHeartbeat(nil)
			case 4:
				return Result{Kind: KindCompleted}
			}
			return Result{Kind: KindFailed}
		}})
		l.enqueue(0, "run", with(1, TaskOptions{Retry: RetryPolicy{InitialInterval: time.Millisecond}}))
		l.await(1)
		require.Equal(t, []string{"", "two", "two", ""}, seen)
	})
}

// What is known of an attempt that timed out is for the caller to say, and it is known to
// the next attempt and to the outcome.
func TestTimedOutAttemptLeavesAFailure(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var seen []string
		l.start(ExecutorOptions{
			Handler: func(ctx context.Context, d *Delivery) Result {
				seen = append(seen, string(d.LastFailure))
				<-ctx.Done()
				return Result{Kind: KindCompleted, Payload: []byte("too late")}
			},
			TimeoutFailure: func(d *Delivery, kind Kind) []byte { return fmt.Appendf(nil, "attempt %d: kind %d", d.Attempt, kind) },
		})
		l.enqueue(0, "run", with(1, TaskOptions{StartToClose: time.Second, Retry: RetryPolicy{MaximumAttempts: 2}}))
		l.await(1)
		failure := fmt.Sprintf("attempt 1: kind %d", KindStartToClose)
		require.Equal(t, []string{"", failure}, seen)
		require.Equal(t, KindStartToClose, l.one("run", 1).Kind)
		require.Equal(t, failure, string(l.one("run", 1).LastFailure))
	})
}

// A handler that asks for a delay frees its permit meanwhile.
func TestNextRetryDelayHoldsNoPermit(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{Concurrency: 1, Handler: func(_ context.Context, d *Delivery) Result {
			if d.Number == 1 && d.Attempt == 1 {
				return Result{Kind: KindFailed, NextRetryDelay: time.Minute}
			}
			return Result{Kind: KindCompleted}
		}})
		began := time.Now()
		l.enqueue(0, "run", tasks(3)...)
		l.await(2)
		require.Less(t, time.Since(began), time.Second)
		l.await(3)
		require.InDelta(t, time.Minute, time.Since(began), float64(10*time.Millisecond))
	})
}

// Convex 49, 50: reports survive errors, and are delivered once.
func TestSettlementsSurviveErrors(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("reply-lost-%v", after), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				var tries atomic.Int64
				l.setFault(func(op, _ string, _ int, at bool) error {
					if op == "settle" && at == after && tries.Add(1) <= 5 {
						return errAway
					}
					return nil
				})
				e := l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
					if d.Number == 2 && d.Attempt == 1 {
						return Result{Kind: KindFailed, Payload: []byte("once")}
					}
					return echo(context.Background(), d)
				}})
				l.enqueue(0, "run", tasks(3)...)
				l.await(3)
				for n := range uint64(3) {
					require.Equal(t, KindCompleted, l.one("run", n+1).Kind)
				}
				require.Equal(t, 2, l.one("run", 2).Attempt)
				require.Zero(t, e.Stats().Lost, "an echo of our own is no loss")
				require.Zero(t, e.Stats().Held)
			})
		})
	}
}

// Convex 51, 52: what Redis refuses for good holds up nothing else and is not dropped.
func TestRefusedSettlementHoldsUpNothingElse(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var refusing atomic.Bool
		refusing.Store(true)
		l.slow = map[string]time.Duration{"settle": 50 * time.Millisecond} // so that groups form
		e := l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
			return Result{Kind: KindCompleted, Payload: d.Payload}
		}})
		store := e.settler.store
		e.settler.store = &refusingStore{slotStore: store, refuse: func(s settlement) bool { return refusing.Load() && s.d.Number%10 == 3 }}
		l.enqueue(0, "run", tasks(50)...)
		l.await(45)
		l.pass(time.Minute)
		require.Equal(t, 5, e.Stats().Held, "their claims are kept")
		require.Equal(t, 45, l.book.size())
		l.enqueue(0, "other", tasks(2)...)
		l.await(47)
		refusing.Store(false)
		l.await(52)
		require.Equal(t, KindCompleted, l.one("run", 13).Kind)
	})
}

type refusingStore struct {
	slotStore
	refuse func(settlement) bool
}

func (r *refusingStore) settle(ctx context.Context, pool string, slot int, batch []settlement) ([]settleReply, error) {
	if slices.ContainsFunc(batch, r.refuse) {
		return nil, fmt.Errorf("settle: %w", errRefused)
	}
	return r.slotStore.settle(ctx, pool, slot, batch)
}

// Permits are free again before Redis has the result. Where it takes results slowly or
// not at all, nothing more is claimed.
func TestSettlementsThatQueueUpStopTheClaiming(t *testing.T) {
	for name, disturb := range map[string]func(l *lab){
		"slow": func(l *lab) { l.slow = map[string]time.Duration{"settle": 10 * time.Second} },
		"away": func(l *lab) {
			began := time.Now()
			l.fault = func(op, _ string, _ int, _ bool) error {
				if op == "settle" && time.Since(began) < time.Minute {
					return errAway
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				disturb(l)
				l.rtt = time.Millisecond
				e := l.start(ExecutorOptions{Concurrency: 100})
				l.pass(time.Second)
				l.enqueue(0, "run", tasks(10_000)...)
				held := 0
				for range 55 {
					l.pass(time.Second)
					held = max(held, e.Stats().Held)
				}
				if name == "away" {
					require.LessOrEqual(t, held, 5*100, "it noticed at once")
				}
				require.LessOrEqual(t, held, settleBacklog+settleFlights*settleCount+2*100)
				l.await(10_000)
			})
		})
	}
}

// No type is always the last to be looked at.
func TestTypesTakeTurns(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{Types: []string{"C", "A", "B"}})
		l.pass(time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		require.Greater(t, l.firstTypes["A"], 1)
		require.Greater(t, l.firstTypes["B"], 1)
		require.Greater(t, l.firstTypes["C"], 1)
	})
}

// Convex 53: while a report is under way, what finishes meanwhile goes with the next.
func TestSlowReportIsNotRepeatedByTheNext(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = 200 * time.Millisecond
		e := l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
			time.Sleep(time.Duration(d.Number) * time.Millisecond) //nolint:forbidigo // by synctest's clock
			return echo(context.Background(), d)
		}})
		l.pass(2 * time.Second)
		l.enqueue(0, "run", tasks(300)...)
		l.await(300)
		for n := range uint64(300) {
			l.one("run", n+1)
		}
		l.pass(time.Second)
		require.Equal(t, uint64(300), e.Stats().Settled)
		require.Zero(t, e.Stats().Lost)
		require.Less(t, l.count("settle"), 20, "they went in groups")
	})
}

// Convex 72, 73: tasks of the future are waited for, not polled.
func TestDelayedTasksAreNotPolled(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
			if d.Attempt == 1 {
				return Result{Kind: KindFailed, NextRetryDelay: time.Hour}
			}
			return Result{Kind: KindCompleted}
		}})
		l.enqueue(0, "run", task(1))
		l.pass(time.Second)
		claims, dues := l.count("claim"), l.count("due")
		l.pass(50 * time.Minute)
		require.LessOrEqual(t, l.count("claim")-claims, 50*60/7, "a sweep each 10 s")
		require.LessOrEqual(t, l.count("due")-dues, 50*60/5+1)
		require.Zero(t, l.book.size())
		l.await(1)
	})
}

// targets.md: an idle executor asks Redis less than five times a second per slot.
func TestIdleExecutorIsQuiet(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{})
		l.pass(time.Minute)
		before := l.countAll()
		l.pass(10 * time.Minute)
		perSecond := float64(l.countAll()-before) / 600 / 4
		t.Logf("%.2f calls a second and slot", perSecond)
		require.Less(t, perSecond, 2.0)
	})
}

func TestStartNeedsNoRedis(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		down := &away{on: true}
		l.setFault(down.fault)
		l.startCold(ExecutorOptions{})
		l.enqueue(1, "run", task(1))
		l.pass(time.Minute)
		require.Zero(t, l.book.size())
		require.Less(t, l.count("config"), 70, "not hot")
		down.set(false)
		took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
		require.LessOrEqual(t, took, fakeLease/3+time.Second)
	})
}

func TestStartAndStopTwice(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		e := l.executor(l.T, ExecutorOptions{})
		require.NoError(t, e.Start(l.Context()))
		require.Error(t, e.Start(l.Context()))
		require.NoError(t, e.Stop(context.Background()))
		require.NoError(t, e.Stop(context.Background()))
		require.Error(t, e.Start(l.Context()))

		never := l.executor(l.T, ExecutorOptions{})
		require.NoError(t, never.Stop(context.Background()))
		require.Error(t, never.Start(l.Context()))
	})
}

// A configuration that changes while the executor runs takes effect at once.
func TestConfigurationChangesLive(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{Concurrency: 2, Handler: g.handle})
		set := func(c PoolConfig) {
			l.mu.Lock()
			l.conf = c.withDefaults()
			l.publish(l.keys.configBell(l.pool), "")
			l.mu.Unlock()
			synctest.Wait()
		}
		l.enqueue(0, "run", tasks(20)...)
		synctest.Wait()
		now, _ := g.runs()
		require.Equal(t, 2, now)

		set(PoolConfig{Slots: 1, Concurrency: 5})
		now, _ = g.runs()
		require.Equal(t, 5, now)

		set(PoolConfig{Slots: 1, Paused: true})
		g.done(1, 2, 3, 4, 5)
		l.await(5)
		l.pass(time.Minute)
		now, _ = g.runs()
		require.Zero(t, now, "paused")

		set(PoolConfig{Slots: 1})
		now, _ = g.runs()
		require.Equal(t, 2, now)

		set(PoolConfig{Slots: 3})
		for n := range uint64(20) {
			g.done(n + 1)
		}
		l.enqueue(2, "other", task(1))
		l.await(21)
		require.Equal(t, []int{0, 1, 2}, e.Stats().Homes)
		require.Equal(t, []int{0, 1, 2}, e.Stats().Leads)
	})
}

func TestRates(t *testing.T) {
	for name, set := range map[string]func(*fakeRedis, *ExecutorOptions){
		"executor": func(_ *fakeRedis, o *ExecutorOptions) { o.RatePerSecond = 10 },
		"pool":     func(f *fakeRedis, _ *ExecutorOptions) { f.conf.RatePerSecond = 10 },
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 2, func(t *testing.T, l *lab) {
				o := ExecutorOptions{}
				set(l.fakeRedis, &o)
				l.start(o)
				began := time.Now()
				for slot := range 2 {
					l.enqueue(slot, fmt.Sprint("run", slot), tasks(50)...)
				}
				l.await(100)
				require.InDelta(t, 9.5, time.Since(began).Seconds(), 1.5, "100 at 10 a second, of which 10 at once")
			})
		})
	}
}

// An outbox that nobody empties stops the claiming, and only that.
func TestFullOutboxPausesClaiming(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.conf.OutboxLimit = 10
		l.rtt = 10 * time.Millisecond
		failing := true
		l.book.answer = func(*Batch) error {
			if failing {
				return errors.New("temporal is away")
			}
			return nil
		}
		l.start(ExecutorOptions{Concurrency: 5})
		l.enqueue(0, "run", tasks(100)...)
		l.pass(10 * time.Second)
		require.Less(t, len(l.outcomes(0, "run")), 10+4*5, "what was under way when it filled up comes on top")
		before := l.count("claim")
		l.pass(10 * time.Second)
		require.LessOrEqual(t, l.count("claim")-before, 60, "not hot")
		failing = false
		l.await(100)
	})
}
