package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
)

const (
	lease         = 5 * time.Second // the plugin's default
	retryInterval = time.Second     // Temporal's default
	// slack is for busy cores and the race detector. What it must not hide takes ten minutes: the
	// StartToClose time-out, which is all that plain Temporal has to notice a lost worker by.
	slack = 3 * time.Minute
)

func TestKilledWorkerLosesNothing(t *testing.T) {
	const (
		workflows   = 6
		pipelines   = 50
		stepTime    = 500 * time.Millisecond
		concurrency = 50
		steps       = workflows * pipelines * scenario.StepsPerPipeline
	)
	taskQueue := freshTaskQueue(t)
	a := startWorkerProcess(t, workerOptions{name: "a", taskQueue: taskQueue, concurrency: concurrency})
	b := startWorkerProcess(t, workerOptions{name: "b", taskQueue: taskQueue, concurrency: concurrency})

	c := dial(t)
	runs := make([]client.WorkflowRun, workflows)
	for i := range runs {
		var err error
		runs[i], err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID:        fmt.Sprintf("%s-%d", taskQueue, i),
			TaskQueue: taskQueue,
			// A workflow task that dies with its worker is Temporal's to notice, after 10 s by default.
			WorkflowTaskTimeout: 2 * time.Second,
		}, scenario.Pipelines, scenario.Input{First: i * pipelines, Count: pipelines, StepTime: stepTime})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return a.started() > concurrency && b.started() > concurrency },
		time.Minute, 10*time.Millisecond, "both workers must take work")
	a.kill()
	killed := time.Now()
	left := steps - (a.started() + b.started()) + concurrency // what died with a runs again

	workers := make(map[string]int)
	for i, run := range runs {
		var got []scenario.Pipeline
		require.NoError(t, run.Get(t.Context(), &got))
		require.Len(t, got, pipelines)
		for k, p := range got {
			require.Empty(t, p.Error)
			require.Equal(t, scenario.Want(i*pipelines+k), p.Value)
			for _, w := range p.Workers {
				workers[w]++
			}
		}
	}
	rest := time.Duration(left/concurrency+1) * stepTime
	require.Less(t, time.Since(killed), 2*lease+retryInterval+rest+slack)
	require.Positive(t, workers["a"])
	require.Positive(t, workers["b"])
	for _, run := range runs {
		require.Zero(t, countEvents(history(t, c, run))[enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED])
	}
	b.stop(t)
}
