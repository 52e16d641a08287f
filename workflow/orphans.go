package workflow

import (
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// The bounds of what a run keeps of its orphans.
const (
	maxOrphans     = 1_000
	maxOrphanBytes = 4 << 20
)

// orphans are calls that ended before anybody knew whether the queue has them: their
// contexts were cancelled, and their dispatch ended in an error. The next ask has them
// taken out of the queue. Best effort: a task that is forgotten runs although nobody
// waits, and its outcome is dropped.
type orphans struct {
	calls []wire.OpenCall // oldest first
	bytes int
}

// add keeps a call, and forgets the oldest where there is no room for all.
func (o *orphans) add(c wire.OpenCall) {
	o.calls = append(o.calls, c)
	o.bytes += weight(&c)
	for len(o.calls) > maxOrphans || o.bytes > maxOrphanBytes {
		o.bytes -= weight(&o.calls[0])
		o.calls = o.calls[1:]
	}
}

// take removes and returns all of them.
func (o *orphans) take() []wire.OpenCall {
	calls := o.calls
	*o = orphans{}
	return calls
}

func weight(c *wire.OpenCall) int {
	if c.Call == nil {
		return 0
	}
	return wire.PayloadsSize(c.Call.Input) + len(c.Call.Canonical)
}

// disown has the queue told that nobody waits for a call any more. Where a dispatch is
// under way that does not help yet: its end disowns the call, see apply and loseWave.
func (r *router) disown(ctx sdkworkflow.Context, c *call) {
	switch {
	case c.again:
	case c.phase == placed:
		r.requestCancel(c)
	case c.phase == lost:
		r.orphan(ctx, c.openCall())
	}
}

// orphan keeps a call for the next ask, which comes soon: the dispatch that was lost may
// not be over yet, and what it adds late is to be found.
func (r *router) orphan(ctx sdkworkflow.Context, c wire.OpenCall) {
	r.orphans.add(c)
	r.armSoon(ctx)
}
