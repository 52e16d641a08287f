package batchqueue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-go/slipstream/internal/outage"
)

// keepLease says three times per lease that the executor is alive and keeps its claims,
// until ctx ends, and lets idle goroutines go. When Redis does not answer it asks oftener: at the moment it is back,
// the claims may be for others to take.
func (e *Executor) keepLease() {
	retry := backoff{first: retryFirst, most: e.lease / 10}
	last, known := time.Now(), false
	var row outage.Outage
	for {
		began := time.Now()
		wait := e.lease / 3
		if err := e.extendAll(); err == nil {
			if retry.tries > 0 || began.Sub(last) > e.lease {
				e.log.Info("[Slipstream] Redis answers the executor again", "Pool", e.pool, "Executor", e.id, "Silent", began.Sub(last))
				e.audits.wantAll()
			}
			if !known {
				known = true
				e.tell(e.ctx, e.ringOthers)
			}
			row.Worked(began) // said above
			retry.reset()
			last = began
		} else {
			wait = min(retry.next(), wait)
			if e.ctx.Err() == nil {
				e.fail(err)
				if n, say := row.Failed(began); say {
					e.log.Warn("[Slipstream] cannot extend the lease, will be tried again", "Pool", e.pool, "Executor", e.id, "Failures", n, "Error", err)
				}
			}
		}
		e.crew.trim()
		if !pause(e.ctx, wait) {
			return
		}
	}
}

// extendAll extends presence and leases once.
func (e *Executor) extendAll() error {
	// In a cluster one of them may fail alone, and the claims are more than the name.
	absent := e.sayPresent()
	slots := slices.Compact(slices.Sorted(slices.Values(append(e.table.slots(), e.audits.wanted()...))))
	if len(slots) == 0 {
		return absent
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
	return errors.Join(absent, err)
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

// sayPresent extends the presence. It learns Redis's clock, to half a round trip, and who
// else is there; if that changed, there is a house to keep.
func (e *Executor) sayPresent() error {
	began := time.Now()
	present, now, err := e.store.present(e.ctx, e.pool, e.presence(), e.lease)
	if err != nil {
		e.seen.Store(nil)
		return err
	}
	ended := time.Now()
	e.clockBy.Store(int64(now.Sub(began.Add(ended.Sub(began) / 2))))
	before := e.seen.Swap(&present)
	if before == nil || !slices.Equal(takers(*before), takers(present)) {
		e.house.wantRound()
	}
	return nil
}

// takers names the executors that take tasks, sorted. Who has no types is about to stop.
func takers(present []presence) []string {
	var names []string
	for _, p := range present {
		if len(p.Types) > 0 {
			names = append(names, p.Executor)
		}
	}
	slices.Sort(names)
	return names
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
