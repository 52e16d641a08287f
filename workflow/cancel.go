package workflow

import (
	"fmt"
	"maps"
	"slices"

	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// watcher waits for the cancel of one context on behalf of the open calls made with it.
// Contexts that only differ in their values share one.
type watcher struct {
	done  sdkworkflow.Channel
	calls map[uint64]*call
	// released tells the watcher's coroutine that its last open call has been settled.
	released sdkworkflow.Settable
	ended    bool
}

// watch has a call noticed when its context is cancelled.
func (r *router) watch(c *call) {
	done := c.ctx.Done()
	if done == nil {
		return // a context that cannot be cancelled
	}
	w := r.watchers[done]
	if w == nil || w.ended {
		w = &watcher{done: done, calls: map[uint64]*call{}}
		r.watchers[done] = w
		r.start(w)
	}
	w.calls[c.Number] = c
	c.watcher = w
}

func (r *router) start(w *watcher) {
	released, settable := sdkworkflow.NewFuture(r.root)
	w.released = settable
	r.Next.Go(r.root, "slipstream cancel watcher", func(ctx sdkworkflow.Context) {
		selector := sdkworkflow.NewSelector(ctx)
		selector.AddReceive(w.done, func(sdkworkflow.ReceiveChannel, bool) {})
		selector.AddFuture(released, func(sdkworkflow.Future) {})
		selector.Select(ctx)
		if r.watchers[w.done] == w {
			delete(r.watchers, w.done)
		}
		w.ended = true
		for _, number := range slices.Sorted(maps.Keys(w.calls)) {
			r.cancel(ctx, w.calls[number])
		}
	})
}

// leave releases the watcher with its last call. Safe on a call that has none.
func (w *watcher) leave(c *call) {
	if w == nil {
		return
	}
	delete(w.calls, c.Number)
	if len(w.calls) == 0 && !w.ended {
		w.ended = true
		w.released.Set(nil, nil)
	}
}

// cancel does what the SDK does when the context of an activity call is cancelled: a
// call that waits for its cancellation stays open until the queue reports how it ended,
// any other ends at once. A call that nobody was told of leaves its wave.
func (r *router) cancel(ctx sdkworkflow.Context, c *call) {
	switch {
	case c.phase == closed:
	case !c.waitForCancellation:
		r.disown(ctx, c)
		r.settle(ctx, c, nil, sdkworkflow.ErrCanceled)
	case c.phase == waiting && !c.again:
		r.cancelNeverStarted(ctx, c)
	default: // one whose wave has yet to leave ends as it leaves
		c.cancelWanted = true
		if c.phase == placed && !c.again {
			r.requestCancel(c)
		}
	}
}

// cancelNeverStarted ends a call that waits for its cancellation but is in no queue: as
// the server ends an activity that no worker has started.
func (r *router) cancelNeverStarted(ctx sdkworkflow.Context, c *call) {
	r.finish(ctx, c, &wire.Outcome{Kind: wire.KindCanceled, Payloads: wire.NotStarted()})
}

// requestCancel has the queue told. All requests of a turn share one local activity.
func (r *router) requestCancel(c *call) {
	c.cancelSent = true
	r.cancels = append(r.cancels, c)
	if len(r.cancels) == 1 {
		r.atTail("slipstream cancel", 0, func() uint64 { return uint64(len(r.cancels)) }, r.sendCancels)
	}
}

func (r *router) sendCancels(ctx sdkworkflow.Context) {
	calls := r.cancels
	r.cancels = nil
	request := &wire.CancelRequest{Calls: make([]wire.OpenCall, len(calls))}
	for i, c := range calls {
		request.Calls[i] = wire.OpenCall{Identity: c.identity, Address: c.address, Type: c.Name()}
	}
	lctx := localActivity(ctx, fmt.Sprintf("%d calls", len(calls)))
	err := sdkworkflow.ExecuteLocalActivity(lctx, SlipstreamCancel, r.config.dispatcher(), request).Get(ctx, nil)
	if err == nil {
		return
	}
	// Calls that wait for their cancellation would wait for their whole run: the next ask
	// sends them again. It takes the others out of the queue.
	for i, c := range calls {
		c.cancelSent = false
		if c.phase == closed {
			r.orphan(ctx, request.Calls[i])
		}
	}
	r.armFor(ctx, calls)
}
