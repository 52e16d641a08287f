package batchqueue

import (
	"math/rand/v2"
	"time"
)

// run starts the claim's handler. Its permit is taken already, and free again when the
// handler returned, whatever was reported meanwhile.
func (e *Executor) run(c *claim) {
	e.alarms.set(c)
	e.stats.running.Add(1)
	e.crew.run(c)
}

func (e *Executor) handle(c *claim) {
	// Deferred, so that a handler that ends its goroutine frees its permit too. Its alarm
	// stays: the outcome is a time-out, nothing else is known of it.
	defer func() {
		c.free()
		e.stats.running.Add(-1)
		e.claimer.returned(c.d.slot, c.d.losses)
	}()
	r, now := e.call(c)
	e.alarms.remove(c)
	first, canceled := e.table.report(c)
	if !first {
		return
	}
	if r.Declined {
		e.settler.add(c.d.slot, settleEntry{declineOf(c.d, c.details(), e.opts.Worker), c})
		return
	}
	if r.Kind < KindCompleted || r.Kind > KindCanceled {
		r.Kind = KindFailed // a handler that does not say; it shall not pass for done
	}
	end := ending{kind: r.Kind, nonRetryable: r.NonRetryable, nextDelay: r.NextRetryDelay, canceled: canceled}
	if kind := c.timedOut(now); kind == KindStartToClose || kind == KindScheduleToClose {
		// The handler saw its deadline pass and was faster than the alarm.
		end = ending{kind: kind, canceled: canceled}
	}
	e.conclude(c, end, r.Payload)
}

// call runs the handler, and tells the observer even if that ends its goroutine.
func (e *Executor) call(c *claim) (r Result, returned time.Time) {
	e.obs.Started(c.d)
	defer func() {
		returned = time.Now()
		e.obs.Returned(c.d, r, returned.Sub(c.started))
	}()
	r = e.opts.Handler(c.ctx, c.d)
	return r, returned
}

// timeOut reports a claim whose limit ran out, without waiting for its handler.
func (e *Executor) timeOut(c *claim, kind Kind) {
	first, canceled := e.table.report(c)
	if !first {
		return
	}
	e.conclude(c, ending{kind: kind, canceled: canceled}, nil)
	// A passed deadline ends the context by itself; a silent handler is told here.
	if kind == KindHeartbeat {
		c.cancel(e.opts.Cause(ErrLeaseLost))
	}
}

// kindOfLoss is how an attempt ends whose executor is gone, as in Temporal.
func kindOfLoss(o TaskOptions) Kind {
	if o.Heartbeat > 0 {
		return KindHeartbeat
	}
	return KindStartToClose
}

// conclude settles a claim whose attempt ended.
func (e *Executor) conclude(c *claim, end ending, payload []byte) {
	end.age = e.age(c.d)
	v := judge(c.d.Options, c.d.Attempt, end, rand.Float64())
	if v.again && v.kind != KindFailed {
		payload = e.opts.TimeoutFailure(c.d, v.kind)
	}
	e.settler.add(c.d.slot, settleEntry{settlementOf(c.d, v, end.kind, payload, c.details(), e.opts.Worker), c})
}

// settlementOf writes down what follows from the end of an attempt. The payload is what
// its handler returned; that of a time-out is the failure that the next attempt knows.
func settlementOf(d *Delivery, v verdict, ended Kind, payload, details []byte, worker string) settlement {
	o := Outcome{Number: d.Number, Fingerprint: d.Fingerprint, Kind: v.kind, Retry: v.retry, Attempt: d.Attempt, Executor: worker}
	switch ended {
	case KindCompleted, KindFailed, KindCanceled:
		o.Payload = payload
	default:
		o.LastFailure, o.Details = d.LastFailure, details
	}
	if v.kind == KindCompleted && !d.Last() {
		return advanceOf(d, payload, worker)
	}
	if v.kind != KindCompleted {
		o.Step = d.Step // one that completed did so in its last
	}
	s := settlement{d: d, action: actionFinish, outcome: o, losses: d.losses, alone: d.alone}
	if v.again {
		// If a cancel request came first, this outcome is final after all.
		s.outcome.Retry = RetryCancelRequested
		s.action, s.delay, s.attempt = actionRetry, v.delay, d.Attempt+1
		s.heartbeat, s.lastFailure = details, payload
	}
	return s
}

