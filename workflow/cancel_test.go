package workflow_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func cancellable(ctx sdkworkflow.Context, wait bool) (sdkworkflow.Context, sdkworkflow.CancelFunc) {
	return sdkworkflow.WithCancel(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
		StartToCloseTimeout: time.Minute, WaitForCancellation: wait,
	}))
}

// kind says what a future gave: a result, the SDK's bare canceled error, or an activity
// error around it.
func kind(ctx sdkworkflow.Context, f sdkworkflow.Future) string {
	var s string
	err := f.Get(ctx, &s)
	var activityErr *temporal.ActivityError
	switch {
	case err == nil:
		return s
	case errors.Is(err, sdkworkflow.ErrCanceled):
		return "canceled"
	case errors.As(err, &activityErr) && temporal.IsCanceledError(err):
		return "activity canceled"
	default:
		return err.Error()
	}
}

func TestCancelBeforeTheWaveLeaves(t *testing.T) {
	t.Parallel()
	for wait, want := range map[bool]string{
		false: "canceled two canceled true",
		// As from the server: not within the cancel, and as an error of the activity.
		true: "activity canceled two activity canceled false",
	} {
		b := newBench(t)
		b.queue.answer = echo
		got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			cctx, cancel := cancellable(ctx, wait)
			one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
			two := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "two")
			cancel()
			three := sdkworkflow.ExecuteActivity(cctx, "Echo", "made canceled")
			ready := three.IsReady()
			result := fmt.Sprint(kind(ctx, one), " ", kind(ctx, two), " ", kind(ctx, three), " ", ready)
			return result, sdkworkflow.Sleep(ctx, time.Minute) // whatever was started is done by then
		})
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, [][]uint64{{2}}, b.queue.numbers())
		require.Empty(t, b.queue.canceled, "nothing was enqueued, so nothing is sent")
	}
}

func TestCancelOfAnEmptyWaveSendsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		cancel()
		canceled, ok := errors.AsType[*temporal.CanceledError](one.Get(ctx, nil))
		if !ok {
			return "", errors.New("not canceled")
		}
		var details string
		if err := canceled.Details(&details); err != nil {
			return "", err
		}
		return kind(ctx, one) + ": " + details, sdkworkflow.Sleep(ctx, time.Second)
	})
	require.NoError(t, err)
	require.Equal(t, "activity canceled: ACTIVITY_ID_NOT_STARTED", got)
	require.Empty(t, b.queue.waves)
	require.Empty(t, b.queue.canceled)
}

func TestCancelOfQueuedCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(10*time.Second, func() {
		o := b.queue.done(1, "late result of a call that nobody waits for")
		b.signal(o)
	})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		two := sdkworkflow.ExecuteActivity(sdkworkflow.WithValue(cctx, "k", "v"), "Echo", "two")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		result := kind(ctx, one) + ", " + kind(ctx, two)
		return result, sdkworkflow.Sleep(ctx, time.Minute)
	})
	require.NoError(t, err)
	require.Equal(t, "canceled, canceled", got)
	require.Len(t, b.queue.canceled, 1, "the requests of one workflow task share one local activity")
	calls := b.queue.canceled[0].Calls
	require.Len(t, calls, 2)
	require.Equal(t, b.queue.identity(1), calls[0].Identity)
	require.Equal(t, wire.Address{Pool: pool, Slot: 3}, calls[0].Address)
	require.Equal(t, b.queue.identity(2), calls[1].Identity)
}

func TestCancelThatWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(10*time.Second, func() {
		b.signal(wire.Outcome{Identity: b.queue.identity(1), Kind: wire.KindCanceled, Attempt: 1},
			b.queue.done(2, "completed all the same"))
	})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		two := sdkworkflow.ExecuteActivity(cctx, "Echo", "two")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		return fmt.Sprint(one.IsReady(), " ", kind(ctx, one), " ", kind(ctx, two)), nil
	})
	require.NoError(t, err)
	require.Equal(t, "false activity canceled completed all the same", got)
	require.Len(t, b.queue.canceled, 1)
}

