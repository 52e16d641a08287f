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

	"github.com/slipstream-go/slipstream/internal/outage"
)

// sweepEvery is how often home slots are looked at without being called: bells may be
// missed. The other slots' home executors do that for those, and call others if they are
// full; should they not be able to, foreign slots are looked at as well, but more rarely.
const (
	sweepEvery        = 10 * time.Second
	sweepForeignEvery = 30 * time.Second
)

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
	members       []string  // of the last round
	swept, toured time.Time // when home slots, and all slots, were last looked at
	known         int       // slots looked at so far

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
	var row outage.Outage
	for {
		wait := e.lease / 3
		if err := e.round(e.ctx, fresh); err == nil {
			retry.reset()
			if n, lasted, say := row.Worked(time.Now()); say {
				e.log.Info("[Slipstream] executor reaches Redis again", "Pool", e.pool, "Executor", e.id, "Failures", n, "Lasted", lasted)
			}
		} else {
			wait = retry.next()
			e.endExpiredTerms()
			if e.house.ctx.Err() == nil {
				e.fail(err)
				if n, say := row.Failed(time.Now()); say {
					e.log.Warn("[Slipstream] executor cannot reach Redis, will be tried again", "Pool", e.pool, "Executor", e.id, "Failures", n, "Error", err)
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
			fresh = fresh && retry.tries > 0 // what was asked for is still to be done
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
	present, err := e.present(ctx, fresh)
	if err != nil {
		return err
	}
	members := takers(present)
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
	e.conf.Store(&conf)
	told := permits
	if e.memory.isShort() {
		told = 0 // so that enqueues call the others
	}
	if conf.Paused {
		permits = 0
	}
	e.claimer.setLimit(permits)
	e.sweep(conf.MaxSlots(), home)
	return e.keepHomes(ctx, best, told, changed)
}

// present returns who is there, this executor included: as of its last word on its own
// presence, unless that must be fresh.
func (e *Executor) present(ctx context.Context, fresh bool) ([]presence, error) {
	var others []presence
	if seen := e.seen.Load(); seen != nil && !fresh {
		others = *seen
	} else {
		var err error
		if others, err = e.store.presences(ctx, e.pool); err != nil {
			return nil, err
		}
		e.seen.Store(&others) // or the next round would go back to what was seen before
	}
	present := []presence{{Executor: e.id, Types: e.opts.Types}}
	for _, p := range others {
		if p.Executor != e.id && len(p.Types) > 0 {
			present = append(present, p)
		}
	}
	return present, nil
}

// sweep looks at slots that nobody called to: now and then, and at new ones at once.
func (e *Executor) sweep(slots int, home []int) {
	h := &e.house
	// Executors that started together shall not sweep together.
	due := func(last *time.Time, every time.Duration) bool {
		if time.Since(*last) < every {
			return false
		}
		*last = time.Now().Add(-rand.N(every / 4))
		return true
	}
	all, own := due(&h.toured, sweepForeignEvery), due(&h.swept, sweepEvery)
	var list []int
	for slot := range slots {
		if all || slot >= h.known || own && slices.Contains(home, slot) {
			list = append(list, slot)
		}
	}
	h.known = slots
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, slot := range list {
		if slices.Contains(home, slot) {
			e.claimer.rung(slot) // others are called if there is no permit
		} else {
			e.claimer.look(slot)
		}
	}
}

// keepHomes says the permits for home slots, and takes and keeps their terms. Every home
// executor of a slot tries, so that a slot is led whenever one is alive. When members come
// or go, it hands over what another one comes first for, or it is no longer at home in.
func (e *Executor) keepHomes(ctx context.Context, best map[int]bool, permits int, changed bool) error {
	_, leads := e.house.slots()
	var over []int
	for _, slot := range leads {
		first, home := best[slot]
		if !home || (changed && !first) {
			over = append(over, slot)
		}
	}
	e.tell(ctx, func(ctx context.Context) error { return e.endTerms(ctx, over, true) })
	if len(best) == 0 {
		return nil
	}
	var slots []homeSlot
	for _, slot := range slices.Sorted(maps.Keys(best)) {
		// What was just handed over is for the other one to take.
		slots = append(slots, homeSlot{slot, !slices.Contains(over, slot)})
	}
	began := time.Now()
	led, err := e.store.home(ctx, e.pool, slots, e.id, permits, e.lease)
	var lost []int
	for _, s := range slots {
		leads, answered := led[s.slot]
		t := e.house.term(s.slot)
		switch {
		case !answered:
		case leads && t == nil:
			e.beginTerm(s.slot, began.Add(e.lease))
		case leads:
			t.until = began.Add(e.lease)
		case t != nil:
			lost = append(lost, s.slot)
		}
	}
	return errors.Join(err, e.endTerms(ctx, lost, false))
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
