package workflow_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// once makes one call with the given options and reports when and how it ended.
func once(o sdkworkflow.ActivityOptions) func(sdkworkflow.Context) (string, error) {
	if o.StartToCloseTimeout == 0 {
		o.StartToCloseTimeout = time.Hour
	}
	return func(ctx sdkworkflow.Context) (string, error) {
		var s string
		err := sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, o), "Echo", "a").Get(ctx, &s)
		return s, err
	}
}

// askTimes are when the queue was asked, in the run's time.
func (b *bench) askTimes() []time.Duration {
	var times []time.Duration
	for _, at := range b.queue.askedAt {
		times = append(times, at.Sub(b.queue.start).Truncate(time.Second))
	}
	return times
}

func TestAsksAtGrowingIntervals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.after(29*time.Minute, func() { b.signal(b.queue.done(1, "at last")) })
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "at last", got)
	s, m := time.Second, time.Minute
	require.Equal(t, []time.Duration{
		15 * s, 45 * s, 105 * s, 225 * s, 465 * s, 765 * s, 765*s + 5*m, 765*s + 10*m, 765*s + 15*m,
	}, b.askTimes())
	require.Equal(t, wire.OpenCall{Identity: b.queue.identity(1), Address: wire.Address{Pool: pool, Slot: 3}, Type: "Echo"}, b.queue.asks[0].Open[0])
	for i, ask := range b.queue.asks {
		require.Equal(t, i+1, ask.Round)
	}
}

// Somebody must look when ScheduleToStart has passed: no executor may be alive to do so.
func TestAsksOnceScheduleToStartHasPassed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.after(50*time.Second, func() { b.signal(b.queue.done(1, "at last")) })
	_, err := b.run(once(sdkworkflow.ActivityOptions{ScheduleToStartTimeout: 5 * time.Second, StartToCloseTimeout: time.Hour}))
	require.NoError(t, err)
	require.Equal(t, 6*time.Second, b.askTimes()[0])
	require.Len(t, b.queue.asks, 2, "then at regular times: the call may have started")
}

func TestNoAskWithoutOpenCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.after(time.Second, func() { b.signal(b.queue.done(1, "one")) })
	b.after(11*time.Minute, func() { b.signal(b.queue.done(2, "two")) })
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		f := once(sdkworkflow.ActivityOptions{})
		if _, err := f(ctx); err != nil {
			return "", err
		}
		if err := sdkworkflow.Sleep(ctx, 10*time.Minute); err != nil {
			return "", err
		}
		return f(ctx)
	})
	require.NoError(t, err)
	require.Equal(t, []time.Duration{10*time.Minute + 16*time.Second, 10*time.Minute + 46*time.Second}, b.askTimes(),
		"the intervals begin anew with a new wave")
}

func TestPulledOutcomesSettle(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(14*time.Second, func() { b.queue.taken = []wire.Outcome{b.queue.done(1, "pulled")} })
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "pulled", got)
}

func gone(*wire.Ask, *wire.OpenCall) (wire.Answer, bool) {
	return wire.Answer{State: wire.StateNotHere}, true
}

func TestGoneTwiceIsAddedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tick()
	b.queue.clock = b.Now
	b.queue.found = gone
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		if w.Again {
			return echo(c)
		}
		return wire.Answer{State: wire.StateQueued}
	}
	got, err := b.run(once(sdkworkflow.ActivityOptions{ScheduleToCloseTimeout: time.Hour}))
	require.NoError(t, err)
	require.Equal(t, "a", got)
	require.Equal(t, []time.Duration{15 * time.Second, 17 * time.Second}, b.askTimes())
	require.Len(t, b.queue.waves, 2)
	first, again := b.queue.waves[0], b.queue.waves[1]
	require.False(t, first.Again)
	require.True(t, again.Again)
	require.Equal(t, first.First, again.First)
	require.Zero(t, first.Calls[0].Fingerprint)
	require.Equal(t, b.queue.identity(1).Fingerprint, again.Calls[0].Fingerprint)
	require.Equal(t, first.Calls[0].Input.GetPayloads(), again.Calls[0].Input.GetPayloads())
	require.Equal(t, time.Hour, first.Calls[0].Options.ScheduleToClose)
	require.InDelta(t, float64(time.Hour-17*time.Second), float64(again.Calls[0].Options.ScheduleToClose), float64(time.Second),
		"the deadline stays where it was")
}

