package batchqueue

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var once = RetryPolicy{MaximumAttempts: 1}

// A passed StartToClose is reported at once, even if the handler ignores its context; its
// permit stays taken until it returns.
func TestStartToCloseIsReportedThoughTheHandlerIgnoresIt(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		g.deaf = true
		e := l.start(ExecutorOptions{Concurrency: 1, Handler: g.handle})
		l.enqueue(0, "run", with(1, TaskOptions{StartToClose: 3 * time.Second, Retry: once}), task(2))
		took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
		require.InDelta(t, 3*time.Second, took, float64(5*time.Millisecond))
		o := l.one("run", 1)
		require.Equal(t, KindStartToClose, o.Kind)
		require.Equal(t, RetryMaximumAttempts, o.Retry)
		l.pass(time.Minute)
		require.Zero(t, g.starts(2), "the permit is taken")
		require.Equal(t, 1, e.Stats().Running)
		g.done(1)
		synctest.Wait()
		require.Equal(t, 1, g.starts(2))
		g.done(2)
		l.await(2)
		require.Equal(t, KindStartToClose, l.one("run", 1).Kind, "what it returned is dropped")
		require.Zero(t, e.Stats().Lost, "without asking Redis")
	})
}

func TestStartToCloseIsRetriedAndEndsTheContext(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", with(1, TaskOptions{StartToClose: time.Second, Retry: RetryPolicy{InitialInterval: time.Second, MaximumAttempts: 3}}))
		l.until(time.Minute, "second attempt", func() bool { return g.starts(1) == 2 })
		require.ErrorIs(t, g.cause(1), context.DeadlineExceeded)
		g.done(1)
		l.await(1)
		require.Equal(t, 2, l.one("run", 1).Attempt)
		require.Equal(t, KindCompleted, l.one("run", 1).Kind)
	})
}

// Time-outs are durations. Clocks of executor and Redis may differ by hours.
func TestScheduleToCloseIgnoresTheDifferenceOfClocks(t *testing.T) {
	for _, ahead := range []time.Duration{0, 5 * time.Hour, -5 * time.Hour} {
		inLab(t, 1, func(t *testing.T, l *lab) {
			l.ahead = ahead
			l.conf.Paused = true
			g := newGate()
			l.start(ExecutorOptions{Handler: g.handle})
			l.enqueue(0, "run", with(1, TaskOptions{ScheduleToClose: 30 * time.Second, StartToClose: time.Minute}))
			l.pass(20 * time.Second)
			l.mu.Lock()
			l.conf.Paused = false
			l.mu.Unlock()
			took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
			require.InDelta(t, 10*time.Second, took, float64(10*time.Millisecond))
			o := l.one("run", 1)
			require.Equal(t, KindScheduleToClose, o.Kind)
			require.Equal(t, RetryTimeout, o.Retry)
			require.Equal(t, 1, g.starts(1))
		})
	}
}

// No attempt is started that ScheduleToClose leaves no time to wait for.
func TestRetryBeyondScheduleToCloseIsFinal(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{Handler: func(context.Context, *Delivery) Result {
			return Result{Kind: KindFailed, Payload: []byte("why")}
		}})
		l.enqueue(0, "run", with(1, TaskOptions{ScheduleToClose: 10 * time.Second, Retry: RetryPolicy{InitialInterval: 4 * time.Second}}))
		l.await(1)
		o := l.one("run", 1)
		require.Equal(t, KindFailed, o.Kind, "a failure stays a failure")
		require.Equal(t, RetryTimeout, o.Retry)
		require.Equal(t, 2, o.Attempt)
		require.Equal(t, "why", string(o.Payload))
	})
}

func TestHeartbeatTimeOut(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", with(1, TaskOptions{Heartbeat: 2 * time.Second, Retry: once}))
		synctest.Wait()
		for i := range 10 {
			l.pass(1900 * time.Millisecond)
			g.delivery(1).RecordHeartbeat([]byte{byte(i)})
		}
		require.Zero(t, l.book.size(), "each sign of life counts")
		took := l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 })
		require.InDelta(t, 2*time.Second, took, float64(5*time.Millisecond))
		o := l.one("run", 1)
		require.Equal(t, KindHeartbeat, o.Kind)
		require.Equal(t, []byte{9}, o.Details)
		require.ErrorIs(t, g.cause(1), ErrLeaseLost)
	})
}

