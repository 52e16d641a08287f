package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// sweepEvery is how often every slot is looked at without being called: bells may be
// missed, and foreign slots ring for others.
const sweepEvery = 10 * time.Second

// callSpread spreads those whom the pool's bell calls to one slot.
const callSpread = 20 * time.Millisecond

// house knows who else is there, and from that where this executor is at home, what it
// listens to and which slots it leads.
type house struct {
	born time.Time
	now  chan struct{} // somebody wants a round at once

	ctx   context.Context // ends when Stop begins
	leave context.CancelFunc
	wg    sync.WaitGroup // goroutines that live as long as ctx

	// Used by the house's goroutine only.
	members []string // of the last round
	swept   time.Time
	known   int // slots looked at so far

	mu     sync.Mutex
	home   []int             // protected by mu
	terms  map[int]*term     // protected by mu
	called map[int]time.Time // protected by mu: when others were last called to a slot
	alone  bool              // protected by mu: nobody else is present
}

func newHouse() house {
	return house{born: time.Now(), now: make(chan struct{}, 1), terms: make(map[int]*term), called: make(map[int]time.Time)}
}

// slots returns where the executor is at home, and what it leads.
func (h *house) slots() (home, leads []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.home), slices.Sorted(maps.Keys(h.terms))
}

func (h *house) term(slot int) *term {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.terms[slot]
}

// wakeDeliverer looks for outcomes in the slot if this executor leads it.
func (h *house) wakeDeliverer(slot int) {
	if t := h.term(slot); t != nil {
		t.wakeDeliverer()
	}
}

func (h *house) wantRound() {
	select {
	case h.now <- struct{}{}:
	default:
	}
}

// mayCall says whether to call others to the slot now, or in what time to see again; zero
// if there is nobody to call.
func (h *house) mayCall(slot int, now time.Time) (bool, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alone {
		return false, 0
	}
	if wait := overflowEvery - now.Sub(h.called[slot]); wait > 0 {
		return false, wait
	}
	h.called[slot] = now
	return true, 0
}

