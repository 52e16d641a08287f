package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/slipstream-go/slipstream/activity"
)

// job is a workflow of the load, planned and then run.
type job struct {
	shape *shape
	in    Input

	planned     bool      // it was this one's turn
	begun, done time.Time // zero: not yet
	answer      Answer
	err         error // how the workflow failed
}

// drawJobs draws n workflows. The same seed makes the same ones.
func drawJobs(seed uint64, n int) []*job {
	r := rand.New(rand.NewPCG(seed, 2))
	total := 0
	for _, s := range shapes {
		total += s.weight
	}
	jobs := make([]*job, n)
	for i := range jobs {
		s := drawShape(r.IntN(total))
		in := Input{ID: fmt.Sprintf("%s-%d", s.name, i), Value: r.Int64N(1 << 40)}
		in.Width, in.Takes = s.input(r)
		jobs[i] = &job{shape: s, in: in}
	}
	return jobs
}

func drawShape(n int) *shape {
	for _, s := range shapes {
		if n -= s.weight; n < 0 {
			return s
		}
	}
	return shapes[0]
}

// load runs jobs. All that it asks of Temporal and Redis it asks again until it is answered: what faults do to a client
// without a workflow is no loss of Slipstream's.
type load struct {
	s        *stage
	ctx      context.Context
	jobs     []*job
	open     sync.WaitGroup
	started  atomic.Int64
	finished atomic.Int64
}

// again is the pause between two tries.
const again = 200 * time.Millisecond

// maxOpen is how many workflows are open at most: a machine that is too slow for more starts fewer.
const maxOpen = 100

// startLoad starts a workflow every so often, until enough is closed or there are no more.
func startLoad(ctx context.Context, s *stage, jobs []*job, every time.Duration, enough <-chan struct{}) *load {
	l := &load{s: s, ctx: ctx, jobs: jobs}
	room := make(chan struct{}, maxOpen)
	tick := time.NewTicker(every)
	l.open.Go(func() {
		defer tick.Stop()
		for _, j := range jobs {
			select {
			case <-tick.C:
			case <-enough:
				return
			}
			select {
			case room <- struct{}{}:
			case <-enough:
				return
			}
			l.started.Add(1)
			j.planned = true
			l.open.Go(func() {
				defer func() { <-room }()
				l.run(j)
			})
		}
	})
	return l
}

// insist tries until it works or the load ends; it reports whether it worked.
func (l *load) insist(try func(ctx context.Context) error) bool {
	for l.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(l.ctx, 10*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return true
		}
		wait(l.ctx, again)
	}
	return false
}

func (l *load) run(j *job) {
	begun := time.Now()
	var run client.WorkflowRun
	ok := l.insist(func(ctx context.Context) (err error) {
		// A start whose answer was lost is found by its ID.
		run, err = l.s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: j.in.ID, TaskQueue: j.shape.queue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, j.shape.workflow, j.in)
		return err
	})
	if !ok {
		return
	}
	j.begun = begun
	ctx, finished := context.WithCancel(l.ctx)
	defer finished()
	if j.shape.drive != nil {
		driver := &load{s: l.s, ctx: ctx}
		l.open.Go(func() { j.shape.drive(driver, j.in) })
	}
	for l.ctx.Err() == nil {
		err := run.Get(l.ctx, &j.answer)
		var ended *temporal.WorkflowExecutionError
		if err == nil || errors.As(err, &ended) {
			j.done, j.err = time.Now(), err
			l.finished.Add(1)
			return
		}
		wait(l.ctx, again)
	}
}

// sendMessages sends signals, some of them twice if an answer is lost, and updates. It ends with the workflow at the
// latest.
func (l *load) sendMessages(in Input) {
	var open sync.WaitGroup
	defer open.Wait()
	for n := range updates {
		open.Go(func() {
			l.insist(func(ctx context.Context) error {
				handle, err := l.s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
					WorkflowID: in.ID, UpdateID: fmt.Sprint("update-", n), UpdateName: updateStep, Args: []any{n},
					WaitForStage: client.WorkflowUpdateStageCompleted,
				})
				if err != nil {
					return err
				}
				var v int64
				if err := handle.Get(ctx, &v); err != nil {
					return err
				}
				if i := in.Width + n; v != mix(in.key(i), in.Value+int64(i)) {
					l.s.violatef("%s: update %d was answered %d, which is wrong", in.ID, n, v)
				}
				return nil
			})
		})
	}
	for n := range in.Width {
		l.insist(func(ctx context.Context) error {
			err := l.s.client.SignalWorkflow(ctx, in.ID, "", signalAdd, n)
			if _, closed := errors.AsType[*serviceerror.NotFound](err); closed {
				return nil // it has had it
			}
			return err
		})
		wait(l.ctx, again)
	}
}

// enqueueBatch enqueues the batch that the workflow is told of, and again whenever Redis may have lost it. It ends with the
// workflow.
func (l *load) enqueueBatch(in Input) {
	tasks := make([]activity.Task, in.Width)
	for i := range tasks {
		tasks[i] = activity.Task{
			Activity: steps.Step, Args: []any{in.work(i, in.Value+int64(i))}, StartToCloseTimeout: startToClose,
			RetryPolicy: &temporal.RetryPolicy{InitialInterval: retryInterval, BackoffCoefficient: 1},
		}
	}
	for l.ctx.Err() == nil {
		losses := l.s.losses.Load()
		l.insist(func(ctx context.Context) error {
			_, err := l.s.queue.EnqueueBatch(ctx, activity.BatchOptions{
				ID: in.ID, TaskQueue: mainQueue,
				OnComplete: &activity.OnComplete{WorkflowID: in.ID, SignalName: signalDone},
			}, tasks)
			return err
		})
		for l.ctx.Err() == nil && l.s.losses.Load() == losses {
			wait(l.ctx, again)
		}
	}
}