// Details reach Redis with the lease, so that they survive the executor, and the next
// attempt sees them.
func TestHeartbeatDetailsTravelWithTheLease(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.start(ExecutorOptions{ID: "e", Handler: g.handle})
		l.enqueue(0, "run", with(1, TaskOptions{Heartbeat: time.Minute}))
		synctest.Wait()
		d := g.delivery(1)
		before := l.count("extend")
		for i := range 1000 {
			d.RecordHeartbeat([]byte{byte(i), byte(i >> 8)})
		}
		l.pass(fakeLease)
		require.LessOrEqual(t, l.count("extend")-before, 4, "a heartbeat costs no call")
		l.mu.Lock()
		require.Equal(t, []byte{0xe7, 3}, l.slot(0).heartbeats[d.ref()])
		l.mu.Unlock()
		g.open(1, Result{Kind: KindFailed})
		l.until(time.Minute, "second attempt", func() bool { return g.starts(1) == 2 })
		require.Equal(t, []byte{0xe7, 3}, g.delivery(1).Heartbeat)
		g.done(1)
		l.await(1)
	})
}

// A handler that ends its goroutine leaves its permit free and its task to the time-out.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var inside atomic.Int64
		observer := Observer{
			Started:  func(*Delivery) { inside.Add(1) },
			Returned: func(*Delivery, Result, time.Duration) { inside.Add(-1) },
		}
		e := l.start(ExecutorOptions{Concurrency: 1, Observer: observer, Handler: func(ctx context.Context, d *Delivery) Result {
			if d.Number == 1 {
				runtime.Goexit()
			}
			return echo(ctx, d)
		}})
		l.enqueue(0, "run", with(1, TaskOptions{StartToClose: time.Minute, Retry: once}), task(2))
		took := l.until(time.Minute, "the next task runs", func() bool { return l.book.size() == 1 })
		require.Zero(t, took)
		require.Zero(t, e.Stats().Running)
		l.await(2)
		require.Zero(t, inside.Load(), "the observer hears of the end of both")
		require.Equal(t, KindStartToClose, l.one("run", 1).Kind)
	})
}

func TestManyAlarmsNeedOneTimer(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		const n = 5000
		g := newGate()
		l.start(ExecutorOptions{Concurrency: n, Handler: g.handle})
		ts := make([]Task, n)
		for i := range ts {
			ts[i] = with(uint64(i+1), TaskOptions{StartToClose: time.Duration(n-i) * time.Millisecond, Retry: once})
		}
		l.enqueue(0, "run", ts...)
		took := l.until(time.Minute, "all time out", func() bool { return l.book.size() == n })
		require.InDelta(t, n*time.Millisecond, took, float64(10*time.Millisecond))
	})
}

func TestRunningTaskIsCanceledPromptly(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = 2 * time.Millisecond
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", task(1), task(2))
		l.until(time.Second, "both run", func() bool { return g.starts(1)+g.starts(2) == 2 })
		l.cancel(0, "run", 1)
		l.until(20*time.Millisecond, "its context ends", func() bool { return g.cause(1) != nil })
		require.ErrorIs(t, g.cause(1), ErrCanceled)
		l.await(1)
		o := l.one("run", 1)
		require.Equal(t, KindFailed, o.Kind, "the handler chose to fail")
		require.Equal(t, RetryCancelRequested, o.Retry, "but is not retried")
		require.NoError(t, g.cause(2))
		g.done(2)
		l.await(2)
	})
}

// The request may come before the reply of the claim it is about.
func TestCancelThatOvertakesTheClaim(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = 200 * time.Millisecond
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle})
		l.pass(2 * time.Second)
		l.enqueue(0, "run", task(1))
		l.pass(150 * time.Millisecond) // claimed in Redis, not known here
		require.Zero(t, g.starts(1))
		l.cancel(0, "run", 1)
		l.until(200*time.Millisecond, "its context ends", func() bool { return g.cause(1) != nil })
		require.ErrorIs(t, g.cause(1), ErrCanceled)
	})
}

// A bell that was not heard is made good by the next extension.
func TestMissedCancelComesWithTheLease(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", task(1))
		synctest.Wait()
		require.NoError(t, e.bells.close())
		l.cancel(0, "run", 1)
		took := l.until(time.Minute, "its context ends", func() bool { return g.cause(1) != nil })
		require.LessOrEqual(t, took, fakeLease/3+time.Millisecond)
	})
}

func TestHandlerContextCarriesTheStartContextsValues(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		type key struct{}
		var got any
		var deadline time.Time
		began := time.Now()
		e := l.executor(l.T, ExecutorOptions{Deliver: l.book.deliver, Handler: func(ctx context.Context, d *Delivery) Result {
			got = ctx.Value(key{})
			deadline, _ = ctx.Deadline()
			return echo(ctx, d)
		}})
		ctx, cancel := context.WithCancel(context.WithValue(l.Context(), key{}, 17))
		require.NoError(t, e.Start(ctx))
		cancel()
		l.enqueue(0, "run", with(1, TaskOptions{StartToClose: time.Minute}))
		l.await(1)
		require.Equal(t, 17, got)
		require.WithinDuration(t, began.Add(time.Minute), deadline, 2*time.Second)
		l.stop(e)
	})
}
