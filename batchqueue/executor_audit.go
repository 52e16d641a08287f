package batchqueue

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// audits compare what Redis says the executor holds with its own table: once per lease
// in every slot where it holds or tried to claim something, and soon after an error.
// The difference comes from replies that were lost on the way, and from claims that
// were taken away.
type audits struct {
	now chan struct{} // somebody wants one at once

	mu sync.Mutex
	// touched are slots where claims were tried since their last audit, errors those
	// where an error may have hidden some; the lease is kept there. Protected by mu.
	touched map[int]bool
	errors  map[int]bool
}

func newAudits() audits {
	return audits{now: make(chan struct{}, 1), touched: make(map[int]bool), errors: make(map[int]bool)}
}

func (a *audits) touch(slot int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.touched[slot] = true
}

func (a *audits) want(slot int) {
	a.mu.Lock()
	a.errors[slot] = true
	a.mu.Unlock()
	a.wantAll()
}

func (a *audits) wantAll() {
	select {
	case a.now <- struct{}{}:
	default:
	}
}

// wanted are the slots with an unexplained error.
func (a *audits) wanted() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.errors))
}

// begin returns what to do for the slot again if the audit fails.
func (a *audits) begin(slot int) (undo func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	touched, failed := a.touched[slot], a.errors[slot]
	delete(a.touched, slot)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if touched || failed {
			a.touched[slot], a.errors[slot] = true, true
		}
	}
}

// end forgets the slot's errors: the audit explained them.
func (a *audits) end(slot int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.errors, slot)
}

func (a *audits) slots() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(a.touched)), maps.Keys(a.errors))
}

// keepAudits runs until the house closes.
func (e *Executor) keepAudits() {
	// At most one round per tenth of a lease, however many errors there are.
	least := e.lease / 10
	for {
		timer := time.NewTimer(e.lease)
		select {
		case <-e.house.ctx.Done():
			timer.Stop()
			return
		case <-e.audits.now:
			timer.Stop()
			if !pause(e.house.ctx, least) {
				return
			}
		case <-timer.C:
		}
		var round sync.WaitGroup
		for _, slot := range e.auditSlots() {
			round.Add(1)
			e.claimer.exclusive(slot, func() {
				defer round.Done()
				_ = e.audit(slot) // the slot stays on the list
			})
		}
		round.Wait()
	}
}

func (e *Executor) auditSlots() []int {
	return slices.Compact(slices.Sorted(slices.Values(append(e.table.slots(), e.audits.slots()...))))
}

// audit compares one slot. No claim of the slot may be under way.
func (e *Executor) audit(slot int) error {
	undo := e.audits.begin(slot)
	before := e.table.runningIn(slot)
	list, err := e.store.audit(e.ctx, e.pool, slot, e.id)
	if err != nil {
		undo()
		e.fail(err)
		return err
	}
	unknown, lost := e.table.compare(slot, before, list)
	for _, c := range lost {
		e.alarms.remove(c)
		e.lose(c)
	}
	adopted := 0
	if len(unknown) > 0 {
		if adopted, err = e.adopt(unknown); err != nil {
			undo()
			e.fail(err)
			return err
		}
	}
	e.audits.end(slot)
	if adopted > 0 && adopted < len(unknown) {
		e.audits.want(slot) // more than one page, or settled meanwhile
	}
	return nil
}

// adopt starts tasks that Redis gave to this executor and that it does not know: the claim's
// reply never arrived. What finds no permit is released; what was settled meanwhile does not
// come back from Redis. It returns how many there were.
//
// But if Redis has lost its latest writes, in a failover, what looks the same is a task that
// ran here, and whose settlement is gone. So one that may start only once is not started: it
// ends as a lost claim does.
func (e *Executor) adopt(refs []claimRef) (int, error) {
	ds, err := e.store.adopt(e.ctx, e.pool, e.id, refs)
	if len(ds) == 0 {
		return 0, err
	}
	e.log.Info("[Slipstream] adopting claims whose reply was lost", "Pool", e.pool, "Slot", ds[0].slot, "Tasks", len(ds))
	e.stats.adopted.Add(uint64(len(ds)))
	now := time.Now()
	fresh := ds[:0:0]
	for _, d := range ds {
		if d.Options.Retry.MaximumAttempts == 1 {
			e.disown(e.hold(d, now, 0))
		} else {
			fresh = append(fresh, d)
		}
	}
	permits := e.claimer.reserve(len(fresh))
	free := permits
	var suspects suspectBudgets
	var start []*claim
	for _, d := range fresh {
		level := suspectLevel(d.losses)
		if free == 0 || level == levelAlone {
			e.giveUp(e.hold(d, now, 0))
			continue
		}
		free--
		if level >= 0 {
			suspects[level]++
		}
		start = append(start, e.hold(d, now, e.age(d)))
	}
	e.claimer.adopted(suspects)
	for _, c := range start {
		e.run(c)
	}
	e.claimer.unreserve(free)
	return len(ds), err
}

// disown ends a claim as one whose executor is gone.
func (e *Executor) disown(c *claim) {
	e.timeOut(c, kindOfLoss(c.d.Options))
	c.free()
}
