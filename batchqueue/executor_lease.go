package batchqueue

import (
	"context"
	"slices"
	"strings"
	"time"
)

// keepLease says three times per lease that the executor is alive and keeps its claims,
// until ctx ends. When Redis does not answer it asks oftener: at the moment it is back,
// the claims may be for others to take.
func (e *Executor) keepLease() {
	retry := backoff{first: retryFirst, most: e.lease / 10}
	last, known := time.Now(), false
	for {
		began := time.Now()
		wait := e.lease / 3
		if err := e.extendAll(); err == nil {
			if retry.tries > 0 || began.Sub(last) > e.lease {
				e.log.Info("slipstream: redis answers again", "pool", e.pool, "executor", e.id, "silent", began.Sub(last))
				e.audits.wantAll()
			}
			if !known {
				known = true
				e.tell(e.ctx, e.ringOthers)
			}
			retry.reset()
			last = began
		} else {
			wait = min(retry.next(), wait)
			if e.ctx.Err() == nil {
				e.fail(err)
				if retry.tries == 1 {
					e.log.Warn("slipstream: cannot extend the lease, will be tried again", "pool", e.pool, "executor", e.id, "error", err)
				}
			}
		}
		if !pause(e.ctx, wait) {
			return
		}
	}
}

// extendAll extends presence and leases once.
func (e *Executor) extendAll() error {
	if err := e.readClock(); err != nil {
		return err
	}
	if err := e.store.present(e.ctx, e.pool, e.presence(), e.lease); err != nil {
		return err
	}
	slots := slices.Compact(slices.Sorted(slices.Values(append(e.table.slots(), e.audits.wanted()...))))
	if len(slots) == 0 {
		return nil
	}
	// What is asked for from here on comes with the reply, or rings after it.
	e.table.forgetStrays()
	beats := e.table.takeBeats()
	cancels, err := e.store.extend(e.ctx, e.pool, slots, e.id, e.lease, beats)
	for _, ref := range cancels {
		e.table.requestCancel(ref)
	}
	if err != nil {
		e.table.giveBackBeats(beats)
	}
	return err
}

// presence is what others see. An executor that stops is alive, for its claims, but has
// no types any more: nobody counts on it.
func (e *Executor) presence() presence {
	p := presence{Executor: e.id, Worker: e.opts.Worker, Concurrency: e.opts.Concurrency, Heir: e.opts.Heir, StartedAt: e.house.born}
	if e.house.ctx.Err() == nil {
		p.Types = e.opts.Types
	}
	return p
}

// ringOthers makes the pool's executors look who is there.
func (e *Executor) ringOthers(ctx context.Context) error {
	return e.ring(ctx, e.keys.configBell(e.pool), "")
}

// readClock learns Redis's clock, to half a round trip.
func (e *Executor) readClock() error {
	began := time.Now()
	t, err := e.clock(e.ctx)
	if err != nil {
		return err
	}
	ended := time.Now()
	e.clockBy.Store(int64(t.Sub(began.Add(ended.Sub(began) / 2))))
	return nil
}

// heardCancel takes "<slot> <lane> <entry> <type>" from the executor's own bell. What it
// missed comes with the next extension.
func (e *Executor) heardCancel(payload string, missed bool) {
	if missed {
		return
	}
	parts := strings.SplitN(payload, " ", 4)
	if len(parts) != 4 || len(parts[1]) != 1 {
		return
	}
	slot, ok := parseSlot(parts[0])
	if !ok {
		return
	}
	e.table.requestCancel(claimRef{slot: slot, lane: lane(parts[1][0]), entry: parts[2], typ: parts[3]})
}
