package batchqueue

import (
	"context"
	"strconv"
	"time"
)

const (
	// blockedWait is how long a slot with a full outbox is left alone.
	blockedWait = 250 * time.Millisecond
	// starvedWait is how long a slot is left alone that has work, but none that may be
	// taken now.
	starvedWait = 50 * time.Millisecond
	// overflowEvery is how often, at most, an executor without a free permit calls the
	// others to a slot that has more.
	overflowEvery = 100 * time.Millisecond
)

// claimFrom takes tasks from a slot and starts their handlers.
func (e *Executor) claimFrom(slot int, g *grant) {
	r := claimed{blind: true} // until it has looked
	defer func() { e.claimer.claimed(slot, g, r) }()
	conf := e.conf.Load()
	if conf == nil || e.settler.stuck(slot) {
		r.fails = true
		return
	}
	if e.settler.behind(slot) {
		r.wait = settleWait
		return
	}
	bytes := e.memory.grant(e.opts.ClaimBytes)
	if bytes == 0 {
		e.stats.withheld.Add(1)
		r.wait = memoryWait
		return
	}
	brought := 0
	defer func() { e.memory.landed(bytes, brought) }()
	n, wait, err := e.pace.take(e.ctx, g.count, conf.RatePerSecond)
	if err != nil {
		e.fail(err)
		r.fails = true
		return
	}
	if n == 0 {
		r.wait = wait
		return
	}
	e.audits.touch(slot)
	began := time.Now()
	reply, err := e.store.claim(e.ctx, e.pool, slot, claimRequest{
		executor: e.id, types: rotate(e.opts.Types, g.turn), count: n, bytes: bytes,
		lease: e.lease, suspects: g.suspects, outboxLimit: conf.OutboxLimit, outboxBytes: conf.OutboxBytes,
	})
	got := len(reply.deliveries)
	brought = reply.bytes
	e.pace.giveBack(n-got, conf.RatePerSecond)
	e.stats.claimed.Add(uint64(got))
	for _, d := range reply.dead {
		e.obs.Dead(d, Outcome{Kind: KindPoison, Retry: RetryNonRetryable})
	}
	if err != nil {
		// The claim may have been made all the same: look for it soon.
		e.fail(err)
		if n, say := e.claimOutage.Failed(time.Now()); say {
			e.log.Warn("[Slipstream] claims fail, will be tried again", "Pool", e.pool, "Slot", slot, "Failures", n, "Error", err)
		}
		e.audits.want(slot)
	} else {
		if n, lasted, say := e.claimOutage.Worked(time.Now()); say {
			e.log.Info("[Slipstream] claims work again", "Pool", e.pool, "Slot", slot, "Failures", n, "Lasted", lasted)
		}
		e.obs.Claimed(slot, got, time.Since(began))
	}
	r.blind = err != nil || reply.blocked
	r.count, r.suspects = e.begin(e.claimer.keep(g, got), reply.deliveries)
	switch {
	case err != nil:
		r.fails = true
	case reply.blocked:
		r.wait = blockedWait
	case reply.more && got == 0:
		r.wait = starvedWait
	default:
		r.more = reply.more
		if reply.more && e.claimer.full() {
			e.overflow(slot)
		}
	}
}

// rotate returns the types beginning with another one each turn, so that none is always
// the last to be looked at.
func rotate(types []string, turn int) []string {
	i := turn % len(types)
	return append(append(make([]string, 0, len(types)), types[i:]...), types[:i]...)
}

// overflow calls the executors that are not at home in the slot. Enqueue does that when
// it adds more than the home executors can hold; but their permits are shared by all
// slots, and it does not know how many are free. Called too soon again it sees later
// whether there is still something to call for.
func (e *Executor) overflow(slot int) {
	may, wait := e.house.mayCall(slot, time.Now())
	if wait > 0 {
		e.claimer.rungAgain(slot, wait)
	}
	if !may {
		return
	}
	if err := e.ring(e.ctx, e.keys.poolBell(e.pool), strconv.Itoa(slot)); err != nil {
		e.fail(err)
	}
}

// begin starts the handlers of claimed tasks, as far as there are permits, and returns
// how many started. It releases what must not start here.
func (e *Executor) begin(permits int, ds []*Delivery) (n int, suspects suspectBudgets) {
	open := e.claimer.isOpen()
	now := time.Now()
	for _, d := range ds {
		level := suspectLevel(d.losses)
		if !open || n == permits || (level == levelAlone && !e.claimer.enterAlone(permits)) {
			e.giveUp(e.hold(d, now, 0))
			continue
		}
		n++
		if level >= 0 {
			suspects[level]++
		}
		e.run(e.hold(d, now, e.age(d)))
	}
	return n, suspects
}

// hold puts a delivery into the table.
func (e *Executor) hold(d *Delivery, now time.Time, age time.Duration) *claim {
	c := &claim{d: d, ref: d.ref(), started: now, limits: limitsOf(d.Options, now, age), alarmIndex: -1}
	ctx := e.base
	if deadline, ok := c.limits.deadline(); ok {
		// A real deadline, so that contexts derived from it say DeadlineExceeded too.
		ctx, c.stopTimer = context.WithDeadline(ctx, deadline)
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	d.End, d.claim, d.table = c.cancel, c, e.table
	e.table.add(c)
	return c
}

// giveUp releases a claim that was never started.
func (e *Executor) giveUp(c *claim) {
	e.release(c)
	c.free()
}
