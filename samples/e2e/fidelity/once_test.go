package fidelity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// killed plays a call whose worker process is killed while its handler runs. Another worker is there to take over.
func killed(options workflow.ActivityOptions) func(p *play) {
	return func(p *play) {
		p.workerOptions.LocalActivityWorkerOnly = true // the workflow's worker lives
		p.mark("Act")
		p.workflow(func(ctx workflow.Context, see *notes) error {
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(withOptions(ctx, options), "Act"))
		})
		p.startWorker()
		process := p.startProcess()
		p.run = p.execute()
		p.receive("the handler's start", process.first)
		p.awaitDetails()
		process.kill()

		var starts atomic.Int64
		w := worker.New(p.c, p.taskQueue, worker.Options{DisableWorkflowWorker: true, WorkerStopTimeout: 5 * time.Second})
		w.RegisterActivityWithOptions(func(ctx context.Context) (string, error) {
			starts.Add(1)
			var details string
			err := activity.GetHeartbeatDetails(ctx, &details)
			return fmt.Sprintf("attempt %d after %q, %v", activity.GetInfo(ctx).Attempt, details, err), nil
		}, activity.RegisterOptions{Name: "Act"})
		require.NoError(p.t, w.Start())
		p.t.Cleanup(w.Stop)
		p.finish()
		p.seen.note("starts", []int64{process.starts.Load(), starts.Load()})
	}
}

// starts counts the starts of handlers by their argument.
type starts struct {
	mu  sync.Mutex
	all map[int]int // protected by mu
}

func (s *starts) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[int]int{}
	}
	s.all[n]++
}

// twice are the arguments of handlers that started more than once.
func (s *starts) twice() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []int{}
	for _, n := range slices.Sorted(maps.Keys(s.all)) {
		if s.all[n] > 1 {
			found = append(found, n)
		}
	}
	return found
}

// losing plays calls side by side over a connection to Redis that loses answers: each nth to requests that contain the
// text, up to a number of them. The notes say which handlers started more than once, and which calls ended in neither
// their result nor a time-out.
func losing(text string, nth, most int64) func(p *play) {
	const calls = 60
	return func(p *play) {
		var s starts
		p.workerOptions.MaxConcurrentActivityExecutionSize = calls / 4 // so that some wait
		p.activity("Act", func(ctx context.Context, n int) (int, error) {
			s.add(n)
			select {
			case <-time.After(50 * time.Millisecond):
				return 2 * n, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			var futures []workflow.Future
			for n := range calls {
				futures = append(futures, workflow.ExecuteActivity(attempts(ctx, 1), "Act", n))
			}
			wrong := []string{}
			for n, future := range futures {
				var doubled int
				err := future.Get(ctx, &doubled)
				var timeout *temporal.TimeoutError
				if (err == nil && doubled != 2*n) || (err != nil && !errors.As(err, &timeout)) {
					wrong = append(wrong, fmt.Sprint(n, ": ", doubled, " ", err))
				}
			}
			see.note("unexpected ends", wrong)
			return nil
		})
		var c *cable
		if p.ownRedis() != nil {
			c = p.throughCable()
		}
		p.startWorker()
		if c != nil {
			c.lose(text, nth, most)
		}
		p.run = p.execute()
		p.finish()
		p.stopWorker()
		p.seen.note("started twice", s.twice())
		if c != nil {
			require.NotZero(p.t, c.lost.Load(), "no answer was lost")
			p.t.Logf("%d answers were lost", c.lost.Load())
		}
	}
}

const wipedReason = "Where Redis loses its data, an open call with MaximumAttempts 1 ends as if its worker were lost: nobody knows whether it has started."

var onceScenarios = []scenario{
	{
		name: "killed worker, one attempt",
		play: killed(workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second, RetryPolicy: quickly(1)}),
	},
	{
		name: "killed worker, one attempt, heartbeats",
		play: killed(workflow.ActivityOptions{HeartbeatTimeout: 5 * time.Second, RetryPolicy: quickly(1)}),
	},
	{
		name: "killed worker, more attempts",
		play: killed(workflow.ActivityOptions{HeartbeatTimeout: 5 * time.Second, RetryPolicy: quickly(3)}),
	},
	{
		name:    "lost data while a handler runs, one attempt",
		play:    wiped(true, 1),
		differs: map[string]string{"call": wipedReason, "workflow": wipedReason},
	},
	{
		name:    "lost data while a call waits, one attempt",
		play:    wiped(false, 1),
		differs: map[string]string{"call": wipedReason, "workflow": wipedReason, "starts": wipedReason},
	},
	{
		name: "lost data while a handler runs, more attempts",
		play: wiped(true, 0),
	},
	{
		name: "lost data while a call waits, more attempts",
		play: wiped(false, 0),
	},
	{name: "lost answers about calls", mayFallBack: true, play: losing("Act", 2, 10)},
	{name: "lost answers of all kinds", mayFallBack: true, play: losing("", 5, 60)},
	{name: "every answer lost for a while", mayFallBack: true, play: losing("", 1, 100)},
}

// wiped plays a call while which Redis loses everything.
func wiped(running bool, attempts int32) func(p *play) {
	return func(p *play) {
		rdb := p.ownRedis()
		p.workerOptions.MaxConcurrentActivityExecutionSize = 1
		blocked, begun, release := make(chan struct{}, 9), make(chan struct{}, 9), make(chan struct{})
		var starts atomic.Int64
		p.activity("Blocker", func(context.Context) error {
			blocked <- struct{}{}
			<-release
			return nil
		})
		p.activity("Act", func(context.Context) (string, error) {
			starts.Add(1)
			begun <- struct{}{}
			<-release
			return "done", nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{RetryPolicy: quickly(attempts)})
			if !running {
				workflow.ExecuteActivity(ctx, "Blocker")
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
			}
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
		})
		p.start()
		if running {
			p.receive("the handler's start", begun)
		} else {
			p.receive("the handler before it", blocked)
			p.signal("go on", nil)
			p.lastTask()
		}
		if rdb != nil {
			require.NoError(p.t, rdb.FlushAll(p.ctx).Err())
		}
		close(release)
		p.finish()
		if attempts == 1 {
			p.seen.note("starts", starts.Load())
		}
	}
}
