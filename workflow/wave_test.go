package workflow_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestResultInMarker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var s string
		err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a").Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "a", got)
	require.Equal(t, [][]uint64{{1}}, b.queue.numbers())
}

func TestResultBySignal(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() { b.signal(b.queue.done(1, "by signal")) })
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var s string
		err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a").Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "by signal", got)
}

func TestManyCoroutinesMakeOneWave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		wg := sdkworkflow.NewWaitGroup(ctx)
		first := sdkworkflow.ExecuteActivity(ctx, "Echo", "root")
		for range 10 {
			wg.Add(1)
			sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) {
				defer wg.Done()
				for range 3 {
					_ = sdkworkflow.ExecuteActivity(ctx, "Echo", "x").Get(ctx, nil)
				}
			})
		}
		wg.Wait(ctx)
		return "", first.Get(ctx, nil)
	})
	require.NoError(t, err)
	waves := b.queue.numbers()
	require.Len(t, waves, 3)
	require.Len(t, waves[0], 11)
	require.Len(t, waves[1], 10)
	require.Len(t, waves[2], 10)
}

// Coroutines that start others in the same turn are still one wave.
func TestAChainOfCoroutinesMakesOneWave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		wg := sdkworkflow.NewWaitGroup(ctx)
		var link func(ctx sdkworkflow.Context, n int)
		link = func(ctx sdkworkflow.Context, n int) {
			defer wg.Done()
			f := sdkworkflow.ExecuteActivity(ctx, "Echo", "x")
			if n > 0 {
				wg.Add(1)
				sdkworkflow.Go(ctx, func(ctx sdkworkflow.Context) { link(ctx, n-1) })
			}
			_ = f.Get(ctx, nil)
		}
		wg.Add(1)
		link(ctx, 5)
		wg.Wait(ctx)
		return "", nil
	})
	require.NoError(t, err)
	require.Equal(t, [][]uint64{{1, 2, 3, 4, 5, 6}}, b.queue.numbers())
}

// A slow wave does not hold the next one up.
func TestWavesOverlap(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	release := make(chan struct{})
	b.queue.decide = func(_ *wire.Wave, c *wire.Call) wire.Answer {
		if c.Number == 1 {
			<-release
		}
		return echo(c)
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		slow := sdkworkflow.ExecuteActivity(ctx, "Echo", "slow")
		var s string
		if err := sdkworkflow.SideEffect(ctx, func(sdkworkflow.Context) any { return "x" }).Get(&s); err != nil {
			return "", err
		}
		sdkworkflow.Go(ctx, func(sdkworkflow.Context) {
			go func() {
				b.queue.waitIdentity(1)
				b.SignalWorkflow("more", nil)
			}()
		})
		sdkworkflow.GetSignalChannel(ctx, "more").Receive(ctx, nil)
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", "fast").Get(ctx, nil); err != nil {
			return "", err
		}
		ready := slow.IsReady()
		close(release)
		err := slow.Get(ctx, &s)
		return fmt.Sprint(ready, " ", s), err
	})
	require.NoError(t, err)
	require.Equal(t, "false slow", got)
}

// One marker must stay well below the server's limit for a payload.
func TestLargeWavesAreSplit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		futures := make([]sdkworkflow.Future, 10_050)
		for i := range futures {
			futures[i] = sdkworkflow.ExecuteActivity(ctx, "Echo", "x")
		}
		for _, f := range futures {
			if err := f.Get(ctx, nil); err != nil {
				return "", err
			}
		}
		return "", nil
	})
	require.NoError(t, err)
	sizes := map[uint64]int{}
	for _, w := range b.queue.waves {
		sizes[w.First] = len(w.Calls)
	}
	require.Equal(t, map[uint64]int{1: 10_000, 10_001: 50}, sizes)
}

// Numbers below the watermark were settled by earlier workflow tasks, and for good; what
// this workflow task settled may still be lost with it.
func TestLowWatermark(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetCurrentHistoryLength(3)
	b.queue.answer = func(c *wire.Call) wire.Answer {
		if c.Number == 4 {
			return wire.Answer{State: wire.StateQueued}
		}
		return echo(c)
	}
	b.after(5*time.Second, func() { b.signal(b.queue.done(4, "late")) })
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		call := func() sdkworkflow.Future { return sdkworkflow.ExecuteActivity(ctx, "Echo", "x") }
		next := func(length int) {
			_ = sdkworkflow.Sleep(ctx, time.Second)
			b.SetCurrentHistoryLength(length)
		}
		_ = call().Get(ctx, nil) // 1
		_ = call().Get(ctx, nil) // 2, in the same workflow task
		next(10)
		_ = call().Get(ctx, nil) // 3
		next(20)
		open := call() // 4
		next(30)
		_ = call().Get(ctx, nil) // 5, while 4 is open
		next(40)
		_ = call().Get(ctx, nil) // 6
		_ = open.Get(ctx, nil)
		_ = call().Get(ctx, nil) // 7, in the workflow task that settled 4
		next(60)
		return "", call().Get(ctx, nil) // 8
	})
	require.NoError(t, err)
	var marks []uint64
	for _, w := range b.queue.waves {
		marks = append(marks, w.HeldBelow)
	}
	require.Equal(t, []uint64{1, 1, 3, 4, 4, 4, 4, 8}, marks)
}

// An update handler waits for nobody's results: somebody waits for the handler.
func TestNoWindowWhileAnUpdateRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	done := false
	b.after(time.Second, func() {
		b.UpdateWorkflow("call", "", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(error) {}, OnComplete: func(any, error) {},
		})
	})
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		err := sdkworkflow.SetUpdateHandler(ctx, "call", func(ctx sdkworkflow.Context) error {
			err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "x").Get(ctx, nil)
			done = true
			return err
		})
		if err != nil {
			return "", err
		}
		if err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "x").Get(ctx, nil); err != nil {
			return "", err
		}
		return "", sdkworkflow.Await(ctx, func() bool { return done })
	})
	require.NoError(t, err)
	require.False(t, b.queue.waves[0].NoWindow)
	require.True(t, b.queue.waves[1].NoWindow)
}

// A query sees the run and changes nothing.
func TestQueriesCannotMakeCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		err := sdkworkflow.SetQueryHandler(ctx, "call", func() (string, error) {
			sdkworkflow.ExecuteActivity(options(ctx), "Echo", "x")
			return "made a call", nil
		})
		if err != nil {
			return "", err
		}
		return echoOnce(ctx)
	})
	require.NoError(t, err)
	_, err = b.QueryWorkflow("call")
	require.Error(t, err)
	require.Len(t, b.queue.waves, 1)
}

// A marker that nobody can read is a lost answer, not the end of the run.
func TestUnreadableMarker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.marker = func(m []byte) []byte { return m[:len(m)/2] }
	b.after(10*time.Second, func() { b.signal(b.queue.done(1, "signalled")) })
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "signalled", got)
}
