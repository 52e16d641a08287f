package workflow

import (
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// QueryOpenCalls is the query that every run of a worker with the plugin answers: its
// routed calls that are not settled, an []OpenCall in the order in which workflow code made
// them, empty for a plain run. It costs no history. A handler of the workflow's own of this
// name takes its place.
const QueryOpenCalls = "slipstream_open_calls"

// OpenCall is a routed call that a run waits for: what the run knows of it, and what the
// queue said when the query was answered.
type OpenCall struct {
	// Number is the call's number among the routed calls of the run, from 1.
	Number       uint64 `json:"number"`
	ActivityID   string `json:"activityId"`
	ActivityType string `json:"activityType"`
	// State is where the call stands: buffered (its wave has not been sent), dispatching,
	// unsure (sent, but whether the queue has it is not known), queued, or waiting (for
	// Redis to come back).
	State string `json:"state"`
	// Task is where its task stands in the queue: waiting (for an executor), claimed,
	// canceling (claimed, and told to stop), delayed (for its next attempt), finished, taken,
	// acknowledged or parked. Attempt is the attempt that runs, waits or is delayed; of a
	// chain, its step's. Empty, and 0, for what the queue does not know, for some seconds
	// after Redis did not answer within half a second, for calls after the first 1,000, and the
	// attempt for many large tasks that come again.
	Task    string `json:"task,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Run and Number name its task in the queue, Pool and Slot its place. Empty, and -1, as
	// long as the run does not know them. Run is another one after a reset.
	Run  string `json:"run,omitempty"`
	Pool string `json:"pool,omitempty"`
	Slot int    `json:"slot"`
	// CancelRequested: the workflow has cancelled the call, and waits for its end.
	CancelRequested bool `json:"cancelRequested,omitempty"`
}

// answerOpenCalls registers the query. The user's outbound interceptors do not see it, nor
// anything else that the router does for itself.
func (r *router) answerOpenCalls(ctx sdkworkflow.Context) {
	handler := func() ([]OpenCall, error) { return r.describeOpen(), nil }
	options := sdkworkflow.QueryHandlerOptions{Description: "Slipstream: routed calls that this run waits for"}
	if err := r.Next.SetQueryHandlerWithOptions(ctx, QueryOpenCalls, handler, options); err != nil {
		r.Next.GetLogger(ctx).Warn("[Slipstream] open calls cannot be queried", "Error", err)
	}
}

// progressCalls is how many calls the queue is asked about for one query.
const progressCalls = 1000

func (r *router) describeOpen() []OpenCall {
	calls := r.openCalls(func(*call) bool { return true })
	described := make([]OpenCall, len(calls))
	var asked []wire.OpenCall
	var places []int // of those asked for
	for i, c := range calls {
		d := OpenCall{
			Number: c.Number, ActivityID: c.ActivityID, ActivityType: c.Type, State: c.phase.String(), Slot: -1, CancelRequested: c.cancelWanted,
		}
		if c.address.Pool != "" {
			d.Run, d.Pool, d.Slot = c.identity.RunID, c.address.Pool, c.address.Slot
			if c.phase == placed && len(asked) < progressCalls {
				asked, places = append(asked, c.openCall()), append(places, i)
			}
		}
		described[i] = d
	}
	if len(asked) > 0 {
		for i, p := range r.config.dispatcher().Progress(asked) {
			described[places[i]].Task, described[places[i]].Attempt = p.Task, p.Attempt
		}
	}
	return described
}

func (p phase) String() string {
	switch p {
	case buffered:
		return "buffered"
	case dispatching:
		return "dispatching"
	case lost:
		return "unsure"
	case placed:
		return "queued"
	case waiting:
		return "waiting"
	case closed:
	}
	return "closed"
}
