package e2e

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
)

// fleet is the worker processes of a deployment, build after build, on a task queue.
type fleet struct {
	t          *testing.T
	c          client.Client
	taskQueue  string
	deployment string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return &fleet{t: t, c: dial(t), taskQueue: freshTaskQueue(t), deployment: "d-" + uuid.NewString()}
}

func (f *fleet) worker(build string, o workerOptions) *workerProcess {
	f.t.Helper()
	o.taskQueue, o.deployment, o.build, o.concurrency = f.taskQueue, f.deployment, build, 4
	return startWorkerProcess(f.t, o)
}

func (f *fleet) makeCurrent(build string) {
	f.t.Helper()
	makeCurrent(f.t, f.c, f.deployment, build)
}

// makeCurrent gives the build the runs that are new, and those that are not pinned.
func makeCurrent(t *testing.T, c client.Client, deployment, build string) {
	t.Helper()
	var err error
	require.Eventually(t, func() bool { // a version exists once its pollers are known
		_, err = c.WorkerDeploymentClient().GetHandle(deployment).SetCurrentVersion(t.Context(), client.WorkerDeploymentSetCurrentVersionOptions{BuildID: build})
		return err == nil
	}, time.Minute, 100*time.Millisecond, "%v", err)
}

func (f *fleet) start(workflow string, count int) client.WorkflowRun {
	f.t.Helper()
	run, err := f.c.ExecuteWorkflow(f.t.Context(), client.StartWorkflowOptions{ID: f.taskQueue + "-" + uuid.NewString(), TaskQueue: f.taskQueue, WorkflowTaskTimeout: 2 * time.Second},
		workflow, scenario.Input{Count: count})
	require.NoError(f.t, err)
	return run
}

// requireBy waits for the run; every step must have been run by the worker.
func (f *fleet) requireBy(worker string, run client.WorkflowRun) {
	f.t.Helper()
	var pipelines []scenario.Pipeline
	require.NoError(f.t, run.Get(f.t.Context(), &pipelines))
	for i, p := range pipelines {
		require.Empty(f.t, p.Error)
		require.Equal(f.t, scenario.Want(i), p.Value)
		for _, w := range p.Workers {
			require.Equal(f.t, worker, w)
		}
	}
}

// A build goes away with tasks that it claimed and tasks that it never came to. Those of
// an unpinned run are run by the build that is current then; those of a pinned run wait.
func TestTheCurrentBuildInheritsUnpinnedTasks(t *testing.T) {
	f := newFleet(t)
	q := newQueue(t, newRedis(t))
	tasks := func(pool string) (n int64) {
		stats, err := q.Stats(t.Context(), pool)
		require.NoError(t, err)
		return stats.Depth() + stats.InFlight()
	}
	const width = 20 // more than a worker runs at a time
	build := f.deployment + ".old"
	pinnedPool, unpinnedPool := activity.PoolName(f.taskQueue, "", build), activity.UnpinnedPoolName(f.taskQueue, "", build)

	old := f.worker("old", workerOptions{name: "old", stuck: true})
	f.makeCurrent("old")
	pinned, unpinned := f.start(scenario.PinnedPipelines, width), f.start(scenario.UnpinnedPipelines, width)
	require.Eventually(t, func() bool { return tasks(pinnedPool) == width && tasks(unpinnedPool) == width && old.started() > 0 },
		time.Minute, 10*time.Millisecond, "both runs have all their steps in the queue")
	for _, run := range []client.WorkflowRun{pinned, unpinned} {
		require.Eventually(t, func() bool { return countLocalActivities(history(t, f.c, run)) > 0 },
			time.Minute, 10*time.Millisecond, "and know that: a pinned run is one from its first committed workflow task on")
	}
	old.kill()

	current := f.worker("new", workerOptions{name: "new"})
	f.makeCurrent("new")
	f.requireBy("new", f.start(scenario.UnpinnedPipelines, 1)) // with which the build speaks for unpinned runs
	f.requireBy("new", unpinned)
	require.EqualValues(t, width, tasks(pinnedPool), "what is pinned waits for its own build")

	back := f.worker("old", workerOptions{name: "back"})
	f.requireBy("back", pinned)
	back.stop(t)
	current.stop(t)
}
