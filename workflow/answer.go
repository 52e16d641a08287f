package workflow

import (
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// apply does what dispatch decided for one call.
func (r *router) apply(ctx sdkworkflow.Context, c *call, marker *wire.Marker, a *wire.Answer) {
	identity := wire.Identity{RunID: marker.RunID, Number: a.Number, Fingerprint: a.Fingerprint}
	var address wire.Address
	if a.Address >= 0 {
		address = marker.Addresses[a.Address]
	}
	if c.phase == closed {
		// Settled while its dispatch was under way: cancelled, or its outcome overtook a
		// repeated dispatch. If this put a task into the queue, nobody wants it any more.
		if a.Address >= 0 && (a.State == wire.StateQueued || a.State == wire.StateUnsure) {
			c.identity, c.address = identity, address
			r.requestCancel(c)
		}
		return
	}
	switch a.State {
	case wire.StateDone:
		if a.Outcome != nil {
			r.finish(ctx, c, a.Outcome)
			return
		}
	case wire.StateRefused:
		r.refuse(ctx, c, a.Failure)
		return
	case wire.StatePlain:
		r.goPlain(ctx, c)
		return
	case wire.StateWaiting:
		c.identity, c.Fingerprint, c.phase = identity, a.Fingerprint, waiting
		r.fallback.waiting = true
		if c.cancelWanted {
			r.cancelNeverStarted(ctx, c)
		}
		return
	case wire.StateQueued:
		r.placeQueued(ctx, c, identity, address)
		return
	case wire.StateEarly, wire.StateUnsure, wire.StateUnknown, wire.StateNotHere:
	}
	// What is left is not sure: the next ask decides. So is a state that a newer version
	// wrote, and "early" for an outcome that had to go for others.
	r.place(ctx, c, identity, address)
	if c.phase != closed {
		r.armSoon(ctx)
	}
}

// placeQueued places a call that the queue has for certain.
func (r *router) placeQueued(ctx sdkworkflow.Context, c *call, identity wire.Identity, address wire.Address) {
	c.missed = nil
	r.place(ctx, c, identity, address)
	if c.phase != closed && c.cancelWanted && !c.cancelSent {
		r.requestCancel(c)
	}
}

// loseWave keeps the calls of a dispatch that ended in an error: whether they are in
// the queue is not known, so they are neither run plainly nor added again before an ask
// has found out (protocol D1).
func (r *router) loseWave(ctx sdkworkflow.Context, calls []*call, wave *wire.Wave, err error) {
	r.Next.GetLogger(ctx).Warn("[Slipstream] dispatch ended in an error, its calls stay open until the next ask",
		"Calls", len(calls), "Error", err)
	for i, c := range calls {
		switch c.phase {
		case dispatching, waiting:
			c.phase = lost
		case closed:
			// Ended while its dispatch was under way, without what places it: that stands in
			// the wave.
			o := c.openCall()
			if c.address == (wire.Address{}) {
				sent := wave.Calls[i]
				o = wire.OpenCall{Identity: wire.Identity{Number: c.Number}, Type: c.Name(), Call: &sent}
			}
			r.orphan(ctx, o)
		default:
			// A placed call that was dispatched again keeps its place: asks know where to look.
		}
	}
	r.armSoon(ctx)
}
