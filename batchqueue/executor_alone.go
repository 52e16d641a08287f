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

// An executor that was asked to run a suspect alone stops claiming until its handlers
// have returned. It gives up after aloneWaitFirst, works on for as long as it has
// waited, and tries again with twice the patience, up to aloneWaitMost: half of one
// executor's time at the worst.
const (
	aloneWaitFirst = 30 * time.Second
	aloneWaitMost  = 10 * time.Minute
)

// idleAfter is how long nothing must run before an executor looks for suspects that
// must run alone.
const idleAfter = 100 * time.Millisecond

// aloneWait is the state of making room for a suspect that must run alone.
type aloneWait struct {
	running bool              // it runs: nothing else is claimed
	slots   map[int]time.Time // where such suspects wait, from when on
	since   time.Time         // when claiming stopped for it; zero: it has not
	rest    time.Time         // no new try before
	wait    time.Duration
	timer   *time.Timer // pumps when the wait or the rest is over
}

// enterAlone is asked before a suspect that must run alone is started, with the permits
// that its claim was granted. No means that something else runs or is on its way: the
// suspect is to be released. After yes nothing is claimed until its handler returned.
func (c *claimer) enterAlone(granted int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone.running || c.used > granted {
		return false
	}
	c.alone.running = true
	return true
}

// idled looks at one of the slots where a suspect may wait that must run alone: the
// claims that were made there since were made while something else ran.
func (c *claimer) idled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot := range c.denied {
		if c.used == 0 {
			c.enqueue(slot)
			c.pump()
		}
		return
	}
}

// wantAlone tells that from at on a suspect waits in the slot which must run alone.
func (c *claimer) wantAlone(slot int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return
	}
	c.alone.slots[slot] = at
	c.pump()
}

// makeRoom stops claiming, for a while, when a suspect waits to run alone, and claims
// it once nothing runs here. It returns whether claiming is stopped.
func (c *claimer) makeRoom() bool {
	a, now := &c.alone, time.Now()
	var first time.Time
	wanted := -1
	for slot, at := range a.slots {
		if first = earlier(first, at); first.Equal(at) {
			wanted = slot
		}
	}
	switch {
	case wanted < 0:
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
	s := c.slot(wanted)
	if c.used > 0 || c.limit == 0 || s.busy {
		return true
	}
	if s.queued {
		s.queued = false
		c.ring = slices.DeleteFunc(c.ring, func(other int) bool { return other == wanted })
	}
	c.launch(wanted, s, grant{count: 1, suspects: suspectBudgets{levelAlone: 1}, turn: s.turn})
	return true
}
