package batchqueue

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// claimer goes round the slots that have work, as permits allow. A permit is one unit
// of concurrency: taken before a claim for each task that it may bring, free again when
// the task's handler returned. One claim is under way per slot at most, while it is,
// freed permits gather for the next one; slots are claimed from side by side.
type claimer struct {
	// take claims from a slot; it calls claimed in the end. It runs in its own goroutine.
	take func(slot int, g grant)
	wg   sync.WaitGroup // takes and exclusive calls under way

	mu sync.Mutex
	// All of the following is protected by mu.
	open   bool
	limit  int   // permits there are
	used   int   // permits of running handlers and of claims under way
	ring   []int // slots to look at, in turn
	slots  map[int]*claimSlot
	held   suspectBudgets // suspects of running handlers and of claims under way
	alone  aloneWait
	denied map[int]bool // slots whose last claim might not bring a suspect that runs alone
	idle   *time.Timer  // calls idled
}

// claimSlot is protected by claimer.mu.
type claimSlot struct {
	queued bool // in the ring
	busy   bool // a claim or an exclusive call is under way
	again  bool // rung while busy
	then   []func()
	turn   int         // rotates the types
	later  *time.Timer // looks at the slot at lookAt
	lookAt time.Time   // zero when later is not set
	retry  backoff
}

// grant is what a claim may bring.
type grant struct {
	count    int
	suspects suspectBudgets
	turn     int
}

// claimed is the outcome of a claim.
type claimed struct {
	// count of the permits that now belong to handlers, and of their suspects.
	count    int
	suspects suspectBudgets
	// more: look again at once. Otherwise after the wait; 0 means not before something
	// rings.
	more  bool
	wait  time.Duration
	fails bool // look again with back-off
}

func newClaimer(take func(slot int, g grant)) *claimer {
	c := &claimer{take: take, slots: make(map[int]*claimSlot), alone: aloneWait{slots: make(map[int]time.Time), wait: aloneWaitFirst}}
	c.alone.timer = time.AfterFunc(time.Hour, func() { c.look() })
	c.alone.timer.Stop()
	c.denied = make(map[int]bool)
	c.idle = time.AfterFunc(time.Hour, c.idled)
	c.idle.Stop()
	return c
}

func (c *claimer) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
	c.pump()
}

// close ends claiming. Claims under way still bring their tasks; wait for them with wg.
func (c *claimer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	c.ring = nil
	c.alone.timer.Stop()
	c.idle.Stop()
	for _, s := range c.slots {
		s.queued, s.again = false, false
		if s.later != nil {
			s.later.Stop()
		}
	}
}

func (c *claimer) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// setLimit changes the number of permits. Handlers beyond a lower limit go on.
func (c *claimer) setLimit(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = n
	c.pump()
}

// permits returns how many there are and how many are taken.
func (c *claimer) permits() (limit, used int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit, c.used
}

// look puts the slot into the round.
func (c *claimer) look(slots ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, slot := range slots {
		c.enqueue(slot)
	}
	c.pump()
}

// lookWithin looks at the slot after a random time up to d, so that executors that were
// called together do not all come at once.
func (c *claimer) lookWithin(slot int, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookAfter(slot, rand.N(d))
}

func (c *claimer) lookAfter(slot int, d time.Duration) {
	s := c.slot(slot)
	at := time.Now().Add(d)
	if !c.open || (!s.lookAt.IsZero() && s.lookAt.Before(at)) {
		return
	}
	s.lookAt = at
	if s.later == nil {
		s.later = time.AfterFunc(d, func() {
			c.mu.Lock()
			s.lookAt = time.Time{}
			c.mu.Unlock()
			c.look(slot)
		})
	} else {
		s.later.Reset(d)
	}
}

func (c *claimer) slot(slot int) *claimSlot {
	s := c.slots[slot]
	if s == nil {
		s = &claimSlot{retry: backoff{first: retryFirst, most: retryMost}, turn: slot}
		c.slots[slot] = s
	}
	return s
}

func (c *claimer) enqueue(slot int) {
	s := c.slot(slot)
	switch {
	case !c.open || s.queued:
	case s.busy:
		// What rang may have come after the claim under way looked.
		s.again = true
	default:
		s.queued = true
		c.ring = append(c.ring, slot)
	}
}

