package batchqueue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/slipstream-go/slipstream/internal/outage"
)

const (
	// sendings is how many runs are signalled at a time.
	sendings = 64
	// A sending that takes longer than sendMost is a failed one.
	sendMost = 2 * timeToSend

	resendFirst = 100 * time.Millisecond
	resendMost  = 30 * time.Second

	// restMost bounds how long a receiver may ask to be left alone.
	restMost = time.Minute
)

// deliverer brings a slot's outcomes to their runs: many runs side by side, one batch of
// a run at a time.
type deliverer struct {
	store   slotStore
	pool    string
	slot    int
	deliver DeliverFunc
	log     Logger
	idle    time.Duration // look again after this without being called

	wake      chan struct{} // look for outcomes now
	delivered func(b *Batch, took time.Duration, err error)
	failed    func(error)
	acted     func(error) // how each look for outcomes went

	outage outage.Outage

	mu     sync.Mutex
	flying map[string]bool // protected by mu: runs that are being signalled
	tries  map[string]int  // protected by mu: failed sendings in a row, by run
	rests  time.Time       // protected by mu: nothing is sent before
}

// run delivers until ctx ends, and returns when the sendings under way have ended;
// those may go on until sending ends.
func (d *deliverer) run(ctx, sending context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	repeat(ctx, d.wake, d.idle, d.acted, func() (time.Duration, error) {
		if rest := d.rest(); rest > 0 {
			return rest, nil
		}
		room := sendings - d.inFlight()
		if room == 0 {
			return -1, nil // the next that lands wakes
		}
		batches, wait, err := d.store.batches(ctx, d.pool, d.slot, room)
		for _, b := range batches {
			// A sending that takes long is offered again; it is under way all the same.
			if d.takeOff(b.Run) {
				wg.Go(func() { d.send(sending, b) })
			}
		}
		return wait, err
	})
}

func (d *deliverer) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.flying)
}

func (d *deliverer) takeOff(run string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flying[run] {
		return false
	}
	d.flying[run] = true
	return true
}

func (d *deliverer) land(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.flying) == sendings {
		wake(d.wake)
	}
	delete(d.flying, run)
}

// send sends one batch and records what became of it.
func (d *deliverer) send(ctx context.Context, b *Batch) {
	limited, cancel := context.WithTimeout(ctx, sendMost)
	began := time.Now()
	err := d.deliver(limited, b)
	cancel()
	// Before the outcome is recorded, not after: from then on the run's next batch may be
	// offered, and would be refused as one too many.
	d.land(b.Run)
	if ctx.Err() != nil && err != nil {
		return // cut off: the next leader sends it again
	}
	d.delivered(b, time.Since(began), err)
	var record func(context.Context, *Batch) error
	again := false
	switch {
	case err == nil:
		record = d.store.acked
	case errors.Is(err, ErrRunGone):
		d.log.Debug("[Slipstream] a run is gone, its tasks are abandoned", "Pool", d.pool, "Slot", d.slot, "Run", b.Run, "Outcomes", len(b.Outcomes))
		record = d.store.abandon
	case errors.Is(err, ErrRunDeaf):
		d.log.Info("[Slipstream] a run takes no more signals, it has to ask", "Pool", d.pool, "Slot", d.slot, "Run", b.Run, "Error", err)
		record = d.store.deafRun
	default:
		again = true
		wait, tries := d.nextTry(b.Run)
		wait = max(wait, d.leaveAlone(err))
		if n, say := d.outage.Failed(time.Now()); say {
			d.log.Warn("[Slipstream] deliveries fail, will be tried again", "Pool", d.pool, "Slot", d.slot, "Failures", n, "Run", b.Run,
				"Outcomes", len(b.Outcomes), "Tries", tries, "Wait", wait, "Error", err)
		}
		record = func(ctx context.Context, b *Batch) error { return d.store.retryBatch(ctx, b, wait) }
	}
	if !again {
		d.forgetTries(b.Run)
		if n, lasted, say := d.outage.Worked(time.Now()); say {
			d.log.Info("[Slipstream] deliveries work again", "Pool", d.pool, "Slot", d.slot, "Failures", n, "Lasted", lasted)
		}
	}
	retry := backoff{first: retryFirst, most: retryMost}
	for {
		err := record(ctx, b)
		if err == nil {
			if again {
				wake(d.wake) // to learn when
			}
			return
		}
		d.failed(err)
		// Not recorded means sent once more, which does no harm; but Redis should not
		// be asked hot.
		if !pause(ctx, retry.next()) {
			return
		}
	}
}

// rest is how long the receiver still wants to be left alone.
func (d *deliverer) rest() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, time.Until(d.rests))
}

// leaveAlone notes how long the receiver that gave the error wants to be left alone.
func (d *deliverer) leaveAlone(err error) time.Duration {
	var hint interface{ RetryAfter() time.Duration }
	if !errors.As(err, &hint) {
		return 0
	}
	after := min(max(0, hint.RetryAfter()), restMost)
	d.mu.Lock()
	defer d.mu.Unlock()
	if until := time.Now().Add(after); until.After(d.rests) {
		d.rests = until
	}
	return after
}

// maxTries bounds the runs whose failures are remembered; beyond it all begin anew.
const maxTries = 100_000

func (d *deliverer) nextTry(run string) (wait time.Duration, tries int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.tries) > maxTries {
		clear(d.tries)
	}
	n := d.tries[run]
	d.tries[run] = n + 1
	return min(stretch(exponential(resendFirst, 2, resendMost, n), rand.Float64()), resendMost), n + 1
}

func (d *deliverer) forgetTries(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tries, run)
}
