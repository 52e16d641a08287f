package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// BudgetOptions configure a Budget.
type BudgetOptions struct {
	// Concurrency is how many permits there are. Default 1,000.
	Concurrency int
	// RatePerSecond limits starts; one second's worth may come at once. 0 means no limit.
	RatePerSecond float64
}

func (o BudgetOptions) validate() error {
	switch {
	case o.Concurrency < 0:
		return fmt.Errorf("BudgetOptions.Concurrency is %d: give 1 or more, or 0 for %d: %w", o.Concurrency, defaultConcurrency, ErrInvalid)
	case !(o.RatePerSecond >= 0):
		return fmt.Errorf("BudgetOptions.RatePerSecond is %v: give a positive rate, or 0 for no limit: %w", o.RatePerSecond, ErrInvalid)
	}
	return nil
}

// Budget is what some executors may do together: so many handlers at a time, so many
// starts a second. Work that does not come from the queue can count against the same
// limits, as a guest: see Acquire.
//
// Nothing is set aside: an executor that alone has work may hold every permit. Where
// several want permits, each that comes free goes to whoever holds the fewest, among
// equals to who was served longest ago; for this, all guests together count as one, and
// so do all executors. Thus a guest comes before new claims, because its clock runs
// already, as long as guests do not hold the greater part; and neither guests nor an
// executor can keep the others from permits for good. Where starts are short, each
// executor and the guests take turns.
//
// A Budget owns no goroutine and needs no end. Safe for concurrent use.
type Budget struct {
	limit  int     // permits there are
	bucket *bucket // nil: starts are not limited

	mu sync.Mutex
	// All of the following is protected by mu, and so is the state of the claimers.
	claimers  []*claimer // open ones; the one that was served longest ago comes first
	claimed   int        // permits of handlers and of claims under way
	underWay  []*grant   // of claims under way, the oldest first
	guests    int        // permits of guests
	waiting   []*guest   // guests that wait for a permit, in turn
	guestLast bool       // the last permit went to a guest
	left      int        // slots, of all claimers, in which tasks wait; see claimSlot
	overdue   *time.Timer
	alone     aloneWait
	idle      *time.Timer // calls idled
}

// guest waits for a permit.
type guest struct{ served chan struct{} }

// claimPatience is how long guests wait for a claim to say which of its permits it
// needs. Redis may take long to answer, and guests must not depend on it.
const claimPatience = 100 * time.Millisecond

// slowClaim is the time from which a claim is taken to bring as much as it may.
const slowClaim = 500 * time.Millisecond

// NewBudget returns a Budget of which nothing is used. Errors match ErrInvalid and name
// the option.
func NewBudget(o BudgetOptions) (*Budget, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("batchqueue: %w", err)
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
	}
	return newBudget(o.Concurrency, o.RatePerSecond), nil
}

func newBudget(limit int, perSecond float64) *Budget {
	b := &Budget{limit: limit, bucket: newBucket(perSecond)}
	b.alone = aloneWait{places: make(map[place]time.Time), wait: aloneWaitFirst}
	b.overdue, b.alone.timer, b.idle = stoppedTimer(b.look), stoppedTimer(b.look), stoppedTimer(b.idled)
	return b
}

func stoppedTimer(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// Acquire takes a permit for a guest, and a start where starts are limited; it waits
// until both are there. Call Release when the guest's work is done. If ctx ends first,
// its error is returned and nothing is taken.
//
// It does not depend on Redis: permits that a claim holds while Redis is slow to answer
// it are given to guests, and what the claim brings beyond the rest is put back. Whoever
// holds a permit must not wait for a guest of the same budget.
func (b *Budget) Acquire(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	if err := b.bucket.await(ctx); err != nil {
		b.Release()
		return err
	}
	return nil
}

// Release gives a permit back that Acquire took.
func (b *Budget) Release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.guests--
	b.pump()
}