// One miss may be an outcome that Temporal has taken and history will show.
func TestGoneOnceIsNotAddedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tick()
	b.queue.found = func(ask *wire.Ask, _ *wire.OpenCall) (wire.Answer, bool) {
		return wire.Answer{State: wire.StateNotHere}, ask.Round%2 == 1
	}
	b.after(5*time.Minute, func() { b.signal(b.queue.done(1, "signalled")) })
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "signalled", got)
	require.Len(t, b.queue.waves, 1)
	require.Greater(t, len(b.queue.asks), 3)
}

// Two asks in one workflow task prove nothing: what Temporal took meanwhile is not in
// the history that both have seen.
func TestGoneTwiceInOneWorkflowTaskIsNotAddedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t) // no tick: the history does not grow
	b.queue.found = gone
	b.RegisterDelayedCallback(func() { b.signal(b.queue.done(1, "signalled")) }, time.Minute)
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "signalled", got)
	require.Len(t, b.queue.waves, 1)
}

// With one attempt a call that may have started is never started again.
func TestMaximumAttemptsOneIsNeverAddedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		heartbeat time.Duration
		lost      bool // the answer of its dispatch, too
		want      enumspb.TimeoutType
	}{
		"plain":           {want: enumspb.TIMEOUT_TYPE_START_TO_CLOSE},
		"with heartbeats": {heartbeat: time.Minute, want: enumspb.TIMEOUT_TYPE_HEARTBEAT},
		"lost dispatch":   {lost: true, want: enumspb.TIMEOUT_TYPE_START_TO_CLOSE},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.tick()
			b.queue.found = gone
			if tt.lost {
				b.queue.err = func(*wire.Wave) error { return errors.New("the answer is lost") }
			}
			_, err := b.run(once(sdkworkflow.ActivityOptions{
				HeartbeatTimeout: tt.heartbeat, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
			}))
			var activityErr *temporal.ActivityError
			require.ErrorAs(t, err, &activityErr)
			require.Equal(t, enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED, activityErr.RetryState())
			var timeout *temporal.TimeoutError
			require.ErrorAs(t, err, &timeout)
			require.Equal(t, tt.want, timeout.TimeoutType())
			require.Len(t, b.queue.waves, 1)
		})
	}
}

