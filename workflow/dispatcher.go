package workflow

import (
	"context"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// Dispatcher is the ordinary half as the router sees it: everything that does I/O
// on behalf of a workflow. Its methods run inside local activities, but for Progress, so
// activity information, logger and headers are available from ctx. All methods are safe for
// concurrent use. The byte slices are markers: they go to history as they are.
type Dispatcher interface {
	// Dispatch puts the wave's calls into the queue and returns an encoded
	// wire.Marker with one answer per call, in order. An error means that nothing is
	// known about any call of the wave; the router keeps them open and asks.
	Dispatch(ctx context.Context, wave *wire.Wave) ([]byte, error)
	// Reconcile asks the queue about open calls, pulls finished outcomes and takes
	// orphans out; it returns an encoded wire.AskReply.
	Reconcile(ctx context.Context, ask *wire.Ask) ([]byte, error)
	// Cancel asks the queue to cancel calls. It is best effort: a call that ended
	// meanwhile keeps its outcome.
	Cancel(ctx context.Context, request *wire.CancelRequest) error
	// Progress tells where calls stand in the queue, one answer per call, in order; zero
	// for what cannot be told. A query asks, which is no part of the workflow: nothing of
	// the answer is recorded or acted upon. It returns within half a second, if the
	// client of Redis heeds contexts.
	Progress(calls []wire.OpenCall) []Progress
}

// Progress is where a call's task stands in the queue.
type Progress struct {
	// Task is a batchqueue.TaskState, "" where it is not known.
	Task string
	// Attempt is the attempt that runs, waits or is delayed; 0 where that is not known.
	Attempt int
}

// SlipstreamDispatch is the local activity that carries a wave. It is passed to the
// SDK by value and never registered: its name is what people see in histories, and
// the SDK resolves aliases and string names differently in replay.
func SlipstreamDispatch(ctx context.Context, d Dispatcher, wave *wire.Wave) ([]byte, error) {
	return d.Dispatch(ctx, wave)
}

// SlipstreamReconcile is the local activity that asks about open calls.
func SlipstreamReconcile(ctx context.Context, d Dispatcher, ask *wire.Ask) ([]byte, error) {
	return d.Reconcile(ctx, ask)
}

// SlipstreamCancel is the local activity that cancels calls.
func SlipstreamCancel(ctx context.Context, d Dispatcher, request *wire.CancelRequest) error {
	return d.Cancel(ctx, request)
}
