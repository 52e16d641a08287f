package batchqueue

import "time"

// Observer is told what an executor does, for metrics and tests. Every function may be
// nil. They are called concurrently and from the paths they observe: they must be quick.
type Observer struct {
	// Claimed: a claim brought n tasks (0 too) from the slot.
	Claimed func(slot, n int, took time.Duration)
	// Started: the handler is about to run.
	Started func(d *Delivery)
	// Returned: the handler returned after ran; r is zero if it ended its goroutine instead.
	Returned func(d *Delivery, r Result, ran time.Duration)
	// Settled: the outcome is recorded; it is the task's last word.
	Settled func(d *Delivery, o Outcome)
	// Dead: like Settled, for a task that went to the dead letters.
	Dead func(d *Delivery, o Outcome)
	// Retried: the attempt ended with o and another follows after delay.
	Retried func(d *Delivery, o Outcome, delay time.Duration)
	// Advanced: the step completed, and the task's next is in the queue.
	Advanced func(d *Delivery)
	// Released: the task went back to the queue, without losing an attempt: its executor
	// stops, has no permit for it, or its handler declined it.
	Released func(d *Delivery)
	// Lost: the claim turned out to be somebody else's; what the handler did is dropped.
	Lost func(d *Delivery)
	// Reclaimed: the task was taken from an executor that is gone.
	Reclaimed func(d *Delivery, executor string)
	// Delivered: a batch was sent; err is what the DeliverFunc said.
	Delivered func(b *Batch, took time.Duration, err error)
	// Error: an operation on Redis failed; it will be tried again.
	Error func(err error)
}

// withDefaults puts functions that do nothing where there are none.
func (o Observer) withDefaults() Observer {
	if o.Claimed == nil {
		o.Claimed = func(int, int, time.Duration) {}
	}
	if o.Started == nil {
		o.Started = func(*Delivery) {}
	}
	if o.Returned == nil {
		o.Returned = func(*Delivery, Result, time.Duration) {}
	}
	if o.Settled == nil {
		o.Settled = func(*Delivery, Outcome) {}
	}
	if o.Dead == nil {
		o.Dead = func(*Delivery, Outcome) {}
	}
	if o.Retried == nil {
		o.Retried = func(*Delivery, Outcome, time.Duration) {}
	}
	if o.Advanced == nil {
		o.Advanced = func(*Delivery) {}
	}
	if o.Released == nil {
		o.Released = func(*Delivery) {}
	}
	if o.Lost == nil {
		o.Lost = func(*Delivery) {}
	}
	if o.Reclaimed == nil {
		o.Reclaimed = func(*Delivery, string) {}
	}
	if o.Delivered == nil {
		o.Delivered = func(*Batch, time.Duration, error) {}
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	return o
}
