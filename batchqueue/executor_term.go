package batchqueue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slipstream-go/slipstream/internal/outage"
)

// handOver is how long an ending term waits for sendings under way. A sending that is
// cut off is repeated by the next leader, equal to the byte.
const handOver = 500 * time.Millisecond

// term is the time during which an executor leads a slot: it delivers outcomes, moves
// what is due and reclaims what was lost.
type term struct {
	slot  int
	until time.Time // trusted until then; used by rounds only, one at a time

	outcomes chan struct{} // wakes the deliverer
	dues     chan struct{} // wakes the due mover

	end context.CancelFunc // no new work
	cut context.CancelFunc // ends sendings under way
	wg  sync.WaitGroup
}

func (t *term) wakeDeliverer() { wake(t.outcomes) }
func (t *term) wakeDue()       { wake(t.dues) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (e *Executor) beginTerm(slot int, until time.Time) {
	t := &term{slot: slot, until: until, outcomes: make(chan struct{}, 1), dues: make(chan struct{}, 1)}
	sending, cut := context.WithCancel(e.base)
	ctx, end := context.WithCancel(sending)
	t.end, t.cut = end, cut
	d := &deliverer{
		store: e.store, pool: e.pool, slot: slot, deliver: e.opts.Deliver, log: e.log, idle: e.lease,
		wake: t.outcomes, flying: make(map[string]bool), tries: make(map[string]int),
		delivered: e.delivered, failed: e.fail,
	}
	d.acted = e.watch(slot, "looking for outcomes to deliver")
	r := &reclaimer{
		store: e.store, pool: e.pool, slot: slot, lease: e.lease, log: e.log, now: e.redisNow,
		limit:          func() int { return e.conf.Load().PoisonLimit },
		timeoutFailure: e.opts.TimeoutFailure,
		reclaimed:      e.reclaimed, acted: e.watch(slot, "looking for lost claims"),
		since: make(map[string]time.Time),
	}
	t.wg.Go(func() { d.run(ctx, sending) })
	t.wg.Go(func() { r.run(ctx) })
	t.wg.Go(func() { e.moveDue(ctx, t) })
	e.house.mu.Lock()
	e.house.terms[slot] = t
	e.house.mu.Unlock()
}

// endTerm stops leading. With resign the slot is free for others at once.
func (e *Executor) endTerm(ctx context.Context, t *term, resign bool) error {
	e.house.mu.Lock()
	delete(e.house.terms, t.slot)
	e.house.mu.Unlock()
	t.end()
	timer := time.AfterFunc(handOver, t.cut)
	t.wg.Wait()
	timer.Stop()
	t.cut()
	if !resign {
		return nil
	}
	return e.store.resign(ctx, e.pool, t.slot, e.id)
}

// endTerms stops leading the slots. With resign they are free for others at once, those
// included that a lost reply gave to this executor.
func (e *Executor) endTerms(ctx context.Context, slots []int, resign bool) error {
	errs := make([]error, len(slots))
	var wg sync.WaitGroup
	for i, slot := range slots {
		wg.Go(func() {
			if t := e.house.term(slot); t != nil {
				errs[i] = e.endTerm(ctx, t, resign)
			} else if resign {
				errs[i] = e.store.resign(ctx, e.pool, slot, e.id)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// moveDue moves what is due when it is due: delayed tasks, deadlines of waiting ones,
// ends of windows. The bell rings when something earlier comes in.
func (e *Executor) moveDue(ctx context.Context, t *term) {
	acted := e.watch(t.slot, "moving due tasks")
	repeat(ctx, t.dues, e.lease, acted, func() (time.Duration, error) { return e.store.due(ctx, e.pool, t.slot) })
}

// watch returns what a loop tells of each of its acts: failures are counted, and logged as
// a row.
func (e *Executor) watch(slot int, what string) func(error) {
	var row outage.Outage
	return func(err error) {
		if err == nil {
			if n, lasted, say := row.Worked(time.Now()); say {
				e.log.Info("[Slipstream] "+what+" works again", "Pool", e.pool, "Slot", slot, "Failures", n, "Lasted", lasted)
			}
			return
		}
		e.fail(err)
		if n, say := row.Failed(time.Now()); say {
			e.log.Warn("[Slipstream] "+what+" fails, will be tried again", "Pool", e.pool, "Slot", slot, "Failures", n, "Error", err)
		}
	}
}

// repeat acts until ctx ends: at once, when it is woken, when the wait is over that the
// last act returned (negative: nothing to wait for), and with back-off after a failure.
// It never waits longer than idle: a bell may have been missed. acted is told how each act
// went.
func repeat(ctx context.Context, woken <-chan struct{}, idle time.Duration, acted func(error), act func() (time.Duration, error)) {
	retry := backoff{first: retryFirst, most: idle / 3}
	for {
		wait, err := act()
		if err == nil || ctx.Err() == nil {
			acted(err)
		}
		switch {
		case err != nil:
			wait = retry.next()
		case wait < 0 || wait > idle:
			wait = idle
			retry.reset()
		default:
			retry.reset()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-woken:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (e *Executor) delivered(b *Batch, took time.Duration, err error) {
	if err == nil {
		e.stats.batches.Add(1)
		e.stats.outcomes.Add(uint64(len(b.Outcomes)))
	} else {
		e.stats.undelivered.Add(1)
	}
	e.obs.Delivered(b, took, err)
}

// reclaimed takes note of a claim that the reclaimer settled.
func (e *Executor) reclaimed(s *settlement, executor string, reply settleReply) {
	e.stats.reclaimed.Add(1)
	e.obs.Reclaimed(s.d, executor)
	final := s.action == actionFinish || reply == replyCanceled
	switch {
	case reply == replyDropped:
	case final && s.outcome.Kind == KindPoison:
		e.log.Error("[Slipstream] a task took its executors down too often and is a dead letter now", "Pool", e.pool,
			"Slot", s.d.slot, "Run", s.d.Run, "Task", s.d.Number, "Type", s.d.Type, "Losses", s.losses)
		e.obs.Dead(s.d, s.outcome)
	case final:
		e.obs.Settled(s.d, s.outcome)
	default:
		if s.action == actionRetry {
			e.obs.Retried(s.d, s.outcome, s.delay)
		}
		if suspectLevel(s.losses) == levelAlone {
			e.claimer.wantAlone(s.d.slot, time.Now().Add(s.delay))
		}
	}
	if final {
		e.house.wakeDeliverer(s.d.slot)
	}
}
