package batchqueue

import (
	"slices"
	"time"
)

// suspectLevels is how many suspects of a narrowing level an executor may hold: lost
// twice, three times, more often (protocol Q6). The last level is claimed alone.
var suspectLevels = suspectBudgets{32, 4, 1}

const levelAlone = 2

// suspectLevel is the level of a task that was lost with its executor that often, -1
// for one that is no suspect.
func suspectLevel(losses int) int { return min(losses-2, levelAlone) }

// Alone means that of the executors of one budget no other runs a handler: what takes a
// process down takes all of them, and a suspect must not be counted for what another one
// did. Guests run beside it, their callers cannot wait.
//
// Executors that were asked to run a suspect alone stop claiming until their handlers
// have returned. They give up after aloneWaitFirst, work on for as long as they have
// waited, and try again with twice the patience, up to aloneWaitMost: half of their time
// at the worst.
const (
	aloneWaitFirst = 30 * time.Second
	aloneWaitMost  = 10 * time.Minute
)

// idleAfter is how long nothing must run before an executor looks for suspects that
// must run alone.
const idleAfter = 100 * time.Millisecond

// aloneWait is the state of making room for a suspect that must run alone.
type aloneWait struct {
	running bool                // it runs: nothing else is claimed
	places  map[place]time.Time // where such suspects wait, from when on
	since   time.Time           // when claiming stopped for it; zero: it has not
	rest    time.Time           // no new try before
	wait    time.Duration
	timer   *time.Timer // pumps when the wait or the rest is over
}

// place is a slot of an executor.
type place struct {
	c    *claimer
	slot int
}

// enterAlone is asked before a suspect that must run alone is started, with the permits
// that its claim holds. No means that something else runs or is on its way: the suspect
// is to be released. After yes nothing is claimed until its handler returned.
func (c *claimer) enterAlone(permits int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.budget.alone.running || c.budget.claimed > permits {
		return false
	}
	c.budget.alone.running = true
	return true
}

// wantAlone tells that from at on a suspect waits in the slot which must run alone.
func (c *claimer) wantAlone(slot int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return
	}
	c.budget.alone.places[place{c, slot}] = at
	c.budget.pump()
}

// putOff keeps a suspect for later that a claim could not look for: after the wait, and
// after as long as room was made in vain.
func (a *aloneWait) putOff(p place, wait time.Duration) {
	if _, waits := a.places[p]; !waits {
		return
	}
	now := time.Now()
	if !a.since.IsZero() {
		wait = max(wait, now.Sub(a.since))
	}
	a.places[p] = now.Add(wait)
}

// makeRoom stops claiming, for a while, when a suspect waits to run alone, and claims
// it once nothing runs here. It returns whether claiming is stopped.
func (b *Budget) makeRoom() bool {
	a, now := &b.alone, time.Now()
	var first time.Time
	var wanted place
	for p, at := range a.places {
		if p.c.limit == 0 {
			continue // a paused pool
		}
		if first = earlier(first, at); first.Equal(at) {
			wanted = p
		}
	}
	switch {
	case wanted.c == nil:
		a.since, a.wait = time.Time{}, aloneWaitFirst
		return false
	case now.Before(first) || now.Before(a.rest):
		a.since = time.Time{}
		a.timer.Reset(max(first.Sub(now), a.rest.Sub(now)))
		return false
	case a.since.IsZero():
		a.since = now
		a.timer.Reset(a.wait)
	case now.Sub(a.since) >= a.wait:
		a.since, a.rest = time.Time{}, now.Add(a.wait)
		a.timer.Reset(a.wait)
		a.wait = min(2*a.wait, aloneWaitMost)
		return false
	}
	c, slot := wanted.c, wanted.slot
	s := c.slot(slot)
	if b.claimed > 0 || b.free() <= 0 || s.busy {
		return true
	}
	if s.queued {
		s.queued = false
		c.ring = slices.DeleteFunc(c.ring, func(other int) bool { return other == slot })
	}
	c.launch(slot, s, &grant{count: 1, suspects: suspectBudgets{levelAlone: 1}, turn: s.turn})
	return true
}