// A dispatch that ends in an error: nothing is known, so nothing is run plainly or added
// again before an ask has found out.
func TestLostDispatch(t *testing.T) {
	t.Parallel()
	lost := errors.New("the answer is lost")

	t.Run("the queue has it", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.tick()
		b.queue.clock = b.Now
		b.queue.err = func(*wire.Wave) error { return lost }
		b.after(10*time.Second, func() { b.signal(b.queue.done(1, "signalled")) })
		got, err := b.run(once(sdkworkflow.ActivityOptions{}))
		require.NoError(t, err)
		require.Equal(t, "signalled", got)
		require.Equal(t, []time.Duration{2 * time.Second}, b.askTimes())
		require.NotNil(t, b.queue.asks[0].Open[0].Call)
		require.Empty(t, b.queue.asks[0].Open[0].Pool)
		require.Len(t, b.queue.waves, 1)
	})
	t.Run("its outcome was here before", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.queue.err = func(*wire.Wave) error { return lost }
		b.after(time.Second, func() { b.signal(b.queue.done(1, "before the ask")) })
		got, err := b.run(once(sdkworkflow.ActivityOptions{}))
		require.NoError(t, err)
		require.Equal(t, "before the ask", got)
		require.Len(t, b.queue.asks, 1)
	})
	t.Run("the queue has it not", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.tick()
		b.queue.found = gone
		b.queue.err = func(w *wire.Wave) error {
			if w.Again {
				return nil
			}
			return lost
		}
		b.queue.answer = echo
		got, err := b.run(once(sdkworkflow.ActivityOptions{}))
		require.NoError(t, err)
		require.Equal(t, "a", got)
		require.Len(t, b.queue.waves, 2)
	})
	t.Run("nobody answers", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.tick()
		b.queue.clock = b.Now
		b.queue.err = func(*wire.Wave) error { return lost }
		b.queue.found = func(ask *wire.Ask, _ *wire.OpenCall) (wire.Answer, bool) {
			if ask.Round < 4 {
				return wire.Answer{State: wire.StateUnsure}, true
			}
			return wire.Answer{State: wire.StateQueued}, true
		}
		b.after(3*time.Minute, func() { b.signal(b.queue.done(1, "signalled")) })
		got, err := b.run(once(sdkworkflow.ActivityOptions{}))
		require.NoError(t, err)
		require.Equal(t, "signalled", got)
		require.Equal(t, []time.Duration{2 * time.Second, 17 * time.Second, 47 * time.Second, 107 * time.Second}, b.askTimes())
	})
}

// A call that waited was certainly in no queue; once a repeated dispatch is lost, it is
// not certain any more, and a call with one attempt must not be sent a third time.
func TestLostDispatchOfAWaitingCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tick()
	b.queue.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateWaiting} }
	b.queue.err = func(w *wire.Wave) error {
		if w.Again {
			return errors.New("the answer is lost")
		}
		return nil
	}
	b.queue.found = gone
	_, err := b.run(once(sdkworkflow.ActivityOptions{RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}}))
	var timeout *temporal.TimeoutError
	require.ErrorAs(t, err, &timeout)
	require.Len(t, b.queue.waves, 2)
	require.Len(t, b.queue.asks, 2)
	require.Equal(t, b.queue.identity(1).Fingerprint, b.queue.asks[0].Open[0].Call.Fingerprint)
}

// An answer "unsure" knows identity and address, but is asked for soon too.
func TestUnsureAnswerIsAskedForSoon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.queue.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateUnsure} }
	b.after(time.Minute, func() { b.signal(b.queue.done(1, "signalled")) })
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "signalled", got)
	require.Equal(t, []time.Duration{2 * time.Second, 17 * time.Second, 47 * time.Second}, b.askTimes())
	require.Nil(t, b.queue.asks[0].Open[0].Call)
	require.Equal(t, b.queue.identity(1), b.queue.asks[0].Open[0].Identity)
}

// Asks that fail are repeated at the regular times.
func TestFailedAsks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.queue.askErr = errors.New("redis is away")
	b.after(2*time.Minute, func() { b.signal(b.queue.done(1, "signalled")) })
	got, err := b.run(once(sdkworkflow.ActivityOptions{}))
	require.NoError(t, err)
	require.Equal(t, "signalled", got)
	require.Equal(t, []time.Duration{15 * time.Second, 45 * time.Second, 105 * time.Second}, b.askTimes())
}

// The queue ends calls at their deadline; the run does, where there is no queue left.
func TestDeadlineIsTheBackstop(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*queue){
		"asks fail":       func(q *queue) { q.askErr = errors.New("redis is away") },
		"nobody is alive": func(*queue) {},
		"dispatch lost":   func(q *queue) { q.err = func(*wire.Wave) error { return errors.New("lost") } },
		"waiting": func(q *queue) {
			q.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateWaiting} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.tick()
			b.queue.clock = b.Now
			prepare(b.queue)
			var ended time.Duration
			_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				start := sdkworkflow.Now(ctx)
				s, err := once(sdkworkflow.ActivityOptions{ScheduleToCloseTimeout: 10 * time.Second})(ctx)
				ended = sdkworkflow.Now(ctx).Sub(start)
				return s, err
			})
			var timeout *temporal.TimeoutError
			require.ErrorAs(t, err, &timeout)
			require.Equal(t, enumspb.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, timeout.TimeoutType())
			require.InDelta(t, 11, ended.Seconds(), 0.5)
		})
	}
}

