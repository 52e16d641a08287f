package batchqueue

import (
	"context"
	"time"
)

// TaskOptions are what the queue itself needs to know about a task: its deadlines
// and its retry policy. Tasks with equal options share one stored copy.
//
// Durations are rounded up to milliseconds. Zero means "no limit" for the four
// time-outs and for MaximumAttempts.
type TaskOptions struct {
	// ScheduleToStart limits the wait for an executor, anew for each attempt. It is
	// never retried.
	ScheduleToStart time.Duration
	// ScheduleToClose limits the task's whole life, retries included.
	ScheduleToClose time.Duration
	// StartToClose limits one attempt. The executor enforces it.
	StartToClose time.Duration
	// Heartbeat limits the time between two heartbeats of an attempt.
	Heartbeat time.Duration
	Retry     RetryPolicy
}

// RetryPolicy says when a failed attempt is followed by another. The zero value
// retries for ever: 1 s, 2 s, 4 s and so on up to 100 s, each with jitter.
type RetryPolicy struct {
	// InitialInterval is the wait after the first failure; 0 means 1 s.
	InitialInterval time.Duration
	// BackoffCoefficient multiplies the wait after each failure; 0 means 2.
	BackoffCoefficient float64
	// MaximumInterval caps the wait; 0 means 100 times InitialInterval.
	MaximumInterval time.Duration
	// MaximumAttempts counts the first attempt too; 0 means no limit. With 1, a task
	// that was claimed once is never started again, whatever happens.
	MaximumAttempts int
	// FinalStartToClose and FinalHeartbeat: an attempt that ends in this time-out is not
	// followed by another, as after Result.NonRetryable.
	FinalStartToClose, FinalHeartbeat bool
}

// Task is one unit of work to enqueue.
type Task struct {
	// Number is the task's number within its run, from 1. Numbers are given once.
	Number uint64
	// Fingerprint is a digest of what is asked. An enqueue of a known number with
	// another fingerprint supersedes the old task; with the same it changes nothing.
	Fingerprint uint64
	// Type routes the task to executors that handle it. Up to 1,000 bytes.
	Type string
	// Payload is opaque to the queue.
	Payload []byte
	Options TaskOptions
	// Then are the steps that follow this one, at most MaxSteps. The task ends with the
	// last of them, or with the first that does not complete.
	Then []Step
	// Early is true when the caller already holds this task's outcome: it was
	// delivered before the caller asked. The answer then is AnswerEarly, and nothing
	// is added.
	Early bool
}

// Step is a further step of a task. When the handler of the step before completes, the
// script that records it adds this one, under the task's number and fingerprint: as if
// its task had been enqueued at that moment, with its own attempts and deadlines.
type Step struct {
	// Type routes the step to executors that handle it. Up to 1,000 bytes.
	Type string
	// Payload is opaque to the queue; the handler finds it in Delivery.Fixed. Equal steps
	// of a wave are stored once. MaxTaskBytes bounds it, with all else of the task.
	Payload []byte
	Options TaskOptions
}

// Wave is a set of tasks of one run that are enqueued together.
type Wave struct {
	// Run owns the tasks. All tasks of a run live in one slot of the pool. Up to
	// 1,000 bytes.
	Run string
	// ID names the wave within the run, for its window.
	ID uint64
	// Common is stored once and handed to every executor and to the Deliverer with
	// the tasks: address, headers, trace. Opaque to the queue.
	Common []byte
	Tasks  []Task
	// Again adds tasks whose outcome was delivered before: the caller has asked twice and
	// knows that it does not have it. Without it they are answered as queued, because
	// the delivery may still be on its way to the run.
	Again bool
	// HeldBelow is the run's low watermark: every number below it is settled for
	// good, its record is trimmed.
	HeldBelow uint64
	// Window keeps the wave's outcomes from the outbox for this long, so that
	// CloseWindow can take them. 0 means none.
	Window time.Duration
	// Inbox is the waiting process's ID (see Queue.Inbox); it is told of finished
	// tasks while the window is open.
	Inbox string
	// Retention is how long the run's record and outcomes that were taken are kept
	// after its last task ended; 0 means 2 minutes. At least 10 s: a repeated enqueue
	// must find what the first one did.
	Retention time.Duration
	// OutcomeOverhead is how many bytes an outcome of the run takes beside its own, where it
	// is delivered; batches are bounded by the sum.
	OutcomeOverhead int
	// Slot is where the run is known to live, for a repeated enqueue; -1 when unknown.
	Slot int
}