// The dispatch is under way when the cancel comes: what it put into the queue is taken
// out again, what it did not is not.
func TestCancelDuringDispatch(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state    wire.State
		wait     bool
		want     string
		canceled int
	}{
		"queued":             {wire.StateQueued, false, "canceled", 1},
		"queued, waiting":    {wire.StateQueued, true, "activity canceled", 1},
		"done":               {wire.StateDone, false, "canceled", 0},
		"done, waiting":      {wire.StateDone, true, "one", 0},
		"plain":              {wire.StatePlain, false, "canceled", 0},
		"plain, waiting":     {wire.StatePlain, true, "canceled", 0},
		"waiting for Redis":  {wire.StateWaiting, false, "canceled", 0},
		"waiting, and waits": {wire.StateWaiting, true, "activity canceled", 0},
		"refused":            {wire.StateRefused, false, "canceled", 0},
		"not sure":           {wire.StateUnsure, false, "canceled", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			release := make(chan struct{})
			b.queue.decide = func(_ *wire.Wave, c *wire.Call) wire.Answer {
				<-release
				if tt.state == wire.StateDone {
					return echo(c)
				}
				return wire.Answer{State: tt.state}
			}
			b.queue.cancel = func(r *wire.CancelRequest) error {
				if tt.wait {
					b.signal(wire.Outcome{Identity: r.Calls[0].Identity, Kind: wire.KindCanceled})
				}
				return nil
			}
			got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				cctx, cancel := cancellable(ctx, tt.wait)
				one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
				sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
					// The dispatcher reaches the tail and starts the local activity, then an
					// event from outside comes.
					sdkworkflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
					cancel()
					close(release)
				})
				sdkworkflow.Go(ctx, func(sdkworkflow.Context) {
					go func() {
						b.queue.waitIdentity(1)
						b.SignalWorkflow("cancel", nil)
					}()
				})
				result := kind(ctx, one)
				return result, sdkworkflow.Sleep(ctx, time.Minute)
			})
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			require.Len(t, b.queue.canceled, tt.canceled)
		})
	}
}

// A cancel request that got lost is sent again with the next ask, for calls that wait.
func TestLostCancelIsRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.cancel = func(*wire.CancelRequest) error {
		if len(b.queue.canceled) == 1 {
			return errors.New("redis is away")
		}
		b.signal(wire.Outcome{Identity: b.queue.canceled[1].Calls[0].Identity, Kind: wire.KindCanceled})
		return nil
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		return kind(ctx, one), nil
	})
	require.NoError(t, err)
	require.Equal(t, "activity canceled", got)
	require.Len(t, b.queue.canceled, 2)
}

// Cancelled, and the queue does not know it any more: it ends as canceled and is not
// added again.
func TestCancelOfACallThatIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.found = func(*wire.Ask, *wire.OpenCall) (wire.Answer, bool) {
		return wire.Answer{State: wire.StateNotHere}, true
	}
	b.tick()
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		return kind(ctx, one), nil
	})
	require.NoError(t, err)
	require.Equal(t, "activity canceled", got)
	require.Len(t, b.queue.waves, 1)
}

func TestDisconnectedContextsAreLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() { b.CancelWorkflow() })
	b.after(2*time.Second, func() { b.signal(b.queue.done(2, "clean-up")) })
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		one := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "one")
		dctx, _ := sdkworkflow.NewDisconnectedContext(ctx)
		two := sdkworkflow.ExecuteActivity(options(dctx), "Echo", "two")
		return kind(dctx, one) + " " + kind(dctx, two), nil
	})
	require.NoError(t, err)
	require.Equal(t, "canceled clean-up", got)
	require.Len(t, b.queue.canceled, 1)
	require.Len(t, b.queue.canceled[0].Calls, 1)
}

// Watchers come and go with the waves of a context; the last one still watches.
func TestWatchersAreReleasedAndStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = func(c *wire.Call) wire.Answer {
		if c.Number <= 5 {
			return echo(c)
		}
		return wire.Answer{State: wire.StateQueued}
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		for range 5 {
			if err := sdkworkflow.ExecuteActivity(cctx, "Echo", "x").Get(ctx, nil); err != nil {
				return "", err
			}
		}
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		watchers := b.raw.live["slipstream cancel watcher"]
		last := sdkworkflow.ExecuteActivity(cctx, "Echo", "x")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		watchers += 10 * b.raw.live["slipstream cancel watcher"]
		cancel()
		return fmt.Sprint(kind(ctx, last), " ", watchers), nil
	})
	require.NoError(t, err)
	require.Equal(t, "canceled 10", got, "no watcher without open calls, one with")
}

// The tail may have its turn before the watcher has: a call that is cancelled by then
// leaves the wave all the same.
func TestCancelJustBeforeTheTail(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		sdkworkflow.Go(ctx, func(sdkworkflow.Context) { cancel() })
		result := kind(ctx, one)
		return result, sdkworkflow.Sleep(ctx, time.Minute)
	})
	require.NoError(t, err)
	require.Equal(t, "canceled", got)
	require.Empty(t, b.queue.waves)
}

func TestCancelIsSentOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(3*time.Minute, func() {
		b.signal(wire.Outcome{Identity: b.queue.identity(1), Kind: wire.KindCanceled})
	})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		return kind(ctx, one), nil
	})
	require.NoError(t, err)
	require.Equal(t, "activity canceled", got)
	require.Len(t, b.queue.asks, 3)
	require.Len(t, b.queue.canceled, 1)
}

// A call that waits for Redis is in no queue that could report its cancellation.
func TestCancelOfAWaitingCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateWaiting} }
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, true)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		result := kind(ctx, one)
		return fmt.Sprint(result, " ", sdkworkflow.Now(ctx).Sub(sdkworkflow.GetInfo(ctx).WorkflowStartTime) < 2*time.Second), nil
	})
	require.NoError(t, err)
	require.Equal(t, "activity canceled true", got)
	require.Empty(t, b.queue.canceled)
}

