package batchqueue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// claim is a task in an executor's hands, from the claim's reply until Redis confirmed
// its settlement.
type claim struct {
	d   *Delivery
	ref claimRef

	// Set before the handler starts, then only read.
	ctx       context.Context
	cancel    context.CancelCauseFunc
	stopTimer context.CancelFunc // of the deadline; nil without one
	started   time.Time
	limits    limits

	beat  atomic.Pointer[beat] // the handler's last heartbeat
	note  atomic.Pointer[[]byte]
	dirty atomic.Bool // the heartbeat is in table.beats

	// Protected by table.mu.
	state    claimState
	canceled bool // cancellation was requested

	// Protected by alarms.mu.
	alarmAt    time.Time
	alarmIndex int // position in the heap, -1 when not there
}

// free ends the claim's context and timer. The handler has returned, or never ran.
func (c *claim) free() {
	c.cancel(nil)
	if c.stopTimer != nil {
		c.stopTimer()
	}
}

type claimState byte

const (
	// The handler runs and nothing was reported.
	claimRunning claimState = iota
	// A settlement is on its way to Redis. The handler may still run: it timed out or
	// was released, and what it returns is dropped.
	claimReported
	// The claim is not ours any more, or settled.
	claimOver
)

type beat struct {
	at      time.Time
	details []byte
}

// details are those of the last heartbeat, which may have none; before the first they are
// what the attempt before has left.
func (c *claim) details() []byte {
	if b := c.beat.Load(); b != nil {
		return b.details
	}
	return c.d.Heartbeat
}

// table is what an executor believes to hold. Redis's pending lists are the truth, and
// audits compare the two.
type table struct {
	canceled error // the cause of a handler's context whose task was canceled

	mu     sync.Mutex
	claims map[int]map[claimRef]*claim // protected by mu: by slot; no empty maps
	// strays are cancel requests for claims that are not here; their claim's reply may
	// just be on its way. Forgotten at the next extension, which repeats requests.
	// Protected by mu.
	strays map[claimRef]bool
	beats  []*claim // protected by mu: claims with heartbeats that Redis has not seen
}

// maxStrays bounds the requests kept; beyond it, extensions bring them.
const maxStrays = 10000

func newTable(canceled error) *table {
	return &table{canceled: canceled, claims: make(map[int]map[claimRef]*claim), strays: make(map[claimRef]bool)}
}

func (t *table) add(c *claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claims[c.ref.slot] == nil {
		t.claims[c.ref.slot] = make(map[claimRef]*claim)
	}
	t.claims[c.ref.slot][c.ref] = c
	if t.strays[c.ref] {
		delete(t.strays, c.ref)
		c.canceled = true
		c.cancel(t.canceled)
	}
}

// report takes the right to settle the claim. It is given once: to the handler's
// return, a time-out or a release, whichever comes first.
func (t *table) report(c *claim) (first, canceled bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = c.state == claimRunning
	if first {
		c.state = claimReported
	}
	return first, c.canceled
}

// remove takes out a claim that Redis settled.
func (t *table) remove(c *claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(c)
}

func (t *table) drop(c *claim) {
	here := t.claims[c.ref.slot]
	if here[c.ref] != c {
		return
	}
	c.state = claimOver
	delete(here, c.ref)
	if len(here) == 0 {
		delete(t.claims, c.ref.slot)
	}
}

// requestCancel tells the claim's handler to stop.
func (t *table) requestCancel(ref claimRef) {
	t.mu.Lock()
	c := t.claims[ref.slot][ref]
	if c == nil && len(t.strays) < maxStrays {
		t.strays[ref] = true
	}
	news := c != nil && !c.canceled && c.state == claimRunning
	if news {
		c.canceled = true
	}
	t.mu.Unlock()
	if news {
		c.cancel(t.canceled)
	}
}

func (t *table) forgetStrays() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.strays)
}

// slots are those where claims are held.
func (t *table) slots() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.claims))
}

func (t *table) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, here := range t.claims {
		n += len(here)
	}
	return n
}

// running are the claims that nothing was reported for.
func (t *table) running() []*claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*claim
	for _, here := range t.claims {
		for _, c := range here {
			if c.state == claimRunning {
				out = append(out, c)
			}
		}
	}
	return out
}

// note keeps a heartbeat for the next extension of the lease.
func (t *table) note(c *claim, details []byte) {
	had := c.details() != nil
	c.beat.Store(&beat{at: time.Now(), details: details})
	if (details == nil && !had) || !c.dirty.CompareAndSwap(false, true) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.beats = append(t.beats, c)
}

// takeBeats returns the heartbeats noted since the last call, of claims that still run.
func (t *table) takeBeats() map[claimRef][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[claimRef][]byte, len(t.beats))
	for _, c := range t.beats {
		c.dirty.Store(false)
		if c.state == claimRunning {
			out[c.ref] = c.details()
		}
	}
	t.beats = nil
	return out
}

// giveBackBeats keeps heartbeats whose extension failed for the next one.
func (t *table) giveBackBeats(beats map[claimRef][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref := range beats {
		if c := t.claims[ref.slot][ref]; c != nil && c.dirty.CompareAndSwap(false, true) {
			t.beats = append(t.beats, c)
		}
	}
}

// runningIn are the claims of the slot that nothing was reported for.
func (t *table) runningIn(slot int) []*claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*claim
	for _, c := range t.claims[slot] {
		if c.state == claimRunning {
			out = append(out, c)
		}
	}
	return out
}

// compare takes what Redis says this executor holds in the slot; before is what ran
// there when it was asked. unknown are claims that the executor never saw, or that were
// settled while the answer was on its way: Redis knows which. lost are claims that it
// runs and Redis knows nothing of: they are out of the table.
//
// Exact only because no claim of the slot was under way (the claimer sees to it): else
// what is about to arrive would look unknown. A claim that was reported meanwhile may
// be missing for that reason, so only those that still run are lost.
func (t *table) compare(slot int, before []*claim, list []claimRef) (unknown []claimRef, lost []*claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	inList := make(map[claimRef]bool, len(list))
	for _, ref := range list {
		inList[ref] = true
		if t.claims[slot][ref] == nil {
			unknown = append(unknown, ref)
		}
	}
	for _, c := range before {
		if c.state == claimRunning && !inList[c.ref] {
			t.drop(c)
			lost = append(lost, c)
		}
	}
	return unknown, lost
}