// AnswerState is what Enqueue or Ask found for a task.
type AnswerState uint8

const (
	// AnswerQueued: the task is in the queue (added now or before); its outcome will
	// be delivered, or taken by CloseWindow or Ask.
	AnswerQueued AnswerState = iota + 1
	// AnswerDone: the task ended before and its outcome was taken; here it is again.
	AnswerDone
	// AnswerEarly: the caller already holds the outcome.
	AnswerEarly
	// AnswerUnsure: Redis did not answer, or is full (error matches ErrFull); the task may
	// or may not have been added.
	AnswerUnsure
	// AnswerNotHere (Ask only): never seen, delivered, expired, or known with another
	// fingerprint.
	AnswerNotHere
)

// Answer is the queue's word on one task.
type Answer struct {
	Number  uint64
	State   AnswerState
	Outcome *Outcome // for AnswerDone
	Err     error    // for AnswerUnsure
}

// Kind says how a task ended.
type Kind uint8

// The kinds of outcome. The numbers are stored in Redis and never change.
const (
	KindCompleted Kind = iota + 1
	KindFailed
	KindCanceled
	KindScheduleToStart
	KindScheduleToClose
	KindStartToClose
	KindHeartbeat
	// KindPoison: executors died with the task too often.
	KindPoison
)

// String is the kind's name in metrics, logs and traces.
func (k Kind) String() string {
	switch k {
	case KindCompleted:
		return "completed"
	case KindFailed:
		return "failed"
	case KindCanceled:
		return "canceled"
	case KindScheduleToStart:
		return "schedule_to_start_timeout"
	case KindScheduleToClose:
		return "schedule_to_close_timeout"
	case KindStartToClose:
		return "start_to_close_timeout"
	case KindHeartbeat:
		return "heartbeat_timeout"
	case KindPoison:
		return "poison"
	}
	return "unknown"
}

// RetryState says why a task that did not complete was not tried again. The values
// are those of Temporal's RetryState enumeration.
type RetryState int32

// The retry states the queue can report.
const (
	RetryUnspecified     RetryState = 0
	RetryNonRetryable    RetryState = 2
	RetryTimeout         RetryState = 3
	RetryMaximumAttempts RetryState = 4
	RetryPolicyNotSet    RetryState = 5
	RetryCancelRequested RetryState = 7
)

// Outcome is how one task ended.
type Outcome struct {
	Number      uint64
	Fingerprint uint64
	Kind        Kind
	// Step is the step that the task ended in, unless it completed: 0 for the task itself,
	// 1 for the first of Task.Then.
	Step  int
	Retry RetryState
	// Attempt is the number of the last attempt that started; 0 if none did.
	Attempt int
	// Executor is ExecutorOptions.Worker of the last attempt's executor, its ID if it was
	// lost and is gone.
	Executor string
	// Payload is what the handler returned: the result, or the failure.
	Payload []byte
	// LastFailure is the failure of the attempt before, for time-outs.
	LastFailure []byte
	// Details are the last heartbeat details, for time-outs.
	Details []byte
}

// Delivery is a claimed task as a handler sees it.
type Delivery struct {
	Pool        string
	Run         string
	Number      uint64
	Fingerprint uint64
	Type        string
	// Payload is the task's; in a later step it is what the handler of the step before
	// returned.
	Payload []byte
	Common  []byte
	Options TaskOptions
	// Then are the task's further steps, all of them, and Step says which of them this is:
	// 0 for the task itself, 1 for the first of Then. Type and Options are the step's.
	Then []Step
	Step int
	// Attempt is 1 for the first.
	Attempt int
	// ScheduledAt is when the task was enqueued, AttemptScheduledAt when this attempt
	// became due; by Redis's clock.
	ScheduledAt        time.Time
	AttemptScheduledAt time.Time
	// LastFailure and Heartbeat come from the attempt before.
	LastFailure []byte
	Heartbeat   []byte
	// End ends the handler's context with a cause of the handler's own. What the handler
	// returns then is the result, as always. Set by the executor.
	End context.CancelCauseFunc

	// losses counts executors lost with this task, alone those lost while it was the
	// only task of its executor.
	losses, alone int
	// Where the claim stands: the pending list of this entry is the only ownership.
	slot  int
	lane  lane
	entry string
	wave  string
	// position and plan are the step's in the wave's common data; plan is nil without steps.
	position position
	plan     *plan
	// stored is Run as Redis has it, where it came from there.
	stored string
	// Set by the executor, for what the handler records and what is noted of it.
	claim *claim
	table *table
}

