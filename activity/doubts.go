package activity

import (
	"context"
	"errors"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// A run that is terminated, or times out, tells nobody. Its tasks are abandoned when one
// of their outcomes meets "not found"; but a task that only ever fails has no outcome.
// So a task that was tried for long raises a doubt about its run: one goroutine asks
// Temporal about doubted runs, one after the other, and abandons those that have ended
// (protocol Q8). It is beside the attempts and never in their way. What Temporal does not
// answer, and what finds no room here, is doubted again by a later attempt.

const (
	// A task raises a doubt from this attempt on, or once an attempt became due so long
	// after the task was enqueued. With Temporal's default policy both take five minutes.
	doubtfulAttempts = 10
	doubtfulAge      = 5 * time.Minute
	// doubtEvery is how often Temporal is asked about the same run, at most.
	doubtEvery = 5 * time.Minute
	// describeTimeout bounds one question to Temporal.
	describeTimeout = 5 * time.Second

	maxDoubts = 1000
	// maxAsked bounds the runs that are remembered as asked about; when they are that
	// many, everything is forgotten, and some runs are asked about too early.
	maxAsked = 10_000
)

// doubts are the runs that may have ended without a word. Safe for concurrent use.
type doubts struct {
	attempts   int           // doubtfulAttempts
	age, every time.Duration // doubtfulAge, doubtEvery

	waiting chan doubt
	mu      sync.Mutex
	asked   map[residence]time.Time
}

// doubt is a question whether a run has ended.
type doubt struct {
	at      residence
	address *address // of the wave; a reset run may have redirected its outcomes since
	client  client.Client
}

func newDoubts() *doubts {
	return &doubts{
		attempts: doubtfulAttempts, age: doubtfulAge, every: doubtEvery,
		waiting: make(chan doubt, maxDoubts), asked: map[residence]time.Time{},
	}
}

// consider notes a doubt if an attempt gives reason for one. It never waits. Both times
// of the delivery are by Redis's clock.
func (s *doubts) consider(d *batchqueue.Delivery, a *address, c client.Client) {
	if a.WorkflowID == "" || (d.Attempt < s.attempts && d.AttemptScheduledAt.Sub(d.ScheduledAt) < s.age) {
		return // no workflow dispatched it, or it is early
	}
	at := residence{d.Pool, d.Slot(), d.Run}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.asked[at]; ok && time.Since(last) < s.every {
		return
	}
	if len(s.asked) >= maxAsked {
		clear(s.asked)
	}
	select {
	case s.waiting <- doubt{at, a, c}:
		s.asked[at] = time.Now()
	default:
	}
}

// forget lets the next attempt raise the doubt again.
func (s *doubts) forget(at residence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, at)
}

// resolveDoubts asks about doubted runs until ctx ends.
func (r *Runtime) resolveDoubts(ctx context.Context) {
	for {
		select {
		case d := <-r.doubts.waiting:
			r.resolve(ctx, d)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Runtime) resolve(ctx context.Context, d doubt) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	to := d.address
	redirect, err := r.queue.Redirect(ctx, d.at.pool, d.at.slot, d.at.run)
	if err == nil && redirect != nil {
		to, err = decodeAddress(redirect)
	}
	if err != nil {
		r.doubts.forget(d.at)
		return
	}
	ended, err := hasEnded(ctx, d.client, to)
	if err != nil {
		r.log.Debug("[Slipstream] could not learn whether a run has ended", "WorkflowID", to.WorkflowID, "RunID", to.RunID, "Error", err)
		return
	}
	if !ended {
		return
	}
	r.log.Info("[Slipstream] a run has ended elsewhere; its tasks are abandoned", "WorkflowID", to.WorkflowID, "RunID", to.RunID, "Pool", d.at.pool)
	if err := r.queue.Forget(ctx, d.at.pool, d.at.slot, d.at.run); err != nil {
		r.doubts.forget(d.at)
	}
}

// hasEnded asks Temporal. A run that it does not know has ended.
func hasEnded(ctx context.Context, c client.Client, a *address) (bool, error) {
	answer, err := c.WorkflowService().DescribeWorkflowExecution(ctx, &workflowservice.DescribeWorkflowExecutionRequest{
		Namespace: a.Namespace,
		Execution: &commonpb.WorkflowExecution{WorkflowId: a.WorkflowID, RunId: a.RunID},
	})
	var notFound *serviceerror.NotFound
	switch {
	case errors.As(err, &notFound):
		return true, nil
	case err != nil:
		return false, err
	}
	switch answer.GetWorkflowExecutionInfo().GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED,
		enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return true, nil
	}
	return false, nil
}