// advanceOf takes a task to its next step. If its cancellation was requested, that is not
// even enqueued, and the outcome has neither an attempt nor a reason for there being no more.
func advanceOf(d *Delivery, payload []byte, worker string) settlement {
	return settlement{d: d, action: actionAdvance, next: payload, outcome: Outcome{
		Number: d.Number, Fingerprint: d.Fingerprint, Kind: KindCanceled, Step: d.Step + 1, Executor: worker,
	}}
}

// release gives a claim back, without losing an attempt, unless it was reported before.
func (e *Executor) release(c *claim) {
	if first, _ := e.table.report(c); first {
		e.settler.add(c.d.slot, settleEntry{releaseOf(c.d, c.details(), e.opts.Worker), c})
	}
}

func releaseOf(d *Delivery, details []byte, worker string) settlement {
	return settlement{
		d: d, action: actionRelease, attempt: d.Attempt, lastFailure: d.LastFailure, heartbeat: details,
		losses: d.losses, alone: d.alone,
		// If its cancellation was requested, it does not start again.
		outcome: Outcome{
			Number: d.Number, Fingerprint: d.Fingerprint, Kind: KindCanceled, Retry: RetryCancelRequested,
			Step: d.Step, Attempt: d.Attempt, Executor: worker, Details: details,
		},
	}
}

// declineOf is a release for others, after a while.
func declineOf(d *Delivery, details []byte, worker string) settlement {
	s := releaseOf(d, details, worker)
	s.action, s.delay = actionRetry, declinedFor
	return s
}

// settled takes Redis's word on a settlement.
func (e *Executor) settled(s settleEntry, reply settleReply, unsure bool) {
	d := s.d
	defer e.table.remove(s.c) // what was settled is counted before it is let go of
	if reply == replyLost && unsure {
		// Most likely the echo of our own first try, whose answer was lost.
		reply = replySettled
	}
	switch {
	case reply == replyWindow, reply == replyCanceled, reply == replySettled && s.action == actionFinish:
		e.stats.settled.Add(1)
		if reply != replyWindow {
			e.house.wakeDeliverer(d.slot)
		}
		e.obs.Settled(d, s.outcome)
	case reply == replySettled && s.action == actionAdvance:
		e.stats.advanced.Add(1)
		e.obs.Advanced(d)
		// The permit is free already, and the bell may be for others: whoever finished a
		// step looks for the next ones.
		e.claimer.look(d.slot)
	case reply == replySettled && s.action == actionRetry && s.attempt > d.Attempt:
		e.stats.retried.Add(1)
		e.obs.Retried(d, s.outcome, s.delay)
	case reply == replySettled:
		e.stats.released.Add(1)
		e.obs.Released(d)
		if suspectLevel(d.losses) == levelAlone {
			e.claimer.wantAlone(d.slot, time.Now().Add(s.delay))
		}
	case reply == replyDropped:
		e.stats.dropped.Add(1)
	default:
		e.lose(s.c)
	}
}

// lose tells a handler that its claim is somebody else's.
func (e *Executor) lose(c *claim) {
	e.stats.lost.Add(1)
	c.cancel(e.opts.Cause(ErrLeaseLost))
	e.obs.Lost(c.d)
	if n, say := e.losses.Failed(time.Now()); say {
		e.log.Warn("[Slipstream] claims were lost", "Pool", e.pool, "Slot", c.d.slot, "Claims", n, "Run", c.d.Run, "Task", c.d.Number, "Type", c.d.Type)
	}
}
