package wire

import (
	"strconv"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
)

// Identity names one call for ever: the run that dispatched it, its number in
// that run and the fingerprint of what was asked (protocol I1).
type Identity struct {
	RunID       string
	Number      uint64
	Fingerprint uint64
}

// Call is one marked call as workflow code made it. The router fills it; dispatch
// turns it into a task. It lives in memory only.
type Call struct {
	Number uint64
	// Type is the activity type name as the SDK resolved it.
	Type string
	// TaskQueue is the call's task queue: the one in its options, else the workflow's.
	TaskQueue string
	// Pool is the optional pool name of the mark, as the route record holds it.
	Pool string
	// ActivityID is the ID from the options, else the call's number in decimal.
	ActivityID string
	// Input holds the arguments as the user's data converter encoded them under the
	// workflow's serialization context. Nil when the call has no arguments.
	Input *commonpb.Payloads
	// Canonical is the encoding of the arguments before any codec; it only feeds the
	// fingerprint. Nil means: use Input.
	Canonical []byte
	// Fingerprint is zero in a first dispatch and known in a repeated one.
	Fingerprint uint64
	Options     CallOptions
	// Then are the steps of a chain after the first, which is the call itself. Calls may
	// share the slice; it is never changed.
	Then []Step
	// Results: the outcome of a completed chain holds one payload per step. Without it,
	// the last step's.
	Results bool
}

// Step is a step of a chain after the first. It runs in the call's pool, with the result
// of the step before as its argument.
type Step struct {
	Type string
	// ActivityID is that of the options; empty means ActivityID(number, step).
	ActivityID string
	Options    CallOptions
}

// ActivityID is the ID of a call that has none in its options, or of a step of it.
func ActivityID(number uint64, step int) string {
	id := strconv.FormatUint(number, 10)
	if step > 0 {
		id += "." + strconv.Itoa(step+1)
	}
	return id
}

// Types are the activity types of the call: one, or one per step.
func (c *Call) Types() []string {
	types := append(make([]string, 0, 1+len(c.Then)), c.Type)
	for i := range c.Then {
		types = append(types, c.Then[i].Type)
	}
	return types
}

// Name is the call's type in markers and messages: the activity type, or those of all
// steps.
func (c *Call) Name() string {
	if len(c.Then) == 0 {
		return c.Type
	}
	return strings.Join(c.Types(), " > ")
}

// Once reports whether the call, or a step of it, must never start twice.
func (c *Call) Once() bool {
	_, once := c.OnceStep()
	return once
}

// OnceStep is the first step that must never start twice.
func (c *Call) OnceStep() (step int, ok bool) {
	if c.Options.Retry.GetMaximumAttempts() == 1 {
		return 0, true
	}
	for i := range c.Then {
		if c.Then[i].Options.Retry.GetMaximumAttempts() == 1 {
			return i + 1, true
		}
	}
	return 0, false
}

// Weight is how many plain activities the call becomes.
func (c *Call) Weight() int { return 1 + len(c.Then) }

// CallOptions are the activity options that matter for a routed call.
type CallOptions struct {
	ScheduleToClose time.Duration
	ScheduleToStart time.Duration
	StartToClose    time.Duration
	Heartbeat       time.Duration
	// Retry is never nil: the router fills Temporal's defaults in.
	Retry *commonpb.RetryPolicy
}

// Wave is the set of marked calls that one dispatch carries.
type Wave struct {
	// First is the number of the first call; it names the wave within its run.
	First uint64
	Calls []Call
	// Header is what the propagators and outer interceptors put on the calls. Calls
	// with different headers go into the same wave; Headers[i] belongs to Calls[i],
	// and equal headers share one value.
	Headers []*commonpb.Header
	// Early lists outcomes that arrived by signal before their call existed.
	Early []Identity
	// HeldBelow is the low watermark: every call below it was settled by an earlier,
	// committed workflow task.
	HeldBelow uint64
	// Again is true when the calls were dispatched before: a reconcile did not find them
	// (protocol C2), or the queue did not take them (StateWaiting).
	Again bool
	// Fallback is how many more activities of this run may go plain (protocol D6). A chain
	// counts as its steps.
	Fallback int
	// NoWindow asks for an immediate return, without waiting for results.
	NoWindow bool
	// TaskTimeout is the run's workflow task time-out; 0 if unknown. Windows stay well
	// below it, and what was handed over is kept for a multiple of it.
	TaskTimeout time.Duration
}

// State is what dispatch or reconcile found for one call.
type State uint8

