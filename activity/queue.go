package activity

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

// Queue runs marked activities without a workflow: for an HTTP handler, a script, a
// migration. The tasks go to the same pools, executors and handlers as those of workflows,
// with the same retries, time-outs and heartbeats; activity.GetInfo looks as it does in a
// standalone activity.
//
// A batch lives in Redis alone. No workflow asks for it, so what Redis loses of it is lost;
// enqueue it again, with the same ID, if you must know.
//
// It works as soon as the plugin's client is made, in a process with workers or without.
// Safe for concurrent use.
type Queue struct {
	runtime func() (*Runtime, error)
}

// NewQueue returns a queue over a runtime that may not be there yet.
func NewQueue(runtime func() (*Runtime, error)) *Queue { return &Queue{runtime: runtime} }

// Errors of a Queue that callers can test with errors.Is, beside those of package
// batchqueue: ErrInvalid for options that are wrong, ErrUnavailable for a Redis that does not
// answer, ErrFull for one that is out of memory, ErrNotFound for a batch that is not known
// any more.
var (
	// ErrNotMarked: the activity is not among the plugin's Marks. Nothing was enqueued.
	ErrNotMarked = errors.New("the activity is not marked")
	// ErrNotHandled: no worker of the pool handles the activity, also not a second later.
	// Nothing was enqueued.
	ErrNotHandled = errors.New("no worker handles the activity")
	// ErrDraining: an operator lets the pool run empty. Nothing was enqueued.
	ErrDraining = errors.New("the pool is being drained")
	// ErrUnsure: Redis did not answer, or not for all, so that tasks may be in the queue or
	// not. The handle is good. Enqueue the same batch again with the handle's ID: it adds
	// what is missing and nothing else.
	ErrUnsure = errors.New("tasks may be in the queue or not; enqueue them again with the same ID")
)

// Task is an activity to run. At least one of StartToCloseTimeout and
// ScheduleToCloseTimeout is required; the rest has the defaults of client.ExecuteActivity.
// So without ScheduleToCloseTimeout and RetryPolicy.MaximumAttempts a task that only ever
// fails is retried until it is canceled.
type Task struct {
	// Activity is the activity's function or its registered name. It must be marked.
	Activity any
	// Args are its arguments; together at most plugin.Options.MaxPayloadBytes.
	Args []any

	ScheduleToCloseTimeout time.Duration
	ScheduleToStartTimeout time.Duration
	StartToCloseTimeout    time.Duration
	HeartbeatTimeout       time.Duration
	RetryPolicy            *temporal.RetryPolicy
}

// BatchOptions are what the tasks of a batch share. TaskQueue is required.
type BatchOptions struct {
	// ID names the batch within its pool, for callers that may repeat themselves: while the
	// batch is open, and for Retention after, the same ID adds no task that is there already,
	// whatever it asks, and gives the same handle. At most 500 bytes. Default: a random one.
	ID string
	// TaskQueue is that of the workers that shall run the tasks.
	TaskQueue string
	// Pool is the pool within the task queue. Default: that of the mark, which then must be
	// the same for all tasks.
	Pool string
	// OnComplete tells a workflow of the outcomes. Without it nobody is told, results are
	// dropped, and Status says how each task ended.
	OnComplete *OnComplete
	// Retention is how long the batch is known after its last task ended and its last
	// outcome was delivered. Default 15 minutes, at least 2 minutes.
	Retention time.Duration
}

// OnComplete is a workflow that is told how the tasks of a batch ended. It gets signals whose
// one argument is a []workflow.Completion, up to 2,000 or 512 KiB of outcomes in each, in the
// order in which the tasks end. The values are encoded for that workflow: by the data
// converter of the client, under the workflow's serialization context. A result has at most
// three quarters of plugin.Options.MaxPayloadBytes, because it may travel in base64.
//
// A workflow that is not found gets nothing: tasks that did not start never will, and the
// batch is parked for 15 minutes, in which enqueuing it again with the same ID revives it.
type OnComplete struct {
	// WorkflowID and SignalName are required.
	WorkflowID string
	// RunID addresses one run. Default: the run that is open when an outcome is delivered.
	RunID      string
	SignalName string
	// Start starts the workflow when an outcome is delivered and it does not run.
	Start *StartWorkflow
	// Context comes back in each completion, see workflow.Completion.GetContext. Encoded at
	// most 8 KiB: it is a reference, not the data.
	Context any
}

// StartWorkflow is what client.SignalWithStartWorkflow wants to know of a workflow. It is
// encoded when the batch is enqueued; together with the rest of the batch's addresses it has
// at most 64 KiB.
type StartWorkflow struct {
	// Options need a TaskQueue; the ID is OnComplete.WorkflowID.
	Options client.StartWorkflowOptions
	// Workflow is the workflow's function or its registered name.
	Workflow any
	Args     []any
}

// Enqueue is EnqueueBatch for one task; its index is 0.
func (q *Queue) Enqueue(ctx context.Context, o BatchOptions, t Task) (Handle, error) {
	return q.EnqueueBatch(ctx, o, []Task{t})
}

// EnqueueBatch puts tasks into the queue, at most 100,000. It returns when Redis has them.
//
// The client's interceptors see each task as a client.ExecuteActivity, and OnComplete as a
// client.SignalWorkflow or client.SignalWithStartWorkflow, though nothing goes to Temporal
// now; context propagators and tracers reach handlers and the signals by that.
//
// With an error other than ErrUnsure nothing was enqueued.
func (q *Queue) EnqueueBatch(ctx context.Context, o BatchOptions, tasks []Task) (Handle, error) {
	r, err := q.runtime()
	if err != nil {
		return Handle{}, err
	}
	b, err := r.newBatch(ctx, &o, tasks)
	if err != nil {
		return Handle{}, err
	}
	h, err := r.enqueue(ctx, b)
	b.endSpans(err)
	return h, err
}
