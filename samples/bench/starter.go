package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

// lateStarts is how often a start whose answer came too late is asked for again. The SDK gives each ten seconds.
const lateStarts = 5

// workflowCall is a workflow to run and the number of right results that it must report.
type workflowCall struct {
	workflow any
	args     []any
	right    int
}

// workflowRuns are workflows that have been run to their end.
type workflowRuns struct {
	runs   []history.Run
	took   []time.Duration // from the request to start to the result
	errors []error
}

// err is what was wrong with the runs, nil if nothing was.
func (r *workflowRuns) err() error {
	failed := 0
	for _, err := range r.errors {
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	const shown = 3
	var first []error
	for _, err := range r.errors {
		if err != nil && len(first) < shown {
			first = append(first, err)
		}
	}
	return fmt.Errorf("%d of %d workflows failed: %w", failed, len(r.errors), errors.Join(first...))
}

// milliseconds are the times of all runs.
func (r *workflowRuns) milliseconds() []float64 {
	ms := make([]float64, len(r.took))
	for i, d := range r.took {
		ms[i] = float64(d) / float64(time.Millisecond)
	}
	return ms
}

// runWorkflows runs n workflows, at most open of them at a time, and returns when all have ended. The next one is
// started when one has ended; done is called after each.
func (l *lab) runWorkflows(ctx context.Context, taskQueue string, n, open int, call func(i int) workflowCall, done func()) *workflowRuns {
	r := &workflowRuns{runs: make([]history.Run, n), took: make([]time.Duration, n), errors: make([]error, n)}
	prefix := "bench-" + uuid.NewString()
	var next atomic.Int64
	var group errgroup.Group
	for range min(n, open) {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				begin := time.Now()
				r.runs[i], r.errors[i] = l.runWorkflow(ctx, fmt.Sprintf("%s-%d", prefix, i), taskQueue, call(i))
				r.took[i] = time.Since(begin)
				done()
			}
		})
	}
	_ = group.Wait() // errors are in the runs
	return r
}

func (l *lab) runWorkflow(ctx context.Context, id, taskQueue string, call workflowCall) (history.Run, error) {
	start := func() (client.WorkflowRun, error) {
		return l.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: id, TaskQueue: taskQueue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, call.workflow, call.args...)
	}
	h, err := start()
	for range lateStarts {
		if _, late := errors.AsType[*serviceerror.DeadlineExceeded](err); !late {
			break
		}
		h, err = start() // what came too late is found by its ID
	}
	if err != nil {
		return history.Run{}, fmt.Errorf("workflow %s did not start: %w", id, err)
	}
	run := history.Run{ID: id, RunID: h.GetRunID()}
	var right int
	if err := h.Get(ctx, &right); err != nil {
		if ctx.Err() != nil {
			l.terminate(run)
		}
		return run, fmt.Errorf("workflow %s: %w", id, err)
	}
	if right != call.right {
		return run, fmt.Errorf("workflow %s has %d right results instead of %d", id, right, call.right)
	}
	return run, nil
}

// terminate ends a workflow that nobody will wait for any more, as well as it can in a moment: the server may be somebody
// else's and go on.
func (l *lab) terminate(run history.Run) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = l.client.TerminateWorkflow(ctx, run.ID, run.RunID, "the benchmark was interrupted")
}
