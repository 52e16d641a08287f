package batchqueue

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// claimer goes round the slots that have work, as permits allow. A permit is one unit
// of concurrency: taken before a claim for each task that it may bring, free again when
// the task's handler returned. The executor's own limit is one bound, the budget that it
// may share with others is another. One claim is under way per slot at most, while it
// is, freed permits gather for the next one; slots are claimed from side by side.
type claimer struct {
	// take claims from a slot; it calls claimed in the end. It runs in its own goroutine.
	take func(slot int, g *grant)
	// crowded is told that a slot has work and no permit is left. It runs in its own
	// goroutine too.
	crowded func(slot int)
	wg      sync.WaitGroup // takes, exclusive calls and calls of crowded under way
	budget  *Budget

	mu *sync.Mutex // the budget's: permits go from one claimer to another in one step
	// All of the following is protected by mu.
	open   bool
	limit  int   // permits that this executor may hold
	used   int   // permits of running handlers and of claims under way
	ring   []int // slots to look at, in turn
	slots  map[int]*claimSlot
	held   suspectBudgets // suspects of running handlers and of claims under way
	denied map[int]bool   // slots whose last claim might not bring a suspect that runs alone
}

// claimSlot is protected by claimer.mu.
type claimSlot struct {
	queued bool // in the ring
	busy   bool // a claim or an exclusive call is under way
	again  bool // rung while busy
	then   []func()
	turn   int         // rotates the types
	left   bool        // the last claim did not empty it, or could not look
	later  *time.Timer // looks at the slot at lookAt
	lookAt time.Time   // zero when later is not set
	rung   bool        // later looks as if it were rung then
	retry  backoff
}

// grant is what a claim may bring.
type grant struct {
	count    int
	suspects suspectBudgets
	turn     int
	since    time.Time
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
	// blind: it did not look, and does not know what waits there.
	blind bool
}

func newClaimer(b *Budget, take func(slot int, g *grant), crowded func(slot int)) *claimer {
	return &claimer{budget: b, mu: &b.mu, take: take, crowded: crowded, slots: make(map[int]*claimSlot), denied: make(map[int]bool)}
}

func (c *claimer) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
	c.budget.claimers = append(c.budget.claimers, c)
	c.budget.pump()
}

// close ends claiming. Claims under way still bring their tasks; wait for them with wg.
func (c *claimer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
	c.ring = nil
	for _, s := range c.slots {
		s.queued, s.again = false, false
		c.leave(s, false)
		if s.later != nil {
			s.later.Stop()
		}
	}
	b := c.budget
	b.claimers = slices.DeleteFunc(b.claimers, func(other *claimer) bool { return other == c })
	maps.DeleteFunc(b.alone.places, func(p place, _ time.Time) bool { return p.c == c })
	if len(b.claimers) == 0 {
		b.alone.timer.Stop()
		b.idle.Stop()
	}
	b.pump()
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
	c.budget.pump()
}

// permits is how many the executor may hold at most.
func (c *claimer) permits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit
}

// idle is how many tasks could start now, if so many handlers of this executor run.
func (c *claimer) idle(running int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return 0
	}
	return max(0, min(c.limit-running, c.budget.idlePermits()))
}

// full says whether no permit is left.
func (c *claimer) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isFull()
}

func (c *claimer) isFull() bool { return c.used >= c.limit || c.budget.free() <= 0 }

// look puts the slot into the round.
func (c *claimer) look(slots ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, slot := range slots {
		c.enqueue(slot)
	}
	c.budget.pump()
}

// rung looks at a slot to which something was added.
func (c *claimer) rung(slot int) {
	c.look(slot)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.slot(slot).busy { // else its end sees to it
		c.crowd(slot)
	}
}

// crowd tells of a slot with work if there is no permit for it. It will not be claimed from
// soon then, and who added the work counted permits, not free ones: others have to hear
// of it.
func (c *claimer) crowd(slot int) {
	if c.open && c.isFull() {
		c.wg.Go(func() { c.crowded(slot) })
	}
}

// lookWithin looks at the slot after a random time up to d, so that executors that were
// called together do not all come at once.
func (c *claimer) lookWithin(slot int, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookAfter(slot, rand.N(d))
}

