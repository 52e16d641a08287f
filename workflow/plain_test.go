package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

func plainly(*wire.Call) wire.Answer { return wire.Answer{State: wire.StatePlain} }

func TestPlainAnswerRunsAnActivity(t *testing.T) {
	t.Parallel()
	h := &headers{}
	b := newBenchWith(t, []interceptor.WorkerInterceptor{h})
	b.queue.answer = plainly
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "plain a", got)
	require.Len(t, h.seen, 1)
	require.Equal(t, workflow.PlainHeaderValue, string(h.seen[0][workflow.PlainHeader].GetData()))
}

// A run that was routed comes to a worker without runtime: its calls go plain.
func TestRecordedRunWithoutRuntime(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *workflow.Config) { c.Dispatcher = nil })
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "plain a", got)
}

// The plain activity gets the arguments as they were at the call: workflow code may
// have reused what they point to.
func TestPlainCallHasTheArgumentsOfItsMoment(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = plainly
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		word := "then"
		f := sdkworkflow.ExecuteActivity(options(ctx), "Echo", &word)
		word = "now"
		var s string
		err := f.Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "plain then", got)
}

// Errors of plain activities pass through as they are.
func TestPlainErrorsPassThrough(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = plainly
	b.RegisterActivityWithOptions(func(context.Context) error {
		return temporal.NewNonRetryableApplicationError("no", "Custom", nil, "detail")
	}, sdkactivity.RegisterOptions{Name: "Other"})
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		err := sdkworkflow.ExecuteActivity(options(ctx), "Other").Get(ctx, nil)
		var detail string
		var application *temporal.ApplicationError
		if !errors.As(err, &application) || application.Details(&detail) != nil || detail != "detail" {
			return "", fmt.Errorf("detail %q is lost: %w", detail, err)
		}
		return "", err
	})
	var application *temporal.ApplicationError
	require.ErrorAs(t, err, &application)
	require.Equal(t, "Custom", application.Type())
}

func TestPlainActivityWithoutResult(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = plainly
	b.RegisterActivityWithOptions(func(context.Context) error { return nil }, sdkactivity.RegisterOptions{Name: "Other"})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		s := "untouched"
		err := sdkworkflow.ExecuteActivity(options(ctx), "Other").Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "untouched", got)
}

// While a plain call runs, its context's cancel is the SDK's business.
func TestPlainCallIsCancelledByTheSDK(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = plainly
	b.RegisterActivityWithOptions(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}, sdkactivity.RegisterOptions{Name: "Other"})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		cctx, cancel := cancellable(ctx, false)
		f := sdkworkflow.ExecuteActivity(cctx, "Other")
		sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
			sdkworkflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
			cancel()
		})
		sdkworkflow.Go(ctx, func(sdkworkflow.Context) {
			go func() {
				b.queue.waitIdentity(1)
				b.SignalWorkflow("cancel", nil)
			}()
		})
		return kind(ctx, f), nil
	})
	require.NoError(t, err)
	require.Equal(t, "canceled", got)
	require.Empty(t, b.queue.canceled)
}

// The fallback is bounded: 2,000 pending activities would fail the workflow task for
// ever, 51,200 events end the run (protocol D6).
func TestFallbackIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// Redis is away: what the run may send plain goes plain, the rest waits.
	left := 0
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		if c.Number == w.Calls[0].Number {
			left = w.Fallback
		}
		if left == 0 {
			return wire.Answer{State: wire.StateWaiting}
		}
		left--
		return wire.Answer{State: wire.StatePlain}
	}
	const calls = 620
	running, most := 0, 0
	b.SetOnActivityStartedListener(func(info *sdkactivity.Info, _ context.Context, _ converter.EncodedValues) {
		if !info.IsLocalActivity {
			running++
			most = max(most, running)
		}
	})
	b.SetOnActivityCompletedListener(func(info *sdkactivity.Info, _ converter.EncodedValue, _ error) {
		if !info.IsLocalActivity {
			running--
		}
	})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		var futures []sdkworkflow.Future
		for i := range calls {
			futures = append(futures, sdkworkflow.ExecuteActivity(ctx, "Echo", fmt.Sprint(i)))
		}
		for i, f := range futures {
			var s string
			if err := f.Get(ctx, &s); err != nil || s != fmt.Sprint("plain ", i) {
				return "", fmt.Errorf("call %d gave %q: %w", i, s, err)
			}
		}
		return "all", nil
	})
	require.NoError(t, err)
	require.Equal(t, "all", got)
	require.Equal(t, 500, b.queue.waves[0].Fallback)
	require.LessOrEqual(t, most, 500)
	for _, w := range b.queue.waves[1:] {
		require.LessOrEqual(t, len(w.Calls), 100, "a wave that may be answered with nothing must be small")
		require.True(t, w.Again)
	}
}

