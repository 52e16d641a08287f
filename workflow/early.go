package workflow

import (
	"slices"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// The bounds of what a run keeps of outcomes that came before their call.
const (
	maxEarly      = 10_000
	maxEarlyBytes = 4 << 20
)

// early keeps outcomes whose call is not known yet. They come about when a workflow
// task is lost after its dispatch: the queue has the task, the history has not. The
// next attempt usually makes the same call again, and dispatch then says "early".
type early struct {
	kept     map[wire.Identity]*wire.Outcome
	byNumber map[uint64][]wire.Identity
	order    []wire.Identity // oldest first, with gaps: what was taken is not in kept
	bytes    int
}

// keep adds an outcome and returns those that had to go for it, the oldest first. One
// that is here already stays; the copy is among those that go.
func (e *early) keep(o *wire.Outcome) (gone []wire.Identity) {
	if e.kept == nil {
		e.kept = map[wire.Identity]*wire.Outcome{}
		e.byNumber = map[uint64][]wire.Identity{}
	}
	if e.kept[o.Identity] != nil {
		return []wire.Identity{o.Identity}
	}
	e.kept[o.Identity] = o
	e.byNumber[o.Number] = append(e.byNumber[o.Number], o.Identity)
	e.order = append(e.order, o.Identity)
	e.bytes += size(o)
	for len(e.kept) > maxEarly || e.bytes > maxEarlyBytes {
		oldest := e.order[0]
		e.order = e.order[1:]
		if e.take(oldest) != nil {
			gone = append(gone, oldest)
		}
	}
	return gone
}

// take removes and returns the outcome with that identity, nil if it is not here.
func (e *early) take(identity wire.Identity) *wire.Outcome {
	o := e.kept[identity]
	if o == nil {
		return nil
	}
	delete(e.kept, identity)
	e.bytes -= size(o)
	rest := slices.DeleteFunc(e.byNumber[identity.Number], func(i wire.Identity) bool { return i == identity })
	if len(rest) == 0 {
		delete(e.byNumber, identity.Number)
	} else {
		e.byNumber[identity.Number] = rest
	}
	if len(e.order) > 2*len(e.kept)+16 {
		e.order = slices.DeleteFunc(e.order, func(i wire.Identity) bool { return e.kept[i] == nil })
	}
	return o
}

// forget removes all outcomes with that number and returns their identities.
func (e *early) forget(number uint64) []wire.Identity {
	gone := slices.Clone(e.byNumber[number])
	for _, identity := range gone {
		e.take(identity)
	}
	return gone
}

// identities lists what is here for a number.
func (e *early) identities(number uint64) []wire.Identity { return e.byNumber[number] }

func size(o *wire.Outcome) int {
	n := len(o.RunID) + len(o.Worker)
	for _, p := range o.Payloads {
		n += wire.PayloadSize(p)
	}
	for _, p := range o.Details {
		n += wire.PayloadSize(p)
	}
	return n
}
