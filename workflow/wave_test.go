package workflow_test

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

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