// enter waits for a guest's permit.
func (b *Budget) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g := &guest{served: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, g)
	b.pump()
	b.mu.Unlock()
	select {
	case <-g.served:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, g); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else { // served in the same moment
		b.guests--
		b.pump()
	}
	return ctx.Err()
}

// look gives out what may be given out by now.
func (b *Budget) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pump()
}

// free is how many permits nobody speaks for. It is negative while guests hold permits
// that overdue claims still speak for.
func (b *Budget) free() int { return b.limit - b.claimed - b.guests }

// idlePermits is how many permits nobody has or is known to want. A claim under way speaks
// for permits, but mostly it finds nothing; one that takes long may have found something.
func (b *Budget) idlePermits() int {
	if b.left > 0 || b.alone.running {
		return 0
	}
	n := b.free() - len(b.waiting)
	for _, g := range b.underWay {
		if time.Since(g.since) < slowClaim {
			n += g.count
		}
	}
	return max(0, n)
}

// pump gives out permits while there are some and somebody wants them.
func (b *Budget) pump() {
	stopped := b.alone.running || b.makeRoom()
	for {
		var next *claimer
		var hungry int
		if !stopped {
			next, hungry = b.hungriest()
		}
		if b.serveGuest(next != nil) {
			continue
		}
		if next == nil || b.free() <= 0 {
			break
		}
		b.serve(next, b.free(), hungry)
	}
	if b.claimed == 0 && slices.ContainsFunc(b.claimers, func(c *claimer) bool { return len(c.denied) > 0 }) {
		b.idle.Reset(idleAfter)
	}
}

// hungriest is whose turn it is among the claimers that want permits, and how many want.
func (b *Budget) hungriest() (next *claimer, hungry int) {
	for _, c := range b.claimers {
		if len(c.ring) == 0 || c.used >= c.limit {
			continue
		}
		hungry++
		if next == nil || c.used < next.used {
			next = c
		}
	}
	return next, hungry
}

// serve starts a claim with an even share of the free permits.
func (b *Budget) serve(c *claimer, free, hungry int) {
	if len(b.claimers) > 1 {
		i := slices.Index(b.claimers, c)
		b.claimers = append(slices.Delete(b.claimers, i, i+1), c)
	}
	c.launchNext(evenly(free, hungry))
}

// evenly is the share of one of so many, rounded up.
func evenly(n, shares int) int { return (n + shares - 1) / shares }

// serveGuest gives the first waiting guest a permit if it is its turn.
func (b *Budget) serveGuest(claimsWait bool) bool {
	if len(b.waiting) == 0 {
		return false
	}
	free := b.free()
	first := b.guests < b.claimed || (b.guests == b.claimed && !b.guestLast)
	switch {
	case free > 0 && (first || !claimsWait):
	case free <= 0 && first && -free < b.overduePermits():
	default:
		return false
	}
	b.guests++
	b.guestLast = true
	close(b.waiting[0].served)
	b.waiting = slices.Delete(b.waiting, 0, 1)
	return true
}

// overduePermits is how many permits are held by claims that have been under way for too
// long. When the next one becomes overdue it pumps again.
func (b *Budget) overduePermits() (n int) {
	for _, g := range b.underWay {
		if left := claimPatience - time.Since(g.since); left > 0 {
			b.overdue.Reset(left)
			break
		}
		n += g.count
	}
	return n
}

// returned takes a claim off the list of those under way, if it is there.
func (b *Budget) returned(g *grant) {
	if i := slices.Index(b.underWay, g); i >= 0 {
		b.underWay = slices.Delete(b.underWay, i, i+1)
	}
}

// idled looks at one of the slots where a suspect may wait that must run alone: the
// claims that were made there since were made while something else ran.
func (b *Budget) idled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claimed > 0 {
		return
	}
	for _, c := range b.claimers {
		for slot := range c.denied {
			c.enqueue(slot)
			b.pump()
			return
		}
	}
}
