package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/workflow"
)

const doneSignal = "done"

// collect waits for n completions and returns their results by index.
func collect(ctx sdkworkflow.Context, n int) ([]string, error) {
	results := make([]string, n)
	for got := 0; got < n; {
		var completions []workflow.Completion
		sdkworkflow.GetSignalChannel(ctx, doneSignal).Receive(ctx, &completions)
		for _, c := range completions {
			if err := c.Get(ctx, &results[c.Index]); err != nil {
				results[c.Index] = err.Error()
			}
		}
		got += len(completions)
	}
	return results, nil
}

func TestATaskWithoutWorkflowSignalsAWorkflow(t *testing.T) {
	b := newBed(t, bedOptions{}, []any{collect}, (&echoes{}).Echo)
	run := b.start(collect, 1)

	p, err := plugin.New(plugin.Options{RedisURL: stack.RedisURL(), Marks: []plugin.Mark{{Activity: (*echoes).Echo}}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	dial(t, []client.Plugin{p}...)
	_, err = p.Queue().Enqueue(t.Context(), activity.BatchOptions{
		TaskQueue: b.taskQueue, OnComplete: &activity.OnComplete{WorkflowID: run.GetID(), SignalName: doneSignal},
	}, activity.Task{Activity: (*echoes).Echo, Args: []any{"one"}, StartToCloseTimeout: time.Minute})
	require.NoError(t, err)

	var results []string
	require.NoError(t, run.Get(t.Context(), &results))
	require.Equal(t, []string{"echo one"}, results)
}
