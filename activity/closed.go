package activity

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
)

// The queue keeps a run's record for minutes after its last task, because the run may
// yet ask. A run that has closed asks no more, and many short runs would fill Redis. So
// the gRPC interceptor looks out for workflow task completions that close a run, and
// what the queue has of it goes at once. Best effort: what is missed here expires.

// residence is where a run lives in the queue.
type residence struct {
	pool string
	slot int
	run  string
}

// maxResidences bounds what is remembered of runs that close elsewhere. When it is full
// everything is forgotten: the records expire in Redis then.
const maxResidences = 100_000

// residences of the runs that this process dispatched for, by workflow ID.
type residences struct {
	mu     sync.Mutex
	open   map[string][]residence
	closed []residence
	wake   chan struct{} // capacity 1
}

func newResidences() *residences {
	return &residences{open: map[string][]residence{}, wake: make(chan struct{}, 1)}
}

func (s *residences) note(workflowID string, at residence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.open[workflowID]
	if slices.Contains(known, at) {
		return
	}
	if len(s.open) >= maxResidences {
		clear(s.open)
	}
	s.open[workflowID] = append(known, at)
}

func (s *residences) close(workflowID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.open[workflowID]
	if len(known) == 0 {
		return
	}
	delete(s.open, workflowID)
	s.closed = append(s.closed, known...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *residences) take() []residence {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := s.closed
	s.closed = nil
	return closed
}

// forgetClosed removes the records of closed runs until ctx ends.
func (r *Runtime) forgetClosed(ctx context.Context) {
	for {
		select {
		case <-r.residences.wake:
		case <-ctx.Done():
			return
		}
		for _, at := range r.residences.take() {
			if err := r.queue.Forget(ctx, at.pool, at.slot, at.run); err != nil {
				break // Redis is away; they expire
			}
		}
	}
}

// started are the runtimes of the process that have workers.
type started struct {
	mu  sync.Mutex
	all map[*Runtime]bool
}

var runtimes = started{all: map[*Runtime]bool{}}

func (s *started) set(r *Runtime, running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if running {
		s.all[r] = true
	} else {
		delete(s.all, r)
	}
}

// worker finds a worker by its instance key, nil if it is none of theirs.
func (s *started) worker(instance string) *Worker {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.all))
	s.mu.Unlock() // a runtime that stops holds its own lock when it comes here
	for _, r := range all {
		if w := r.Worker(instance); w != nil {
			return w
		}
	}
	return nil
}

// divert tells whether an activity task of the type may be diverted by one of them.
func (s *started) divert(namespace, activityType string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.all {
		if _, marked := r.o.Marks[activityType]; marked && r.o.Divert && r.client.Namespace == namespace {
			return true
		}
	}
	return false
}

// runClosed tells the runtimes of the namespace. The SDK names the workflow in the
// request's resource ID; the run ID stands only in the token, which is the server's.
func (s *started) runClosed(namespace, resource string) {
	workflowID, ok := strings.CutPrefix(resource, "workflow:")
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.all {
		if r.client.Namespace == namespace {
			r.residences.close(workflowID)
		}
	}
}

// closesRun tells whether a workflow task completion ends its run. The closing command
// is the last one.
func closesRun(r *workflowservice.RespondWorkflowTaskCompletedRequest) bool {
	commands := r.GetCommands()
	if len(commands) == 0 || r.GetIntermediatePage() {
		return false
	}
	switch commands[len(commands)-1].GetCommandType() {
	case enumspb.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION, enumspb.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
		enumspb.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION, enumspb.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION:
		return true
	}
	return false
}
