package batchqueue

import (
	"context"
	"encoding/binary"
	"fmt"
)

// TaskState is where a task stands.
type TaskState string

// The states of a task, as the run record knows them.
const (
	StateWaiting      TaskState = "waiting"      // for an executor
	StateClaimed      TaskState = "claimed"      // an executor has it
	StateCanceling    TaskState = "canceling"    // an executor has it and was told to stop
	StateDelayed      TaskState = "delayed"      // for its next attempt
	StateFinished     TaskState = "finished"     // its outcome waits for delivery
	StateTaken        TaskState = "taken"        // its outcome was handed over
	StateAcknowledged TaskState = "acknowledged" // its outcome was delivered, or discarded
	StateParked       TaskState = "parked"       // its run was not found
)

// TaskStatus is what is known of one task.
type TaskStatus struct {
	Identity
	State TaskState
	// Executor holds the task, "" if none does.
	Executor string
}

const statusPage = 32 // chunks of 32 records

// Tasks lists the run's tasks by number: those that are open, and those that ended and
// are not below the run's watermark yet. A run that is not known has none.
func (q *Queue) Tasks(ctx context.Context, pool, run string) ([]TaskStatus, error) {
	slot, err := q.slotOf(ctx, pool, run)
	if err != nil {
		return nil, fmt.Errorf("list tasks of run %q in pool %q: %w", run, pool, err)
	}
	return q.tasks(ctx, pool, slot, run)
}

func (q *Queue) tasks(ctx context.Context, pool string, slot int, run string) ([]TaskStatus, error) {
	var out []TaskStatus
	for chunk := int64(0); chunk >= 0; {
		reply, err := q.scripts.run(ctx, q.rdb, call{tasksScript, q.keys.slot(pool, slot), []any{encodeRun(run), chunk, statusPage}})[0].Slice()
		if err != nil {
			return nil, fmt.Errorf("list tasks of run %q in pool %q slot %d: %w", run, pool, slot, unavailable(err))
		}
		for _, item := range reply[1:] {
			parts, _ := item.([]any)
			if len(parts) < 4 || len(text(parts[1])) != 8 {
				return nil, fmt.Errorf("list tasks of run %q in pool %q slot %d: %w", run, pool, slot, errUndecodable("task", fmt.Sprint(item)))
			}
			out = append(out, TaskStatus{
				Identity: Identity{Number: uint64(number(parts[0])), Fingerprint: binary.BigEndian.Uint64([]byte(text(parts[1])))},
				State:    stateOf(text(parts[2]), text(parts[3])),
				Executor: text(parts[3]),
			})
		}
		chunk = number(reply[0])
	}
	return out, nil
}

func stateOf(letter, executor string) TaskState {
	switch letter {
	case "q":
		if executor != "" {
			return StateClaimed
		}
		return StateWaiting
	case "x":
		return StateCanceling
	case "d":
		return StateDelayed
	case "f":
		return StateFinished
	case "t":
		return StateTaken
	case "z":
		return StateParked
	default:
		return StateAcknowledged
	}
}

// Status returns where one task stands. ErrNotFound: it was never enqueued, or ended and
// its record is gone.
func (q *Queue) Status(ctx context.Context, pool, run string, n uint64) (TaskStatus, error) {
	tasks, err := q.Tasks(ctx, pool, run)
	if err != nil {
		return TaskStatus{}, err
	}
	for _, t := range tasks {
		if t.Number == n {
			return t, nil
		}
	}
	return TaskStatus{}, fmt.Errorf("task %d of run %q in pool %q: %w", n, run, pool, ErrNotFound)
}

// CancelAll is Cancel for every task of the run that is open when it looks.
func (q *Queue) CancelAll(ctx context.Context, pool, run string) error {
	slot, err := q.slotOf(ctx, pool, run)
	if err != nil {
		return fmt.Errorf("cancel run %q in pool %q: %w", run, pool, err)
	}
	tasks, err := q.tasks(ctx, pool, slot, run)
	if err != nil {
		return err
	}
	var open []Identity
	for _, t := range tasks {
		switch t.State {
		case StateWaiting, StateClaimed, StateDelayed:
			open = append(open, t.Identity)
		case StateCanceling, StateFinished, StateTaken, StateAcknowledged, StateParked:
		}
	}
	return q.Cancel(ctx, pool, slot, run, open)
}
