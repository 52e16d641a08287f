package workflow

import (
	"time"

	commonpb "go.temporal.io/api/common/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// phase is how far a call has come. It only moves forward, except among placed, waiting
// and lost when a dispatch is repeated.
type phase uint8

const (
	// buffered: in the wave that is forming; nobody else knows it.
	buffered phase = iota
	// dispatching: its first dispatch is under way; it may be in the queue.
	dispatching
	// lost: its dispatch ended in an error. It may be in the queue, nobody knows where.
	lost
	// placed: a marker or a reply says who and where it is; it is in the queue, or an ask
	// will find out that it is not.
	placed
	// waiting: it is certainly not in the queue, and the run has no fallback left.
	waiting
	// closed: settled, or handed over to the SDK as a plain activity.
	closed
)

// call is one routed call from ExecuteActivity until it is closed.
type call struct {
	wire.Call
	chain               *chain // nil: a single activity
	header              *commonpb.Header
	waitForCancellation bool
	made                time.Time

	phase phase
	// identity and address stand in a marker; they are empty before that.
	identity wire.Identity
	address  wire.Address
	// again is true while a repeated dispatch is under way.
	again bool
	// missed is the first of two asks that did not find the call; nil: the last one did.
	missed *miss

	// cancelWanted: the call's context was cancelled and the queue should hear of it.
	// cancelSent: it has.
	cancelWanted bool
	cancelSent   bool
	watcher      *watcher

	// What a plain call needs, should dispatch decide for one.
	ctx  sdkworkflow.Context
	args []any

	settable sdkworkflow.Settable
}

// identified reports whether outcomes can be matched against the call's full identity.
func (c *call) identified() bool { return c.phase == placed || c.phase == waiting }

// resting reports whether the call is open and no dispatch of it is under way.
func (c *call) resting() bool {
	return (c.phase == placed || c.phase == lost || c.phase == waiting) && !c.again
}

// deadline is when the call times out as a whole, if it does. A chain may take the time of
// all its steps.
func (c *call) deadline() (time.Time, bool) {
	limit, limited := c.Options.ScheduleToClose, c.Options.ScheduleToClose > 0
	for i := range c.Then {
		s := c.Then[i].Options.ScheduleToClose
		limit, limited = limit+s, limited && s > 0
	}
	return c.made.Add(limit), limited
}

// startBy is when the call times out if it has not started by then, where that is before
// its deadline.
func (c *call) startBy() (time.Time, bool) {
	limit := c.Options.ScheduleToStart
	return c.made.Add(limit), limit > 0 && (c.Options.ScheduleToClose == 0 || limit < c.Options.ScheduleToClose)
}

// remaining is the time to the deadline, at least a moment, for a call that is handed to
// somebody who counts from then on. It reports false where that makes no difference: no
// deadline, or a call that was made just now.
func (c *call) remaining(now time.Time) (time.Duration, bool) {
	deadline, ok := c.deadline()
	if !ok || now.Sub(c.made) < time.Second {
		return 0, false
	}
	return max(deadline.Sub(now), time.Millisecond), true
}

// overdue reports whether the deadline is so long gone that the queue should have said.
func (c *call) overdue(now time.Time) bool {
	deadline, ok := c.deadline()
	return ok && !now.Before(deadline.Add(deadlineGrace))
}

// miss is an ask that did not find a call.
type miss struct {
	length int // of the history
	at     time.Time
}

func (c *call) openCall() wire.OpenCall {
	if c.phase == lost {
		// A copy: the local activity reads it while workflow code goes on.
		copied := c.Call
		return wire.OpenCall{Identity: wire.Identity{Number: c.Number}, Type: c.Name(), Call: &copied}
	}
	return wire.OpenCall{Identity: c.identity, Address: c.address, Type: c.Name()}
}

// place gives a call its identity, and settles it if its outcome was here first.
func (r *router) place(ctx sdkworkflow.Context, c *call, identity wire.Identity, address wire.Address) {
	c.identity, c.address, c.Fingerprint = identity, address, identity.Fingerprint
	c.phase = placed
	if o := r.early.take(identity); o != nil {
		r.finish(ctx, c, o)
		return
	}
	for range r.early.forget(c.Number) {
		r.drop(ctx, droppedMismatch)
	}
}

// settle ends a call with what its future gives to workflow code.
func (r *router) settle(ctx sdkworkflow.Context, c *call, value any, err error) {
	if c.phase == closed {
		return
	}
	settable := c.settable
	r.close(ctx, c)
	settable.Set(value, err)
}

// close forgets a call: settled, or handed over.
func (r *router) close(ctx sdkworkflow.Context, c *call) {
	c.phase = closed
	delete(r.open, c.Number)
	for range r.early.forget(c.Number) {
		r.drop(ctx, droppedSettled)
	}
	r.held.settled(c.Number, r.Next.GetInfo(ctx).GetCurrentHistoryLength())
	c.watcher.leave(c)
	c.Input, c.Canonical, c.chain, c.ctx, c.args, c.settable = nil, nil, nil, nil, nil, nil
}

// watermark knows below which number all calls were settled by earlier, committed
// workflow tasks ("held").
type watermark struct {
	lowest uint64 // the lowest number that may be open
	// The lowest number that was settled at history length at. Only the current length
	// matters: what was settled at an earlier one is committed.
	recent uint64
	at     int
}

func (w *watermark) settled(number uint64, length int) {
	if length != w.at || number < w.recent {
		w.recent, w.at = number, length
	}
}

// below returns the mark: every number below it is held.
func (w *watermark) below(open map[uint64]*call, last uint64, length int) uint64 {
	w.lowest = max(w.lowest, 1)
	for w.lowest <= last && open[w.lowest] == nil {
		w.lowest++
	}
	if w.at == length && w.recent != 0 {
		return min(w.lowest, w.recent)
	}
	return w.lowest
}
