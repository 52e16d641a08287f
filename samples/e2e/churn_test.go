package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
	slipflow "github.com/slipstream-go/slipstream/workflow"
)

// churn is a pool whose workers come and go. All of them have a strict propagator.
type churn struct {
	t         *testing.T
	c         client.Client
	q         *batchqueue.Queue
	taskQueue string
	pool      string
	runs      []client.WorkflowRun
	asked     []scenario.Fan
}

func newChurn(t *testing.T) *churn {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{
		HostPort: stack.Temporal(), Namespace: stack.Namespace(), Logger: quiet(),
		ContextPropagators: []sdkworkflow.ContextPropagator{tenant.Propagator{}},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	q, err := batchqueue.New(newRedis(t), batchqueue.Options{Namespace: stack.Namespace(), Lease: shortLease})
	require.NoError(t, err)
	taskQueue := freshTaskQueue(t)
	return &churn{t: t, c: c, q: q, taskQueue: taskQueue, pool: activity.PoolName(taskQueue, "", "")}
}

func (c *churn) options(name string, concurrency int, more ...string) workerOptions {
	return workerOptions{
		name: name, taskQueue: c.taskQueue, concurrency: concurrency, fast: true,
		more: append([]string{"-strict", "-lease", shortLease.String(), "-sticky", "500ms"}, more...),
	}
}

func (c *churn) worker(name string, concurrency int, more ...string) *workerProcess {
	c.t.Helper()
	return startWorkerProcess(c.t, c.options(name, concurrency, more...))
}

// start starts runs that do what is asked.
func (c *churn) start(runs int, in scenario.Fan) {
	c.t.Helper()
	for range runs {
		run, err := c.c.ExecuteWorkflow(context.WithValue(c.t.Context(), tenant.Key{}, "acme"), client.StartWorkflowOptions{
			ID: c.taskQueue + "-" + uuid.NewString(), TaskQueue: c.taskQueue, WorkflowTaskTimeout: 5 * time.Second,
		}, scenario.FanOut, in)
		require.NoError(c.t, err)
		c.runs, c.asked = append(c.runs, run), append(c.asked, in)
	}
}

// await waits until the pool is in the state that is asked for.
func (c *churn) await(what string, is func(batchqueue.Stats) bool) {
	c.t.Helper()
	var s batchqueue.Stats
	require.Eventually(c.t, func() bool {
		var err error
		s, err = c.q.Stats(c.t.Context(), c.pool)
		require.NoError(c.t, err)
		return is(s)
	}, 2*time.Minute, 20*time.Millisecond, "%s; the pool has %+v", what, &s)
}

// finished says that so many steps have ended.
func finished(n int64) func(batchqueue.Stats) bool {
	return func(s batchqueue.Stats) bool { return s.Finished >= n }
}

// requireAll waits for the runs: each call has its own result, but for what fails by intention, and none was plain.
func (c *churn) requireAll(failed map[int]string) {
	c.t.Helper()
	for i, run := range c.runs {
		in := c.asked[i]
		var got scenario.Fanned
		require.NoError(c.t, run.Get(c.t.Context(), &got))
		require.Equal(c.t, in.Count*(in.Count+1), got.Sum)
		for value, message := range got.Failed {
			require.Contains(c.t, in.More, value)
			require.Contains(c.t, message, failed[value])
		}
		require.Len(c.t, got.Failed, len(in.More))
		require.Zero(c.t, countEvents(history(c.t, c.c, run))[enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED], "a call was plain")
	}
}

// stop stops the workers in order, and returns how many tasks they have claimed.
func (c *churn) stop(fleet []*workerProcess) int {
	c.t.Helper()
	n := 0
	for _, w := range fleet {
		w.stop(c.t)
		n += int(w.claimed.Load())
	}
	return n
}

func (c *churn) requireDeadLetters(n int) {
	c.t.Helper()
	got, err := c.q.DeadLetterCount(c.t.Context(), c.pool)
	require.NoError(c.t, err)
	require.EqualValues(c.t, n, got)
}

// A deployment rolls from workers with one activity to workers with two, and from those to a versioned build, while a
// hundred thousand tasks wait, and workers of every kind stand beside each other. Each task is claimed once, or nearly,
// and no call is plain.
func TestADeploymentRollsOverABacklog(t *testing.T) {
	const (
		backlog  = 100
		width    = 1000
		stepTime = 50 * time.Millisecond
		newWidth = 100
	)
	c := newChurn(t)
	_, err := c.q.SetConfig(t.Context(), c.pool, batchqueue.PoolConfig{Slots: 4, Paused: true})
	require.NoError(t, err)
	one := []string{"-types", "Double"}
	fleet := []*workerProcess{
		c.worker("first", 200, one...),
		c.worker("single", 1, one...),
		c.worker("sessions", 20, append(one, "-sessions")...),
		c.worker("local", 20, append(one, "-local-only")...),
	}
	for wait := int64(1); wait <= backlog; wait++ { // a Redis that gets all at once takes longer than a workflow task waits
		c.start(1, scenario.Fan{Activity: "Double", Count: width, StepTime: stepTime})
		c.await("all wait", func(s batchqueue.Stats) bool { return s.Depth() == wait*width })
	}
	_, err = c.q.ChangeConfig(t.Context(), c.pool, func(config *batchqueue.PoolConfig) error {
		config.Paused = false
		return nil
	})
	require.NoError(t, err)

	c.await("a fifth is done", finished(backlog*width/5))
	second := []*workerProcess{c.worker("second", 200), c.worker("third", 200, "-sessions")}
	claimed := c.stop(fleet)
	c.start(5, scenario.Fan{Activity: "Attempt", Count: newWidth})
	c.await("half is done", finished(backlog*width/2))

	deployment := "d-" + uuid.NewString()
	build := []string{"-deployment", deployment, "-build", "1"}
	third := []*workerProcess{c.worker("fourth", 200, build...), c.worker("fifth", 200, build...)}
	makeCurrent(t, c.c, deployment, "1")
	c.start(5, scenario.Fan{Activity: "Attempt", Count: newWidth})
	claimed += c.stop(second)
	c.requireAll(nil)
	claimed += c.stop(third)
	steps := backlog*width + 10*newWidth
	t.Logf("%d claims for %d steps", claimed, steps)
	require.GreaterOrEqual(t, float64(claimed), 0.95*float64(steps), "those whose replies were lost do not count")
	require.LessOrEqual(t, float64(claimed), 1.05*float64(steps), "claims")
	c.requireDeadLetters(0)
}

// Workers are killed again and again, and one task among thousands kills every process that runs it. It alone becomes a
// dead letter, its call alone fails, and the rest is through as soon as the kills allow.
func TestKillsAndAPoisonAmongInnocents(t *testing.T) {
	const (
		backlog     = 20
		width       = 1000
		stepTime    = 100 * time.Millisecond
		workers     = 3
		concurrency = 100
		mostKills   = 5
	)
	c := newChurn(t)
	fleet := make([]*workerProcess, workers)
	for i := range fleet {
		fleet[i] = c.worker(fmt.Sprint("first ", i), concurrency)
	}
	began := time.Now()
	c.start(backlog, scenario.Fan{Activity: "Double", Count: width, StepTime: stepTime})
	c.start(1, scenario.Fan{Activity: "Double", Count: width, More: []int{scenario.Poison}, StepTime: stepTime})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, run := range c.runs {
			_ = run.Get(t.Context(), nil) // looked at below
		}
	}()

	kills, deaths := 0, 0
	replace := func() {
		for i, w := range fleet {
			if w.isGone() { // by the poison, perhaps before it was ready
				deaths++
				require.Less(t, deaths, 20, "the poison is never given up")
				fleet[i] = launchWorkerProcess(t, c.options(fmt.Sprint("after death ", deaths), concurrency))
			}
		}
	}
	kill, look := time.NewTicker(3*time.Second), time.NewTicker(50*time.Millisecond)
	defer kill.Stop()
	defer look.Stop()
	for open := true; open; {
		select {
		case <-ended:
			open = false
		case <-kill.C:
			if i := kills % workers; kills < mostKills && !fleet[i].isGone() {
				fleet[i].kill()
				kills++
				fleet[i] = launchWorkerProcess(t, c.options(fmt.Sprint("after kill ", kills), concurrency))
			}
		case <-look.C:
			replace()
		}
	}
	took := time.Since(began)
	replace() // who died since the last look
	c.requireAll(map[int]string{scenario.Poison: slipflow.ErrorTypePoison})
	c.requireDeadLetters(1)
	require.GreaterOrEqual(t, deaths, 3, "the process died with it before it was given up")
	t.Logf("%d kills, %d deaths, %v", kills, deaths, took)
	floor := (backlog + 1) * width / (workers * concurrency) * stepTime
	require.Less(t, took, floor*3/2+time.Duration(kills+deaths)*2*shortLease+slack)
	for _, w := range fleet {
		w.awaitReady(t)
	}
	c.stop(fleet)
}