// cancelWhenTold cancels its call when a signal comes, and then lets some asks happen.
func cancelWhenTold(ctx sdkworkflow.Context) (string, error) {
	cctx, cancel := cancellable(ctx, false)
	one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
	sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
		sdkworkflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
		cancel()
	})
	result := kind(ctx, one)
	return result, sdkworkflow.Sleep(ctx, 10*time.Minute)
}

// A call that is cancelled although nobody knows whether the queue has it ends at once,
// and the next ask takes it out of the queue.
func TestCancelWhereTheDispatchIsLost(t *testing.T) {
	t.Parallel()
	lost := errors.New("the answer is lost")
	for name, tt := range map[string]struct {
		prepare func(b *bench)
		asked   []int // orphans in each ask
		located bool  // by a marker, not by what stands in the call
	}{
		"while it is under way": {prepare: func(b *bench) {
			b.queue.err = func(*wire.Wave) error {
				b.SignalWorkflow("cancel", nil)
				return lost
			}
		}, asked: []int{1}},
		"before the ask": {prepare: func(b *bench) {
			b.queue.err = func(*wire.Wave) error { return lost }
			b.after(time.Second, func() { b.SignalWorkflow("cancel", nil) })
		}, asked: []int{1}},
		"after an ask without answer": {prepare: func(b *bench) {
			b.queue.err = func(*wire.Wave) error { return lost }
			b.queue.found = func(*wire.Ask, *wire.OpenCall) (wire.Answer, bool) {
				return wire.Answer{State: wire.StateUnsure, Address: -1}, true
			}
			b.after(5*time.Second, func() { b.SignalWorkflow("cancel", nil) })
		}, asked: []int{0, 1}},
		"and Redis does not answer": {prepare: func(b *bench) {
			b.queue.err = func(*wire.Wave) error { return lost }
			b.queue.deaf = func(*wire.Ask) bool { return true }
			b.after(time.Second, func() { b.SignalWorkflow("cancel", nil) })
		}, asked: []int{1}},
		"the request is lost": {prepare: func(b *bench) {
			b.queue.cancel = func(*wire.CancelRequest) error { return lost }
			b.after(time.Second, func() { b.SignalWorkflow("cancel", nil) })
		}, asked: []int{1}, located: true},
		"while it is repeated": {prepare: func(b *bench) {
			b.tick()
			b.queue.found = gone
			b.queue.err = func(w *wire.Wave) error {
				if w.Again {
					b.SignalWorkflow("cancel", nil)
					return lost
				}
				return nil
			}
		}, asked: []int{0, 0, 1}, located: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tt.prepare(b)
			got, err := b.run(cancelWhenTold)
			require.NoError(t, err)
			require.Equal(t, "canceled", got)
			var asked []int
			for _, ask := range b.queue.asks {
				asked = append(asked, len(ask.Orphans))
			}
			require.Equal(t, tt.asked, asked)
			last := b.queue.asks[len(b.queue.asks)-1]
			require.Empty(t, last.Open)
			o := last.Orphans[0]
			require.EqualValues(t, 1, o.Number)
			require.Equal(t, tt.located, o.Call == nil)
			if tt.located {
				require.Equal(t, b.queue.identity(1), o.Identity)
				require.Equal(t, wire.Address{Pool: pool, Slot: 3}, o.Address)
			} else {
				require.Equal(t, b.queue.identity(1).Fingerprint, wire.Fingerprint(b.queue.runID, o.Call))
			}
		})
	}
}

// What Redis was not told goes with a later ask, if there is one.
func TestOrphansWaitForAnAskThatIsAnswered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.err = func(w *wire.Wave) error {
		if w.First == 1 {
			return errors.New("the answer is lost")
		}
		return nil
	}
	b.queue.deaf = func(ask *wire.Ask) bool { return ask.Round < 3 }
	b.after(10*time.Minute, func() { b.signal(b.queue.done(2, "two")) })
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		one := sdkworkflow.ExecuteActivity(cctx, "Echo", "one")
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		two := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "two")
		return kind(ctx, one) + " " + kind(ctx, two), nil
	})
	require.NoError(t, err)
	require.Equal(t, "canceled two", got)
	require.Greater(t, len(b.queue.asks), 3)
	for i, ask := range b.queue.asks {
		require.Equal(t, i < 3, len(ask.Orphans) == 1, i)
		require.Len(t, ask.Open, 1)
	}
}

func TestOrphansAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.err = func(*wire.Wave) error { return errors.New("the answer is lost") }
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		for range 1100 {
			sdkworkflow.ExecuteActivity(cctx, "Echo", "x")
		}
		if err := sdkworkflow.Sleep(ctx, time.Second); err != nil {
			return "", err
		}
		cancel()
		return "", sdkworkflow.Sleep(ctx, time.Minute)
	})
	require.NoError(t, err)
	require.Len(t, b.queue.asks, 1)
	require.Len(t, b.queue.asks[0].Orphans, 1000)
	require.EqualValues(t, 1100, b.queue.asks[0].Orphans[999].Number)
}
