package activity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// enqueue sends the batch. What has no sure answer is sent once more: that adds nothing
// twice.
func (r *Runtime) enqueue(ctx context.Context, b *batch) (Handle, error) {
	fail := func(err error) error {
		return fmt.Errorf("slipstream: enqueue batch %q of %d tasks in pool %q: %w", b.id, len(b.wave.Tasks), b.pool, err)
	}
	if !r.breaker.allow() {
		return Handle{}, fail(batchqueue.ErrUnavailable)
	}
	slot, err := r.sendBatch(ctx, b)
	b.wave.Slot = slot
	if ctx.Err() == nil {
		r.breaker.report(!errors.Is(err, batchqueue.ErrUnavailable) && !errors.Is(err, batchqueue.ErrFull))
	}
	h := Handle{ID: b.id, pool: b.pool, slot: slot}
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, ErrUnsure):
		return h, fail(err)
	}
	return Handle{}, fail(err)
}

// sendBatch returns the batch's slot. An error other than ErrUnsure says that nothing was
// sent.
func (r *Runtime) sendBatch(ctx context.Context, b *batch) (int, error) {
	if err := r.checkHandled(ctx, b); err != nil {
		return unknownSlot, err
	}
	wave := *b.wave
	var lost error
	for range 2 {
		out, err := r.enqueueOnce(ctx, b.pool, &wave)
		if err != nil {
			return unknownSlot, err
		}
		wave.Slot, wave.Tasks, lost = out.Slot, unsureTasks(&wave, &out), firstError(&out)
		if lost == nil || ctx.Err() != nil {
			break
		}
	}
	if lost != nil && wave.Slot >= 0 { // otherwise not even its slot was found
		lost = fmt.Errorf("%w: %w", ErrUnsure, lost)
	}
	return wave.Slot, lost
}

// tasksPerTimeout is how many tasks Redis has to take within redisTimeout, generously.
const tasksPerTimeout = 10_000

func (r *Runtime) enqueueOnce(ctx context.Context, pool string, wave *batchqueue.Wave) (batchqueue.Enqueued, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout*time.Duration(1+len(wave.Tasks)/tasksPerTimeout))
	defer cancel()
	return r.put(ctx, pool, wave)
}

func unsureTasks(wave *batchqueue.Wave, out *batchqueue.Enqueued) []batchqueue.Task {
	var unsure []batchqueue.Task
	for i := range out.Answers {
		if out.Answers[i].State == batchqueue.AnswerUnsure {
			unsure = append(unsure, wave.Tasks[i])
		}
	}
	return unsure
}

func firstError(out *batchqueue.Enqueued) error {
	for i := range out.Answers {
		if out.Answers[i].State == batchqueue.AnswerUnsure {
			return out.Answers[i].Err
		}
	}
	return nil
}

// checkHandled takes the same second look at announcements as a dispatch does.
func (r *Runtime) checkHandled(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	switch draining, err := r.queue.Draining(ctx, b.pool); {
	case err != nil:
		return err
	case draining:
		return fmt.Errorf("%w: %q; wait until it is resumed, or use another pool", ErrDraining, b.pool)
	}
	known, err := r.announced.handled(ctx, b.pool, b.types, r.hurry(b.taskQueue))
	if err != nil {
		return err
	}
	for _, name := range b.types {
		if !known[name] {
			return fmt.Errorf("%w: %q is not announced in pool %q; start a worker with the plugin and this activity on task queue %q",
				ErrNotHandled, name, b.pool, b.taskQueue)
		}
	}
	return nil
}

// hurry is closed once a worker of this process has announced its types on the task queue;
// nil if there is none.
func (r *Runtime) hurry(taskQueue string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		if w.taskQueue == taskQueue {
			return w.announced
		}
	}
	return nil
}