// Waiting calls are tried again when a hundred plain ones have ended, not only when all
// have, and without waiting for the alarm.
func TestWaitingCallsFollowThePlainOnes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ length, calls, plain, hold int }{
		"a hundred of many": {0, 520, 500, 400},
		"all of few":        {39_970, 20, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.SetCurrentHistoryLength(tt.length)
			again := make(chan struct{})
			b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
				switch {
				case w.Again:
					if c.Number == w.First && len(b.queue.waves) == 2 {
						close(again)
					}
					return echo(c)
				case int(c.Number) > tt.plain:
					return wire.Answer{State: wire.StateWaiting}
				}
				return wire.Answer{State: wire.StatePlain}
			}
			b.RegisterActivityWithOptions(func(_ context.Context, n int) error {
				if n < tt.hold {
					<-again
				}
				return nil
			}, sdkactivity.RegisterOptions{Name: "Other"})
			got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				var futures []sdkworkflow.Future
				for i := range tt.calls {
					futures = append(futures, sdkworkflow.ExecuteActivity(options(ctx), "Other", i))
				}
				for _, f := range futures {
					if err := f.Get(ctx, nil); err != nil {
						return "", err
					}
				}
				return sdkworkflow.Now(ctx).Sub(sdkworkflow.GetInfo(ctx).WorkflowStartTime).Truncate(5 * time.Second).String(), nil
			})
			require.NoError(t, err)
			require.Equal(t, "0s", got)
		})
	}
}

// A call that goes plain late keeps its deadline.
func TestLatePlainCallKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.decide = func(w *wire.Wave, _ *wire.Call) wire.Answer {
		if w.Again {
			return wire.Answer{State: wire.StatePlain}
		}
		return wire.Answer{State: wire.StateWaiting}
	}
	b.RegisterActivityWithOptions(func(ctx context.Context) (time.Duration, error) {
		return sdkactivity.GetInfo(ctx).ScheduleToCloseTimeout, nil
	}, sdkactivity.RegisterOptions{Name: "Other"})
	var left time.Duration
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = sdkworkflow.WithScheduleToCloseTimeout(ctx, time.Minute)
		return "", sdkworkflow.ExecuteActivity(ctx, "Other").Get(ctx, &left)
	})
	require.NoError(t, err)
	require.InDelta(t, 45, left.Seconds(), 1)
}

func TestFallbackEndsWithTheHistory(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]int{39_000: 10, 39_997: 1, 40_000: 0, 45_000: 0} {
		b := newBench(t)
		b.SetCurrentHistoryLength(length)
		b.queue.answer = echo
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			var last sdkworkflow.Future
			for range 10 {
				last = sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a")
			}
			return "", last.Get(ctx, nil)
		})
		require.NoError(t, err)
		require.Equal(t, want, b.queue.waves[0].Fallback, "at %d events", length)
	}
}

// Two waves that are under way at once share the budget.
func TestFallbackIsPromisedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hold := make(chan struct{})
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		if w.First == 1 {
			<-hold
		} else if c.Number == w.First {
			close(hold)
		}
		return echo(c)
	}
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
			sdkworkflow.GetSignalChannel(ctx, "more").Receive(ctx, nil)
			for range 300 {
				sdkworkflow.ExecuteActivity(ctx, "Echo", "b")
			}
		})
		var last sdkworkflow.Future
		for range 300 {
			last = sdkworkflow.ExecuteActivity(ctx, "Echo", "a")
		}
		sdkworkflow.Go(ctx, func(sdkworkflow.Context) {
			go func() {
				b.queue.waitIdentity(1)
				b.SignalWorkflow("more", nil)
			}()
		})
		return "", last.Get(ctx, nil)
	})
	require.NoError(t, err)
	require.Equal(t, 300, b.queue.waves[0].Fallback)
	require.Equal(t, 200, b.queue.waves[1].Fallback)
}

// Once Redis takes calls again, all that waits goes at once.
func TestWaitingCallsGoWhenRedisIsBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		if w.Again {
			return echo(c)
		}
		return wire.Answer{State: wire.StateWaiting}
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var futures []sdkworkflow.Future
		for range 350 {
			futures = append(futures, sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a"))
		}
		for _, f := range futures {
			if err := f.Get(ctx, nil); err != nil {
				return "", err
			}
		}
		return sdkworkflow.Now(ctx).Sub(sdkworkflow.GetInfo(ctx).WorkflowStartTime).Truncate(time.Second).String(), nil
	})
	require.NoError(t, err)
	require.Equal(t, "15s", got)
	require.Len(t, b.queue.waves, 3)
	require.Len(t, b.queue.waves[1].Calls, 100, "a probe")
	require.Len(t, b.queue.waves[2].Calls, 250, "the rest")
}