// pump starts claims while there are slots to look at and permits.
func (c *claimer) pump() {
	if !c.open {
		return
	}
	if c.alone.running || c.makeRoom() {
		return
	}
	for len(c.ring) > 0 && c.used < c.limit {
		// An even share each, so that one slot's claim does not keep all permits from
		// the others until its reply.
		share := func(n int) int { return (n + len(c.ring) - 1) / len(c.ring) }
		slot := c.ring[0]
		s := c.slot(slot)
		g := grant{count: share(c.limit - c.used), turn: s.turn}
		for level := range levelAlone {
			g.suspects[level] = share(max(0, suspectLevels[level]-c.held[level]))
		}
		if c.used == 0 {
			g.suspects[levelAlone] = suspectLevels[levelAlone]
		}
		c.ring = c.ring[1:]
		s.queued = false
		c.launch(slot, s, g)
	}
	if c.used == 0 && len(c.denied) > 0 {
		c.idle.Reset(idleAfter)
	}
}

func (c *claimer) launch(slot int, s *claimSlot, g grant) {
	s.busy = true
	s.turn++
	if g.suspects[levelAlone] > 0 {
		delete(c.denied, slot)
	} else {
		c.denied[slot] = true
	}
	c.used += g.count
	for level := range g.suspects {
		c.held[level] += g.suspects[level]
	}
	c.wg.Go(func() { c.take(slot, g) })
}

// claimed takes the result of a claim that was granted g.
func (c *claimer) claimed(slot int, g grant, r claimed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used += r.count - g.count
	for level := range g.suspects {
		c.held[level] += r.suspects[level] - g.suspects[level]
	}
	switch {
	case r.suspects[levelAlone] > 0:
		c.alone.slots[slot] = time.Now() // there may be more, for when it returned
	case g.suspects[levelAlone] > 0 && !r.fails:
		delete(c.alone.slots, slot)
	}
	s := c.slot(slot)
	if r.fails {
		r.wait = s.retry.next()
	} else {
		s.retry.reset()
	}
	c.done(slot, s)
	if r.more {
		c.enqueue(slot)
	} else if r.wait > 0 {
		c.lookAfter(slot, r.wait)
	}
	c.pump()
}

// done ends what made the slot busy.
func (c *claimer) done(slot int, s *claimSlot) {
	s.busy = false
	if len(s.then) > 0 {
		f := s.then[0]
		s.then = s.then[1:]
		c.hold(slot, s, f)
		return
	}
	if s.again {
		s.again = false
		c.enqueue(slot)
	}
}

// exclusive runs f, in its own goroutine, while no claim of the slot is under way.
func (c *claimer) exclusive(slot int, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slot(slot)
	if s.busy {
		s.then = append(s.then, f)
		return
	}
	c.hold(slot, s, f)
}

func (c *claimer) hold(slot int, s *claimSlot, f func()) {
	s.busy = true
	if s.queued {
		s.queued, s.again = false, true
		c.ring = slices.DeleteFunc(c.ring, func(other int) bool { return other == slot })
	}
	c.wg.Go(func() {
		f()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done(slot, s)
		c.pump()
	})
}

// reserve takes up to n permits for tasks that are here already, and returns how many.
func (c *claimer) reserve(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.alone.running {
		return 0
	}
	n = max(0, min(n, c.limit-c.used))
	c.used += n
	return n
}

// adopted tells that reserved permits went to suspects.
func (c *claimer) adopted(suspects suspectBudgets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for level := range suspects {
		c.held[level] += suspects[level]
	}
}

// unreserve gives back reserved permits.
func (c *claimer) unreserve(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= n
	c.pump()
}

// returned frees the permit of a handler that returned.
func (c *claimer) returned(slot, losses int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used--
	if level := suspectLevel(losses); level >= 0 {
		c.held[level]--
		if level == levelAlone {
			c.alone.running = false
		}
		// Others like it may wait for just this budget, there or elsewhere.
		for other := range c.slots {
			c.enqueue(other)
		}
		c.enqueue(slot)
	}
	c.pump()
}