// A deadline that is nearer than the timer that runs gets a timer of its own.
func TestNearDeadlineRingsFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.clock = b.Now
	b.after(time.Hour, func() { b.signal(b.queue.done(1, "slow")) })
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		slow := sdkworkflow.ExecuteActivity(sdkworkflow.WithStartToCloseTimeout(ctx, 2*time.Hour), "Echo", "slow")
		if err := sdkworkflow.Sleep(ctx, 31*time.Minute); err != nil {
			return "", err
		}
		_, err := once(sdkworkflow.ActivityOptions{ScheduleToCloseTimeout: 3 * time.Second})(ctx)
		if _, ok := errors.AsType[*temporal.TimeoutError](err); !ok {
			return "", err
		}
		if waited := sdkworkflow.Now(ctx).Sub(b.queue.start) - 31*time.Minute; waited > 5*time.Second {
			return "too late: " + waited.String(), nil
		}
		var s string
		err = slow.Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "slow", got)
}

// The intervals begin anew when something is not as it should be, and when all calls
// have ended.
func TestIntervalsBeginAnew(t *testing.T) {
	t.Parallel()
	s, m := time.Second, time.Minute
	t.Run("after a lost dispatch", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.queue.clock = b.Now
		b.queue.err = func(w *wire.Wave) error {
			if w.First == 2 {
				return errors.New("lost")
			}
			return nil
		}
		b.after(31*time.Minute, func() { b.signal(b.queue.done(1, "one"), b.queue.done(2, "two")) })
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			one := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "one")
			if err := sdkworkflow.Sleep(ctx, 30*time.Minute); err != nil {
				return "", err
			}
			two := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "two")
			return "", errors.Join(one.Get(ctx, nil), two.Get(ctx, nil))
		})
		require.NoError(t, err)
		times := b.askTimes()
		require.Equal(t, []time.Duration{30*m + 2*s, 30*m + 17*s, 30*m + 47*s}, times[len(times)-3:])
	})
	t.Run("after all have ended", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.queue.clock = b.Now
		b.after(2*time.Minute, func() { b.signal(b.queue.done(1, "one")) })
		b.after(11*time.Minute, func() { b.signal(b.queue.done(2, "two")) })
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			if _, err := echoOnce(ctx); err != nil {
				return "", err
			}
			if err := sdkworkflow.Sleep(ctx, 8*time.Minute); err != nil {
				return "", err
			}
			return echoOnce(ctx)
		})
		require.NoError(t, err)
		require.Equal(t, []time.Duration{15 * s, 45 * s, 105 * s, 10*m + 15*s, 10*m + 45*s}, b.askTimes())
	})
}

// Asks may follow on each other for other reasons; two misses must lie apart.
func TestGoneTwiceTooSoonIsNotAddedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tick()
	b.queue.clock = b.Now
	b.queue.found = func(_ *wire.Ask, c *wire.OpenCall) (wire.Answer, bool) {
		return wire.Answer{State: wire.StateNotHere}, c.Number == 2
	}
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		if w.Again {
			return echo(c)
		}
		return wire.Answer{State: wire.StateQueued}
	}
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		// Its deadline rings one second after the first ask.
		sdkworkflow.ExecuteActivity(sdkworkflow.WithScheduleToCloseTimeout(ctx, 15*time.Second), "Echo", "deadline")
		return echoOnce(ctx)
	})
	require.NoError(t, err)
	times := b.askTimes()
	require.Equal(t, []time.Duration{15 * time.Second, 16 * time.Second}, times[:2])
	require.Len(t, times, 3)
	require.GreaterOrEqual(t, times[2], 17*time.Second)
}