// keepHouse makes a round three times per lease and whenever something changes.
func (e *Executor) keepHouse() {
	retry := backoff{first: retryFirst, most: e.lease / 3}
	fresh := false
	for {
		wait := e.lease / 3
		if err := e.round(e.ctx, fresh); err == nil {
			retry.reset()
		} else {
			wait = retry.next()
			e.endExpiredTerms()
			if e.house.ctx.Err() == nil {
				e.fail(err)
				if retry.tries == 1 {
					e.log.Warn("slipstream: executor cannot reach redis, will be tried again", "pool", e.pool, "executor", e.id, "error", err)
				}
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-e.house.ctx.Done():
			timer.Stop()
			return
		case <-e.house.now:
			timer.Stop()
			fresh = true
		case <-timer.C:
			fresh = false
		}
	}
}

// round brings configuration, homes, bells and terms up to date. ctx outlives the house:
// a call that was cut off might lead a slot without anybody knowing.
func (e *Executor) round(ctx context.Context, fresh bool) error {
	h := &e.house
	conf, err := e.config(ctx, e.pool, fresh)
	if err != nil {
		return err
	}
	others, err := e.store.presences(ctx, e.pool)
	if err != nil {
		return err
	}
	me := presence{Executor: e.id, Types: e.opts.Types}
	present := append(slices.DeleteFunc(others, func(p presence) bool {
		return p.Executor == e.id || len(p.Types) == 0 // the latter is about to stop
	}), me)
	var members []string
	for _, p := range present {
		members = append(members, p.Executor)
	}
	slices.Sort(members)
	changed := !slices.Equal(members, h.members)
	h.members = members

	best := make(map[int]bool) // home slots, and whether this executor comes first there
	for slot := range conf.MaxSlots() {
		names := homes(slot, present)
		if slices.Contains(names, e.id) {
			best[slot] = names[0] == e.id
		}
	}
	home := slices.Sorted(maps.Keys(best))
	h.mu.Lock()
	h.home, h.alone = home, len(present) == 1
	h.mu.Unlock()

	if err := e.bells.set(ctx, e.bellFuncs(home)); err != nil {
		return fmt.Errorf("listen to the bells of pool %q: %w", e.pool, err)
	}
	permits := e.opts.Concurrency
	if conf.Concurrency > 0 {
		permits = conf.Concurrency
	}
	permits = min(permits, e.opts.Budget.limit)
	if conf.RatePerSecond == 0 {
		conf.RatePerSecond = e.opts.PoolRatePerSecond
	}
	if len(home) > 0 {
		told := permits
		if e.memory.isShort() {
			told = 0 // so that enqueues call the others
		}
		if err := e.store.homePermits(ctx, e.pool, home, e.id, told, e.lease); err != nil {
			return err
		}
	}
	e.conf.Store(&conf)
	if conf.Paused {
		permits = 0
	}
	e.claimer.setLimit(permits)
	e.sweep(conf.MaxSlots())
	return e.leadHomes(ctx, best, changed)
}

// sweep looks at slots that nobody called to: all of them now and then, new ones at once.
func (e *Executor) sweep(slots int) {
	h := &e.house
	from := h.known
	h.known = slots
	if time.Since(h.swept) >= sweepEvery {
		from = 0
		// Executors that started together shall not sweep together.
		h.swept = time.Now().Add(-rand.N(sweepEvery / 4))
	}
	var list []int
	for slot := from; slot < slots; slot++ {
		list = append(list, slot)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	e.claimer.look(list...)
}

// leadHomes takes and keeps the terms of home slots. Every home executor of a slot
// tries, so that a slot is led whenever one is alive. When members come or go, it hands
// over what another one comes first for, or it is no longer at home in.
func (e *Executor) leadHomes(ctx context.Context, best map[int]bool, changed bool) error {
	_, leads := e.house.slots()
	var over []int
	for _, slot := range leads {
		first, home := best[slot]
		if !home || (changed && !first) {
			over = append(over, slot)
			delete(best, slot) // not again in this round: it is for the other one to take
		}
	}
	e.tell(ctx, func(ctx context.Context) error { return e.endTerms(ctx, over, true) })
	return sideBySide(slices.Collect(maps.Keys(best)), func(slot int) error { return e.leadSlot(ctx, slot) })
}

func (e *Executor) leadSlot(ctx context.Context, slot int) error {
	began := time.Now()
	leads, err := e.store.lead(ctx, e.pool, slot, e.id, e.lease)
	t := e.house.term(slot)
	switch {
	case err != nil:
		return err
	case leads && t == nil:
		e.beginTerm(slot, began.Add(e.lease))
	case leads:
		t.until = began.Add(e.lease)
	case t != nil:
		return e.endTerm(ctx, t, false)
	}
	return nil
}

// sideBySide calls f for every slot, some at a time: a pool may have a thousand slots,
// and a round must be over before a lease is. It returns the errors.
func sideBySide(slots []int, f func(slot int) error) error {
	const atATime = 16
	next := make(chan int)
	errs := make(chan error, len(slots))
	var wg sync.WaitGroup
	for range min(atATime, len(slots)) {
		wg.Go(func() {
			for slot := range next {
				errs <- f(slot)
			}
		})
	}
	for _, slot := range slots {
		next <- slot
	}
	close(next)
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// endExpiredTerms ends terms that could not be renewed in time: a leader acts only while
// it trusts its last successful renewal.
func (e *Executor) endExpiredTerms() {
	_, leads := e.house.slots()
	for _, slot := range leads {
		if t := e.house.term(slot); time.Now().After(t.until) {
			_ = e.endTerm(e.house.ctx, t, false)
		}
	}
}

// bellFuncs are the channels to listen to, and what to do when they ring.
func (e *Executor) bellFuncs(home []int) map[string]bellFunc {
	h := &e.house
	funcs := map[string]bellFunc{
		e.keys.configBell(e.pool):         func(string, bool) { h.wantRound() },
		e.keys.executorBell(e.pool, e.id): e.heardCancel,
		e.keys.poolBell(e.pool): func(payload string, missed bool) {
			if missed {
				for slot := range e.maxSlots() {
					e.claimer.lookWithin(slot, callSpread)
				}
			} else if slot, ok := parseSlot(payload); ok && !slices.Contains(home, slot) {
				e.claimer.lookWithin(slot, callSpread)
			}
		},
	}
	for _, slot := range home {
		funcs[e.keys.slotBell(e.pool, slot)] = func(string, bool) { e.claimer.rung(slot) }
		funcs[e.keys.deliverBell(e.pool, slot)] = func(payload string, missed bool) {
			t := h.term(slot)
			switch {
			case payload == bellLead && !missed:
				h.wantRound()
			case t == nil:
			case payload == bellDue && !missed:
				t.wakeDue()
			default:
				t.wakeDeliverer()
				if missed {
					t.wakeDue()
				}
			}
		}
	}
	return funcs
}

// What the deliver bell says, besides that there are outcomes.
const (
	bellDue  = "due"  // something became the first thing due
	bellLead = "lead" // the leader resigned
)

func (e *Executor) maxSlots() int {
	if conf := e.conf.Load(); conf != nil {
		return conf.MaxSlots()
	}
	return 0
}

func parseSlot(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n < maxSlots
}
