package activity

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/workflow"
)

// TaskStatus is where a task of a batch stands.
type TaskStatus struct {
	// Index is the task's place in the batch, from 0.
	Index        int
	ActivityType string
	State        batchqueue.TaskState
	// Outcome is how it ended; empty while it has not.
	Outcome workflow.OutcomeKind
	// Executor holds the task; empty if none does.
	Executor string
}

// Pool names a pool for CancelAll and Stats.
type Pool struct {
	TaskQueue string
	// Name is the pool's name in marks; empty for the task queue's common pool.
	Name string
}

func (p Pool) name() (string, error) {
	if p.TaskQueue == "" {
		return "", invalid("Pool.TaskQueue is empty; give the task queue")
	}
	return PoolName(p.TaskQueue, p.Name, ""), nil
}

// Status returns the tasks of a batch by index, those that ended too. The error matches
// batchqueue.ErrNotFound when nothing is known of the batch: it is over for longer than its
// retention, or Redis lost it.
func (q *Queue) Status(ctx context.Context, h Handle) ([]TaskStatus, error) {
	r, err := q.of(h)
	if err != nil {
		return nil, err
	}
	tasks, err := r.queue.Tasks(ctx, h.pool, h.run())
	if err == nil && len(tasks) == 0 {
		err = batchqueue.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("slipstream: status of batch %q in pool %q: %w", h.ID, h.pool, err)
	}
	out := make([]TaskStatus, len(tasks))
	for i, t := range tasks {
		out[i] = TaskStatus{
			Index: int(t.Number) - 1, ActivityType: t.Type, State: t.State,
			Outcome: workflow.OutcomeKind(wireKind(t.Kind).Class()), Executor: t.Executor,
		}
	}
	return out, nil
}

// Cancel asks for tasks of a batch to end, for all that are open if no index is given. Those
// that wait end as canceled at once, those that run have their contexts canceled, and end as
// canceled if they say so; the outcomes are delivered as usual. What ended or is not known is
// left alone. Safe to repeat.
func (q *Queue) Cancel(ctx context.Context, h Handle, indexes ...int) error {
	r, err := q.of(h)
	if err != nil {
		return err
	}
	if len(indexes) == 0 {
		if err := r.queue.CancelAll(ctx, h.pool, h.run()); err != nil {
			return fmt.Errorf("slipstream: %w", err)
		}
		return nil
	}
	tasks := make([]batchqueue.Identity, len(indexes))
	for i, index := range indexes {
		if index < 0 {
			return invalid("cancel task %d of batch %q: indexes are from 0", index, h.ID)
		}
		tasks[i] = batchqueue.Identity{Number: uint64(index) + 1, Fingerprint: fingerprintOf(h.ID)}
	}
	if err := r.queue.Cancel(ctx, h.pool, h.slot, h.run(), tasks); err != nil {
		return fmt.Errorf("slipstream: %w", err)
	}
	return nil
}

// CancelAll is Cancel for every batch of the pools that is open when it looks; calls of
// workflows go on. It looks through all tasks of the pools, so it is for people and
// emergencies. After an error some batches may not have been canceled.
func (q *Queue) CancelAll(ctx context.Context, pools ...Pool) error {
	r, err := q.runtime()
	if err != nil {
		return err
	}
	if len(pools) == 0 {
		return invalid("cancel all: no pool is given; give at least one")
	}
	var errs []error
	for _, p := range pools {
		pool, err := p.name()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		runs, err := r.queue.Runs(ctx, pool)
		if err != nil {
			errs = append(errs, fmt.Errorf("slipstream: cancel all: %w", err))
		}
		for _, run := range runs {
			if !strings.HasPrefix(run, runPrefix) {
				continue
			}
			if err := r.queue.CancelAll(ctx, pool, run); err != nil {
				errs = append(errs, fmt.Errorf("slipstream: cancel all: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// Stats counts the tasks of a pool, those of workflows too.
func (q *Queue) Stats(ctx context.Context, p Pool) (batchqueue.Stats, error) {
	r, err := q.runtime()
	if err != nil {
		return batchqueue.Stats{}, err
	}
	pool, err := p.name()
	if err != nil {
		return batchqueue.Stats{}, err
	}
	stats, err := r.queue.Stats(ctx, pool)
	if err != nil {
		return batchqueue.Stats{}, fmt.Errorf("slipstream: %w", err)
	}
	return stats, nil
}

// of returns the runtime for a handle that names something.
func (q *Queue) of(h Handle) (*Runtime, error) {
	if h.ID == "" || h.pool == "" || h.slot < 0 {
		return nil, invalid("the handle is empty; take it from Enqueue or ParseHandle")
	}
	return q.runtime()
}