// Slot is where the task's run lives in the pool.
func (d *Delivery) Slot() int { return d.slot }

// Last reports whether no step follows this one.
func (d *Delivery) Last() bool { return d.Step >= len(d.Then) }

// Fixed is the Payload of the Step that this is; nil in the task's first.
func (d *Delivery) Fixed() []byte {
	if d.Step == 0 {
		return nil
	}
	return d.Then[d.Step-1].Payload
}

// RecordHeartbeat tells the queue that the handler is alive, with opaque details for
// the next attempt; nil details take back those recorded before. It costs no Redis call: details travel with the next lease
// extension. Safe for concurrent use.
func (d *Delivery) RecordHeartbeat(details []byte) {
	if d.table != nil {
		d.table.note(d.claim, details)
	}
}

// Annotate keeps bytes with this delivery, in this process only, for those that are asked
// about it while the handler runs (ExecutorOptions.TimeoutFailure): a trace, for example. A
// later note replaces the former. Safe for concurrent use.
func (d *Delivery) Annotate(note []byte) {
	if d.claim != nil {
		d.claim.note.Store(&note)
	}
}

// Note is what Annotate kept; nil for a delivery that this process has not handled.
func (d *Delivery) Note() []byte {
	if d.claim == nil {
		return nil
	}
	if note := d.claim.note.Load(); note != nil {
		return *note
	}
	return nil
}

// Result is what a handler decided.
type Result struct {
	// Kind is KindCompleted, KindFailed or KindCanceled.
	Kind Kind
	// Payload is the outcome's. If the handler completed and a step follows, it is the
	// Payload that this one gets.
	Payload []byte
	// NonRetryable ends a failed task whatever its policy says.
	NonRetryable bool
	// NextRetryDelay overrides the policy's interval once; 0 means no override.
	NextRetryDelay time.Duration
	// Declined: the handler cannot run the task, and has not begun to, but another
	// executor's may be able to. The task goes back without losing an attempt, one that may
	// be attempted only once too, and whoever claims it two seconds later is asked. If its
	// cancellation was requested it ends as canceled. The other fields mean nothing then.
	Declined bool
}

// Handler runs one attempt. ctx ends at the attempt's deadline, when the task is
// canceled (context.Cause is ErrCanceled), when the claim is lost (ErrLeaseLost) or
// when the executor's drain time is over (ErrStopping); ExecutorOptions.Cause may give
// others. A handler that ignores ctx
// keeps its permit until it returns, but the outcome is reported without it.
// A panic is not recovered here: the Handler must do that.
type Handler func(ctx context.Context, d *Delivery) Result

// Batch is what one signal carries: outcomes of one run, fixed in the outbox. A batch
// that is sent again is equal to the byte.
type Batch struct {
	Pool string
	Slot int
	Run  string
	// ID is a digest of the identities in the batch, the same for each sending.
	ID string
	// Common is the Common of the first outcome's wave.
	Common []byte
	// Redirect is the delivery address that Ask gave, if any; opaque.
	Redirect []byte
	Outcomes []Outcome

	generation int64 // counts the run's batches
}

// DeliverFunc sends a batch. nil means acknowledged: the outcomes leave the outbox.
// An error that matches ErrRunGone abandons the run's tasks; ErrRunDeaf stops pushing
// to the run, its outcomes wait for Ask; any other error is retried with back-off. One that
// has a method RetryAfter() time.Duration, itself or what it wraps, says how long the
// receiver wants to be left alone: until then nothing new is sent from the slot (a minute
// at most).
// It is called concurrently, for one batch of a run at a time.
type DeliverFunc func(ctx context.Context, b *Batch) error
