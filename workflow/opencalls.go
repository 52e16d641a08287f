package workflow

import (
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// QueryOpenCalls is the query that every routed run answers: its routed calls that are
// not settled, an []OpenCall in the order in which workflow code made them. It costs no
// history. A run that has made no activity call yet, or is plain, does not know it.
const QueryOpenCalls = "slipstream_open_calls"

// OpenCall is a routed call that a run waits for, as far as the run knows. What only the
// queue knows, its attempt for instance, is not here.
type OpenCall struct {
	// Number is the call's number among the routed calls of the run, from 1.
	Number       uint64 `json:"number"`
	ActivityID   string `json:"activityId"`
	ActivityType string `json:"activityType"`
	// State is where the call stands: buffered (its wave has not been sent), dispatching,
	// unsure (sent, but whether the queue has it is not known), queued, or waiting (for
	// Redis to come back).
	State string `json:"state"`
	// Run and Number name its task in the queue, Pool and Slot its place. Empty, and -1, as
	// long as the run does not know them. Run is another one after a reset.
	Run  string `json:"run,omitempty"`
	Pool string `json:"pool,omitempty"`
	Slot int    `json:"slot"`
	// CancelRequested: the workflow has cancelled the call, and waits for its end.
	CancelRequested bool `json:"cancelRequested,omitempty"`
}

// answerOpenCalls registers the query. It passes the user's outbound interceptors, as all
// that the router does for itself.
func (r *router) answerOpenCalls(ctx sdkworkflow.Context) {
	handler := func() ([]OpenCall, error) { return r.describeOpen(), nil }
	options := sdkworkflow.QueryHandlerOptions{Description: "Slipstream: routed calls that this run waits for"}
	if err := r.Next.SetQueryHandlerWithOptions(ctx, QueryOpenCalls, handler, options); err != nil {
		r.Next.GetLogger(ctx).Warn("[Slipstream] open calls cannot be queried", "Error", err)
	}
}

func (r *router) describeOpen() []OpenCall {
	calls := r.openCalls(func(*call) bool { return true })
	described := make([]OpenCall, len(calls))
	for i, c := range calls {
		d := OpenCall{
			Number: c.Number, ActivityID: c.ActivityID, ActivityType: c.Type, State: c.phase.String(), Slot: -1, CancelRequested: c.cancelWanted,
		}
		if c.address.Pool != "" {
			d.Run, d.Pool, d.Slot = c.identity.RunID, c.address.Pool, c.address.Slot
		}
		described[i] = d
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
