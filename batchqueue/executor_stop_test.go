package batchqueue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Convex 64 to 66: at stop, quick tasks finish and slow ones are released, without
// losing an attempt, and run elsewhere at once.
func TestStopFinishesQuickTasksAndReleasesSlowOnes(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle, DrainTimeout: 3 * time.Second})
		l.enqueue(0, "run", tasks(4)...)
		synctest.Wait()
		b := l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // by synctest's clock
			g.done(1, 2)
		}()
		began := time.Now()
		l.stop(a)
		require.InDelta(t, 3*time.Second, time.Since(began), float64(10*time.Millisecond))
		synctest.Wait()
		require.ErrorIs(t, g.cause(3), ErrStopping)
		require.Equal(t, 2, g.starts(3), "runs elsewhere at once")
		require.Equal(t, 1, g.delivery(3).Attempt, "no attempt is lost")
		require.Zero(t, l.claimsOf("a"))
		require.Equal(t, uint64(2), a.Stats().Settled)
		require.Equal(t, uint64(2), a.Stats().Released)
		g.done(3, 4)
		l.await(4)
		for n := range uint64(4) {
			require.Equal(t, KindCompleted, l.one("run", n+1).Kind)
			require.Equal(t, 1, l.one("run", n+1).Attempt)
		}
		require.Equal(t, uint64(2), b.Stats().Settled)
	})
}

// A stop without running handlers takes no time.
func TestStopOfAnIdleExecutorIsQuick(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		e := l.start(ExecutorOptions{})
		l.pass(time.Second)
		began := time.Now()
		l.stop(e)
		require.Zero(t, time.Since(began))
		l.mu.Lock()
		defer l.mu.Unlock()
		require.Empty(t, l.present_)
		require.Empty(t, l.listeners)
		for _, s := range l.slots {
			require.Empty(t, s.leases)
			require.Empty(t, s.permits)
			require.Empty(t, s.leader)
		}
	})
}

// Convex 67: nothing is claimed any more, while what runs may finish.
func TestStopClaimsNothingMore(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{Concurrency: 1, Handler: g.handle})
		l.enqueue(0, "run", tasks(2)...)
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- e.Stop(context.Background()) }()
		synctest.Wait()
		g.done(1)
		require.NoError(t, <-stopped)
		require.Zero(t, g.starts(2))
		require.Len(t, l.outcomes(0, "run"), 1, "recorded, for the next leader to deliver")
	})
}

// A task that may be attempted once only is not released: it would start twice.
func TestStopDoesNotReleaseWhatMayRunOnceOnly(t *testing.T) {
	for _, heedless := range []bool{false, true} {
		inLab(t, 1, func(t *testing.T, l *lab) {
			g := newGate()
			g.deaf = heedless
			e := l.start(ExecutorOptions{ID: "e", Handler: g.handle, DrainTimeout: time.Second})
			l.enqueue(0, "run", with(1, TaskOptions{Retry: once, Heartbeat: time.Hour}))
			synctest.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			err := e.Stop(ctx)
			out := l.outcomes(0, "run")
			require.Len(t, out, 1)
			if heedless {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "1 handlers ignore")
				require.Equal(t, KindHeartbeat, out[0].Kind)
				require.Equal(t, RetryMaximumAttempts, out[0].Retry)
				g.done(1)
			} else {
				require.NoError(t, err)
				require.Equal(t, KindFailed, out[0].Kind, "its handler's last word")
			}
			require.Equal(t, 1, g.starts(1))
			require.Zero(t, l.claimsOf("e"))
			synctest.Wait()
		})
	}
}

// The context of Stop ends the drain early, not the orderly end.
func TestStopWithAnEndedContextReleasesAtOnce(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle})
		l.enqueue(0, "run", tasks(3)...)
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		began := time.Now()
		_ = e.Stop(ctx)
		require.Less(t, time.Since(began), time.Second)
		require.Zero(t, l.claimsOf("e"))
	})
}

// Convex 68, 69: Redis is away while stopping. Stop ends all the same, in bounded time;
// what it held is reclaimed when Redis is back.
func TestStopWithoutRedisEnds(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		a := l.start(ExecutorOptions{ID: "a", Handler: g.handle, DrainTimeout: time.Second})
		l.enqueue(0, "run", tasks(3)...)
		synctest.Wait()
		down := &away{on: true}
		l.setFault(down.fault)
		g.done(1)
		began := time.Now()
		l.stop(a)
		require.LessOrEqual(t, time.Since(began), time.Second+2*fakeLease)
		require.Equal(t, 3, l.claimsOf("a"))
		down.set(false)
		l.start(ExecutorOptions{ID: "b", Handler: g.handle})
		g.done(1, 2, 3)
		took := l.until(time.Minute, "all outcomes", func() bool { return l.book.size() == 3 })
		require.LessOrEqual(t, took, 2*fakeLease+1200*time.Millisecond, "two leases and the retry interval")
	})
}

// A claim's reply that arrives while stopping is given back, not started.
func TestClaimThatArrivesWhileStoppingIsReleased(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{ID: "e", Handler: g.handle})
		l.pass(time.Second)
		l.mu.Lock()
		l.rtt = time.Second
		l.mu.Unlock()
		l.enqueue(0, "run", tasks(3)...)
		l.pass(700 * time.Millisecond)
		require.Equal(t, 3, l.claimsOf("e"))
		l.stop(e)
		require.Zero(t, l.claimsOf("e"))
		require.Zero(t, g.starts(1)+g.starts(2)+g.starts(3))
		require.Equal(t, uint64(3), e.Stats().Released)
	})
}

// What a claim brought whose reply was lost is released at stop as well.
func TestStopReleasesWhatItNeverSaw(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		e := l.start(ExecutorOptions{ID: "e"})
		l.pass(time.Second)
		l.setFault(func(op, _ string, _ int, after bool) error {
			if op == "claim" && after {
				return errAway
			}
			return nil
		})
		l.enqueue(0, "run", tasks(3)...)
		synctest.Wait()
		require.Equal(t, 3, l.claimsOf("e"))
		l.stop(e)
		require.Zero(t, l.claimsOf("e"))
		require.Equal(t, uint64(3), e.Stats().Released)
	})
}