// The states. Their numbers stand in histories and never change.
const (
	StateUnknown State = iota
	// StateQueued: the queue has the task; its outcome comes by signal or by pull.
	StateQueued
	// StateDone: the outcome is in the marker.
	StateDone
	// StateEarly: the outcome was signalled before the call existed; the router kept it.
	StateEarly
	// StateRefused: the call fails with the answer's failure.
	StateRefused
	// StatePlain: the call becomes an ordinary Temporal activity.
	StatePlain
	// StateUnsure: the enqueue's answer was lost; the next ask decides.
	StateUnsure
	// StateNotHere is a reconcile answer: the queue does not know the call.
	StateNotHere
	// StateWaiting: Redis did not take the call, for certain, and the run may not send
	// more plain calls (protocol D6). The router dispatches it again later.
	StateWaiting
)

// Kind says how a call ended. Numbers stand in histories and never change.
type Kind uint8

// The kinds of outcome.
const (
	KindUnknown Kind = iota
	// KindCompleted: Payloads is the activity's result (may be empty).
	KindCompleted
	// KindFailed: Payloads holds one payload, the encoded failure (see EncodeFailure).
	KindFailed
	// KindCanceled: the handler acknowledged a cancel, or it never started. Payloads
	// are the details. A chain whose next step was not even scheduled has neither attempt
	// nor payloads.
	KindCanceled
	// The time-outs, as Temporal names them. Payloads: none, or one payload with the
	// last attempt's failure. Heartbeat carries the last details in Details.
	KindScheduleToStart
	KindScheduleToClose
	KindStartToClose
	KindHeartbeat
	// KindPoison: executors died with the task too often; it is in the dead letters.
	KindPoison
)

// RetryState mirrors enumspb.RetryState; kept as a number in histories.
type RetryState int32

// Outcome is how one call ended.
type Outcome struct {
	Identity
	Kind Kind
	// Step is the step of a chain that this happened in, from 0; it says nothing where the
	// chain completed.
	Step    int32
	Attempt int32
	Retry   RetryState
	// Worker is the identity of the executor's worker, for the error's identity field.
	Worker string
	// Payloads depend on Kind, see there.
	Payloads []*commonpb.Payload
	// Details are the last heartbeat details of a heartbeat time-out.
	Details []*commonpb.Payload
}

// Answer is what a dispatch decided for one call.
type Answer struct {
	Number      uint64
	Type        string
	State       State
	Fingerprint uint64
	// Address indexes Marker.Addresses; -1 when the call is in no pool.
	Address int
	// Outcome is set for StateDone.
	Outcome *Outcome
	// Failure is set for StateRefused: one payload, the encoded failure.
	Failure *commonpb.Payload
}

// Address is where a call's task lives. It is written by dispatch and read back
// from the marker; workflow code never computes it (protocol I4).
type Address struct {
	// Pool is the queue's full pool name, with pool suffix and build ID.
	Pool string
	Slot int
}

// Marker is the one binary payload that a dispatch leaves in history.
type Marker struct {
	// RunID is the run that dispatched, read by dispatch from its own Info.
	RunID     string
	First     uint64
	Addresses []Address
	Answers   []Answer
	// Taken are outcomes of earlier waves of the run that the closing script handed
	// over together with this wave's.
	Taken []Outcome
	// Summary is one readable line for people who look at the history.
	Summary string
}

// Ask is what a reconcile asks about: the run's open calls.
type Ask struct {
	// Round counts the run's asks.
	Round int
	Open  []OpenCall
	// Orphans are calls that nobody waits for any more and that may be in the queue all
	// the same: they leave it. Those for which Redis does not answer are in
	// AskReply.Found as StateUnsure, the others are not.
	Orphans []OpenCall
}

// OpenCall is an identity and where it was put.
type OpenCall struct {
	Identity
	Address
	// Type is only for messages.
	Type string
	// Call is set, and fingerprint and address are empty, when the answer to the call's
	// dispatch was lost. Reconcile then finds both out as dispatch would, for the run
	// that asks, and reports them in AskReply.Found whatever the state.
	Call *Call
}

// AskReply is the reconcile's binary payload.
type AskReply struct {
	// RunID is the run that asked, read from the local activity's own Info. It is the
	// dispatching run of the calls that were asked about with OpenCall.Call.
	RunID string
	// Addresses are what Found refers to.
	Addresses []Address
	// Found holds the open calls that are not plainly queued: StateNotHere and
	// StateUnsure (Redis did not answer). Calls that are not listed are queued, except
	// those asked about with OpenCall.Call: they are always listed, StateQueued too,
	// with their fingerprint and address.
	Found []Answer
	// Taken are finished outcomes that were pulled.
	Taken []Outcome
}

// CancelRequest asks the queue to cancel calls: queued ones end as canceled, running
// ones have their context canceled.
type CancelRequest struct {
	Calls []OpenCall
}
