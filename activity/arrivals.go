package activity

import (
	"runtime"
	"sync"
	"weak"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipstream-go/slipstream/workflow"
)

// An activity interceptor sees arguments that the SDK has decoded, and no heartbeat
// details. What goes into the queue must be the task as Temporal sent it. So the gRPC
// interceptor keeps hold of tasks of marked types from the call that brings them until
// the SDK runs them.

// activityTask is an activity task as the server hands it out.
type activityTask = workflowservice.PollActivityTaskQueueResponse

// arrivals are the activity tasks that the SDK has received and not run yet, by token.
// The references are weak: a task that the SDK drops, because its worker stops, is
// forgotten with it.
type arrivals struct {
	mu    sync.Mutex
	tasks map[string]weak.Pointer[activityTask]
}

// arrived are those of the whole process: see hostTable.
var arrived = arrivals{tasks: map[string]weak.Pointer[activityTask]{}}

func (a *arrivals) note(t *activityTask) {
	token := string(t.GetTaskToken())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks[token] = weak.Make(t)
	runtime.AddCleanup(t, a.forget, token)
}

func (a *arrivals) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, token)
}

// take returns the task with the token, nil if it is not known, and forgets it.
func (a *arrivals) take(token []byte) *activityTask {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[string(token)].Value()
	delete(a.tasks, string(token))
	return t
}

// noteArrivals keeps hold of tasks that some runtime of the process may divert.
func noteArrivals(namespace string, tasks ...*activityTask) {
	for _, t := range tasks {
		if len(t.GetTaskToken()) > 0 && !sentBack(t) && runtimes.divert(namespace, t.GetActivityType().GetName()) {
			arrived.note(t)
		}
	}
}

// sentBack tells whether the router has sent the task back: it must run in place (protocol
// R4). Nobody else shall see how it said so, so it takes that out of the header.
func sentBack(t *activityTask) bool {
	fields := t.GetHeader().GetFields()
	if string(fields[workflow.PlainHeader].GetData()) != workflow.PlainHeaderValue {
		return false
	}
	delete(fields, workflow.PlainHeader)
	return true
}
