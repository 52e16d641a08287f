package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
)

// crash is one point at which a worker process, the only one there is, kills itself, and what must come of the one
// call (or the chain) of its workflow once another worker is there.
type crash struct {
	die   string
	more  []string
	call  scenario.Call
	stops bool // the process is told to stop while its step runs
	// executions of steps, in both workers
	executions int
	// oneMore, if the process has started so many steps: the last of them in the moment in which it dies
	oneMore int
	// inTask: the results must come within the workflow task, so it may wait for them
	inTask bool
	// lost: the call fails as one whose worker was lost
	lost bool
}

const (
	shortLease = time.Second
	noWindow   = "-window=-1s"
	// longWindow is the longest: a quarter of a workflow task's default time-out.
	longWindow = 2500 * time.Millisecond
)

var (
	plainCall = scenario.Call{Value: 3}
	onceOnly  = scenario.Call{Value: 3, Attempts: 1}
	chain     = scenario.Call{Value: 3, Steps: 2}
	fails     = []string{"-failures=1", noWindow}
)

var crashes = []crash{
	{die: "before:enqueue:1", call: plainCall, executions: 1},
	// A claim under way may bring what was enqueued.
	{die: "after:enqueue:1", call: plainCall, executions: 1, oneMore: 1},
	{die: "before:claim:1", call: plainCall, executions: 1, oneMore: 1},
	{die: "after:claim:1", call: plainCall, executions: 1},
	{die: "after:claim:1", call: onceOnly, executions: 0, lost: true},
	{die: "before:step:1", call: plainCall, executions: 2},
	{die: "before:step:1", call: onceOnly, executions: 1, lost: true},
	{die: "before:settle.complete:1", call: plainCall, executions: 2},
	{die: "before:settle.complete:1", call: onceOnly, executions: 1, lost: true},
	{die: "after:settle.complete:1", call: plainCall, executions: 1},
	{die: "after:settle.complete:1", call: onceOnly, executions: 1},
	{die: "before:settle.advance:1", call: chain, more: []string{noWindow}, executions: 3},
	// The script rings for the second step: it may have begun in the moment in which the process dies.
	{die: "after:settle.advance:1", call: chain, more: []string{noWindow}, executions: 2, oneMore: 2},
	{die: "before:settle.retry:1", call: plainCall, more: fails, executions: 2},
	{die: "after:settle.retry:1", call: plainCall, more: fails, executions: 2},
	{die: "before:due:1", call: plainCall, more: fails, executions: 2, oneMore: 2},
	{die: "after:due:1", call: plainCall, more: fails, executions: 2, oneMore: 2},
	{die: "before:settle.release:1", call: plainCall, more: []string{"-stuck", "-drain=50ms", noWindow}, stops: true, executions: 2},
	{die: "after:settle.release:1", call: plainCall, more: []string{"-stuck", "-drain=50ms", noWindow}, stops: true, executions: 2},
	// The window is closed, and the results are handed over within the workflow task.
	{die: "before:take:1", call: onceOnly, executions: 1, inTask: true},
	{die: "after:take:1", call: onceOnly, executions: 1, inTask: true},
	{die: "before:RespondWorkflowTaskCompleted:1", call: onceOnly, executions: 1, inTask: true},
	{die: "after:RespondWorkflowTaskCompleted:1", call: onceOnly, executions: 1, inTask: true},
	// The results are signalled, and the second workflow task settles the call.
	{die: "before:batches:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "after:batches:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "before:SignalWorkflowExecution:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "after:SignalWorkflowExecution:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "before:acked:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "after:acked:1", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "before:RespondWorkflowTaskCompleted:2", call: onceOnly, more: []string{noWindow}, executions: 1},
	{die: "after:RespondWorkflowTaskCompleted:2", call: onceOnly, more: []string{noWindow}, executions: 1},
}

// A process kills itself at each point of a call's life, on both sides of it. The run ends with the one right answer,
// nothing that was recorded is computed again, and what may start once only starts once.
func TestProcessesThatDieAnywhere(t *testing.T) {
	build(t, "e2e/testworker", raceEnabled)
	var wg sync.WaitGroup
	room := make(chan struct{}, 6) // mostly they wait, for leases and time-outs
	for _, c := range crashes {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			name := c.die
			if c.call.Attempts == 1 {
				name += ", one attempt"
			}
			t.Run(name, c.test)
		})
	}
	wg.Wait()
}

func (c *crash) test(t *testing.T) {
	taskQueue := freshTaskQueue(t)
	more := append([]string{"-die", c.die, "-lease", shortLease.String(), "-sticky", "500ms"}, c.more...)
	taskTimeout := 2 * time.Second
	if c.inTask {
		more, taskTimeout = append(more, "-window", longWindow.String()), 4*longWindow
	}
	a := startWorkerProcess(t, workerOptions{name: "a", taskQueue: taskQueue, concurrency: 10, more: more})
	cl := dial(t)
	run, err := cl.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: taskQueue, TaskQueue: taskQueue, WorkflowTaskTimeout: taskTimeout,
	}, scenario.OneCall, c.call)
	require.NoError(t, err)
	if c.stops {
		require.Eventually(t, func() bool { return a.started() == 1 }, 20*time.Second, 5*time.Millisecond)
		require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	}
	select {
	case <-a.ended:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the point was never reached")
	}
	require.True(t, a.died.Load(), "it died at its point, and not otherwise")

	executions := startSecondWorker(t, taskQueue)
	var got int
	err = run.Get(t.Context(), &got)
	if c.lost {
		var timeout *temporal.TimeoutError
		require.ErrorAs(t, err, &timeout)
		require.Equal(t, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, timeout.TimeoutType())
	} else {
		require.NoError(t, err)
		require.Equal(t, c.call.Value<<max(1, c.call.Steps), got)
	}
	ran := a.started() + int(executions.Load())
	if c.oneMore > 0 && ran == c.executions+1 {
		require.Equal(t, c.oneMore, a.started(), "what was recorded ran once")
		ran--
	}
	require.Equal(t, c.executions, ran, "executions")
	require.Zero(t, countEvents(history(t, cl, run))[enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED], "it was routed to the end")
}

// startSecondWorker starts a worker in this process that goes on where the first one ended, and counts the steps that it
// starts.
func startSecondWorker(t *testing.T, taskQueue string) *atomic.Int64 {
	t.Helper()
	var started atomic.Int64
	steps := &scenario.Steps{Worker: "b", Started: func() { started.Add(1) }, Failures: 0}
	p, err := plugin.New(plugin.Options{RedisURL: stack.RedisURL(), Marks: []activity.Mark{{Activity: steps.Attempt}}, Lease: shortLease})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	c := dial(t, p)
	w := worker.New(c, taskQueue, worker.Options{Identity: fmt.Sprintf("second worker of %s", taskQueue)})
	w.RegisterWorkflow(scenario.OneCall)
	w.RegisterActivity(steps)
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	return &started
}
