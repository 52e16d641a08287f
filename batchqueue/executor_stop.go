package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// lastWords is how long a handler of a task that may be attempted only once has for
// returning, after its context ended at stop: its task cannot be released.
const lastWords = time.Second

// Leave ends claiming, for good: others take over the executor's slots at once. Handlers
// that run go on, for as long as they like, and their claims are kept. Stop ends what is
// left; it has to be called still. Leaving twice, or after Stop, changes nothing. Without
// Redis it takes no longer than the DrainTimeout and a lease.
func (e *Executor) Leave(ctx context.Context) {
	e.mu.Lock()
	started := e.started
	e.mu.Unlock()
	if !started {
		return
	}
	e.left.Do(func() {
		e.claimer.close()
		e.house.leave()
		e.house.wg.Wait()
		e.claimer.wg.Wait()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.DrainTimeout+e.lease)
		defer cancel()
		e.leaveHouse(last)
	})
}

// Stop ends the executor: claiming stops and others take over its slots at once;
// handlers run on for DrainTimeout, or until ctx ends; then their contexts end with
// ErrStopping and their tasks are released, without losing an attempt, for others to
// start at once. A task that may be attempted only once is not started anywhere again:
// it ends with its handler's last word, or as a time-out.
//
// Stop returns when nothing of the executor runs any more. If handlers ignore their
// contexts it returns with an error when ctx ends, and they are left behind. What is
// said to Redis at the end may take up to a lease longer than ctx. Stopping again waits
// for the first Stop; stopping what never started is no error.
func (e *Executor) Stop(ctx context.Context) error {
	e.mu.Lock()
	if e.stopped != nil || !e.started {
		first := e.stopped
		if first == nil {
			e.stopped = make(chan struct{})
			close(e.stopped)
			first = e.stopped
		}
		e.mu.Unlock()
		select {
		case <-first:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop executor %s of pool %q: %w", e.id, e.pool, ctx.Err())
		}
	}
	e.stopped = make(chan struct{})
	e.mu.Unlock()
	defer close(e.stopped)

	e.Leave(ctx)
	returned := make(chan struct{})
	e.crew.dismiss()
	go func() { e.crew.wait(); close(returned) }()
	if !within(ctx, returned, e.opts.DrainTimeout) {
		e.interrupt(ctx, returned)
	}
	for _, slot := range e.auditSlots() {
		if e.audit(slot) != nil { // nobody claims any more: unknown claims are released
			break // each call to a Redis that hangs takes long
		}
	}
	flush, cancelFlush := context.WithTimeout(context.WithoutCancel(ctx), e.lease)
	defer cancelFlush()
	e.settler.drain(flush)
	e.cancel()
	e.wg.Wait() // nobody says any more that this executor is present
	e.depart(flush)
	select {
	case <-returned:
		return nil
	default:
	}
	select {
	case <-returned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop executor %s of pool %q: %d handlers ignore the end of their context: %w",
			e.id, e.pool, e.stats.running.Load(), ctx.Err())
	}
}

// within says whether done was closed before d passed or ctx ended.
func within(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// interrupt ends the handlers that still run.
func (e *Executor) interrupt(ctx context.Context, returned <-chan struct{}) {
	var once []*claim
	for _, c := range e.table.running() {
		if c.d.Options.Retry.MaximumAttempts == 1 {
			once = append(once, c)
		} else {
			e.release(c)
		}
		c.cancel(e.opts.Cause(ErrStopping))
	}
	if len(once) == 0 {
		return
	}
	within(ctx, returned, lastWords)
	for _, c := range once {
		e.timeOut(c, kindOfLoss(c.d.Options))
	}
}

// leaveHouse tells the others to go on without this executor, hands over what it leads
// and stops listening.
func (e *Executor) leaveHouse(ctx context.Context) {
	home, leads := e.house.slots()
	slots := slices.Compact(slices.Sorted(slices.Values(append(leads, home...))))
	told := e.tell(ctx,
		func(ctx context.Context) error {
			_, _, err := e.store.present(ctx, e.pool, e.presence(), e.lease)
			return err
		},
		e.ringOthers,
	)
	if err := e.endTerms(ctx, slots, told); err != nil {
		e.fail(err)
	} else if told && len(home) > 0 {
		e.tell(ctx, func(ctx context.Context) error {
			left := make([]homeSlot, len(home))
			for i, slot := range home {
				left[i] = homeSlot{slot: slot}
			}
			_, err := e.store.home(ctx, e.pool, left, e.id, 0, 0)
			return err
		})
	}
	if err := e.bells.close(); err != nil {
		e.log.Debug("[Slipstream] closing the bells", "Pool", e.pool, "Executor", e.id, "Error", err)
	}
}

// depart drops leases and presence, so that what could not be settled is reclaimed at
// once.
func (e *Executor) depart(ctx context.Context) {
	if left := e.table.size(); left > 0 {
		e.log.Error("[Slipstream] executor stops without having settled all", "Pool", e.pool, "Executor", e.id,
			"Tasks", left)
	}
	e.tell(ctx,
		func(ctx context.Context) error { return e.store.absent(ctx, e.pool, e.id) },
		func(ctx context.Context) error {
			slots := make([]int, e.maxSlots())
			for i := range slots {
				slots[i] = i
			}
			return e.store.dropLease(ctx, e.pool, e.id, slots...)
		},
		e.ringOthers,
	)
}

// tell makes the calls until one fails, and says whether none did: without Redis there
// is nobody to tell, keys end by themselves, and each call to a Redis that hangs takes
// long.
func (e *Executor) tell(ctx context.Context, calls ...func(context.Context) error) bool {
	for _, call := range calls {
		if err := call(ctx); err != nil {
			e.fail(err)
			return false
		}
	}
	return true
}
