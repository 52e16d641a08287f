package batchqueue

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// reclaimPage is how many lost claims are looked at in one script.
	reclaimPage = 500
	// youngest: only a loss soon after the start speaks against the task.
	youngest = 2 * time.Minute
)

// reclaimer gives the claims of executors without a lease to others. It looks three
// times per lease and acts when an executor was without lease twice in a row: after
// Redis itself was away nobody has a lease, and the living come back within moments.
// So a killed executor's tasks are free after at most one lease and two looks.
//
// Where nothing is claimed it looks once per lease: what is claimed from then on has a
// lease for longer.
//
// An executor that is present but has no lease gets two leases of time more, to find
// out by its own audit.
type reclaimer struct {
	store slotStore
	pool  string
	slot  int
	lease time.Duration
	log   Logger
	now   func() time.Time // Redis's clock
	limit func() int       // the pool's poison limit
	// timeoutFailure is the executor's TimeoutFailure.
	timeoutFailure func(*Delivery, Kind) []byte

	reclaimed func(s *settlement, executor string, reply settleReply)
	acted     func(error) // how each look went

	since map[string]time.Time // executors without lease, when that was first seen
}

func (r *reclaimer) run(ctx context.Context) {
	repeat(ctx, nil, r.lease, r.acted, func() (time.Duration, error) {
		held, err := r.pass(ctx)
		if err != nil {
			clear(r.since)
		}
		if !held {
			return r.lease, err
		}
		return r.lease / 3, err
	})
}

// pass looks once, page by page. It tells whether anything is claimed in the slot.
func (r *reclaimer) pass(ctx context.Context) (held bool, err error) {
	seen := make(map[string]bool)
	for {
		page, err := r.store.lost(ctx, r.pool, r.slot, reclaimPage)
		if err != nil {
			return held, err
		}
		held = held || page.held
		settledSome, err := r.reclaim(ctx, page.claims, seen)
		if err != nil {
			return held, err
		}
		if !page.more || !settledSome {
			break
		}
	}
	for executor := range r.since {
		if !seen[executor] {
			delete(r.since, executor)
		}
	}
	return held, nil
}

func (r *reclaimer) reclaim(ctx context.Context, claims []lostClaim, seen map[string]bool) (settledSome bool, err error) {
	if len(claims) == 0 {
		return false, nil
	}
	present, err := r.store.presences(ctx, r.pool)
	if err != nil {
		return false, err
	}
	alive := make(map[string]*presence)
	for i := range present {
		alive[present[i].Executor] = &present[i]
	}
	now := time.Now()
	var batch []settlement
	for _, c := range claims {
		first, known := r.since[c.executor]
		if !known {
			first = now
			r.since[c.executor] = now
		}
		seen[c.executor] = true
		// A little less than the time between two looks, which is not exact.
		patience := r.lease / 4
		if alive[c.executor] != nil {
			patience = 2 * r.lease
		}
		if now.Sub(first) >= patience {
			batch = append(batch, r.lossOf(c, alive[c.executor], r.now(), r.limit(), rand.Float64()))
		}
	}
	for len(batch) > 0 {
		group := batch[:min(settleCount, len(batch))]
		batch = batch[len(group):]
		replies, err := r.store.settle(ctx, r.pool, r.slot, group)
		if err != nil {
			return settledSome, err
		}
		for i, reply := range replies {
			if reply != replyLost && reply != replyLeased {
				settledSome = true
				r.reclaimed(&group[i], group[i].lostBy, reply)
			}
		}
		r.log.Info("[Slipstream] reclaimed tasks of an executor without lease", "Pool", r.pool, "Slot", r.slot,
			"Tasks", len(group), "Executor", group[0].lostBy)
	}
	return settledSome, nil
}

// lossOf decides what becomes of a claim whose executor lost its lease (protocol Q6).
// now is Redis's time.
//
// The executor is alive again: nothing is counted and the same attempt runs again. But
// what may be attempted once only is never started twice.
//
// It is gone (nil): the attempt ends as a time-out, and the loss is counted. Whether the task
// did it cannot be known; but one that was lost four times is only claimed by an
// executor that runs nothing else, so a further loss soon after its start is the task's
// own. (That the dead executor had but this one claim in the slot proves nothing: it
// may have had others elsewhere.)
func (r *reclaimer) lossOf(c lostClaim, alive *presence, now time.Time, limit int, random float64) settlement {
	d := c.delivery
	kind := kindOfLoss(d.Options)
	worker := c.executor // what is known of one that is gone
	if alive != nil {
		worker = alive.Worker
	}
	if alive != nil && d.Options.Retry.MaximumAttempts != 1 {
		s := releaseOf(d, d.Heartbeat, worker)
		s.lostBy = c.executor
		return s
	}
	losses, alone := d.losses, d.alone
	if alive == nil {
		losses++
		if suspectLevel(d.losses) == levelAlone && c.held <= youngest+2*r.lease {
			alone++
		}
	}
	end := ending{kind: kind, age: max(0, now.Sub(d.ScheduledAt))}
	if limit > 0 && alone >= limit {
		end.kind = KindPoison
	}
	v := judge(d.Options, d.Attempt, end, random)
	var failure []byte
	if v.again {
		failure = r.timeoutFailure(d, kind)
	}
	s := settlementOf(d, v, end.kind, failure, d.Heartbeat, worker)
	s.losses, s.alone, s.lostBy = losses, alone, c.executor
	return s
}