// rungAgain looks at the slot after d as if it were rung then, or earlier if it is looked
// at anyway.
func (c *claimer) rungAgain(slot int, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slot(slot).rung = true
	c.lookAfter(slot, d)
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
			rung := s.rung
			s.lookAt, s.rung = time.Time{}, false
			c.mu.Unlock()
			if rung {
				c.rung(slot)
			} else {
				c.look(slot)
			}
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

// launchNext claims from the next slot in turn. It gets an even share of the permits
// that the claimer may take, so that one slot's claim does not keep all of them from the
// others until its reply.
func (c *claimer) launchNext(permits int) {
	share := func(n int) int { return evenly(n, len(c.ring)) }
	slot := c.ring[0]
	s := c.slot(slot)
	g := &grant{count: share(min(permits, c.limit-c.used)), turn: s.turn}
	for level := range levelAlone {
		g.suspects[level] = share(max(0, suspectLevels[level]-c.held[level]))
	}
	if c.budget.claimed == 0 {
		g.suspects[levelAlone] = suspectLevels[levelAlone]
	}
	c.ring = c.ring[1:]
	s.queued = false
	c.launch(slot, s, g)
}

func (c *claimer) launch(slot int, s *claimSlot, g *grant) {
	s.busy = true
	s.turn++
	if g.suspects[levelAlone] > 0 {
		delete(c.denied, slot)
	} else {
		c.denied[slot] = true
	}
	g.since = time.Now()
	b := c.budget
	b.underWay = append(b.underWay, g)
	b.guestLast = false
	c.use(g.count)
	for level := range g.suspects {
		c.held[level] += g.suspects[level]
	}
	c.wg.Go(func() { c.take(slot, g) })
}

// use takes permits, or gives them back where n is negative.
func (c *claimer) use(n int) {
	c.used += n
	c.budget.claimed += n
}

// keep says how many of the n tasks that a claim brought have permits. Where the claim
// took so long that guests were given what it spoke for, these may be fewer. The grant's
// other permits are free again.
func (c *claimer) keep(g *grant, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := max(0, min(n, g.count+min(0, c.budget.free())))
	c.budget.returned(g)
	c.use(kept - g.count)
	g.count = kept
	return kept
}

// claimed takes the result of a claim that was granted g.
func (c *claimer) claimed(slot int, g *grant, r claimed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget.returned(g)
	c.use(r.count - g.count)
	for level := range g.suspects {
		c.held[level] += r.suspects[level] - g.suspects[level]
	}
	s := c.slot(slot)
	if r.fails {
		r.wait = s.retry.next()
	} else {
		s.retry.reset()
	}
	switch alone, here := &c.budget.alone, (place{c, slot}); {
	case r.suspects[levelAlone] > 0 && c.open:
		alone.places[here] = time.Now() // there may be more, for when it returned
	case g.suspects[levelAlone] > 0 && r.blind:
		alone.putOff(here, r.wait)
	case g.suspects[levelAlone] > 0:
		delete(alone.places, here)
	}
	c.leave(s, c.open && (r.more || r.wait > 0))
	c.done(slot, s)
	if r.more {
		c.enqueue(slot)
	} else if r.wait > 0 {
		c.lookAfter(slot, r.wait)
	}
	c.budget.pump()
}

// leave notes whether a claim left tasks behind.
func (c *claimer) leave(s *claimSlot, left bool) {
	switch {
	case left && !s.left:
		c.budget.left++
	case !left && s.left:
		c.budget.left--
	}
	s.left = left
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
		c.crowd(slot)
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
		c.budget.pump()
	})
}

// reserve takes up to n permits for tasks that are here already, and returns how many.
func (c *claimer) reserve(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.budget.alone.running {
		return 0
	}
	n = max(0, min(n, c.limit-c.used, c.budget.free()))
	c.use(n)
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
	c.use(-n)
	c.budget.pump()
}

// returned frees the permit of a handler that returned.
func (c *claimer) returned(slot, losses int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(-1)
	if level := suspectLevel(losses); level >= 0 {
		c.held[level]--
		if level == levelAlone {
			c.budget.alone.running = false
		}
		// Others like it may wait for just this budget, there or elsewhere.
		for other := range c.slots {
			c.enqueue(other)
		}
		c.enqueue(slot)
	}
	c.budget.pump()
}
