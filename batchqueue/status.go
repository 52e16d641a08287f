package batchqueue

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
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
	Type  string
	State TaskState
	// Kind is how it ended; 0 if it did not, or was discarded.
	Kind Kind
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
			t, err := readStatus(parts)
			if err != nil {
				return nil, fmt.Errorf("list tasks of run %q in pool %q slot %d: %w", run, pool, slot, err)
			}
			out = append(out, t)
		}
		chunk = number(reply[0])
	}
	return out, nil
}

// readStatus reads a task as the scripts describe it.
func readStatus(parts []any) (TaskStatus, error) {
	if len(parts) < 6 || len(text(parts[1])) != 8 {
		return TaskStatus{}, errUndecodable("task", fmt.Sprintf("%d parts", len(parts)))
	}
	return TaskStatus{
		Identity: Identity{Number: uint64(number(parts[0])), Fingerprint: binary.BigEndian.Uint64([]byte(text(parts[1])))},
		Type:     text(parts[4]),
		State:    stateOf(text(parts[2]), text(parts[3])),
		Kind:     kindOf(text(parts[5])),
		Executor: text(parts[3]),
	}, nil
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

// kindOf reads a kind where one may stand; a discarded task has its lane there.
func kindOf(s string) Kind {
	if len(s) == 1 && s[0] >= byte(KindCompleted) && s[0] <= byte(KindPoison) {
		return Kind(s[0])
	}
	return 0
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

// CancelTask is Cancel for one task of the run by its number, whatever it asks.
// ErrNotFound: it was never enqueued, or ended and its record is gone.
func (q *Queue) CancelTask(ctx context.Context, pool, run string, n uint64) error {
	t, err := q.Status(ctx, pool, run, n)
	if err != nil {
		return err
	}
	slot, err := q.slotOf(ctx, pool, run)
	if err != nil {
		return fmt.Errorf("cancel task %d of run %q in pool %q: %w", n, run, pool, err)
	}
	return q.Cancel(ctx, pool, slot, run, []Identity{t.Identity})
}

// runsPage is how many entries one call reads for EachRun.
const runsPage = 1000

// Runs lists the runs that have tasks in the pool which have not ended, in no order.
func (q *Queue) Runs(ctx context.Context, pool string) ([]string, error) {
	found := map[string]bool{}
	for run, err := range q.EachRun(ctx, pool) {
		if err != nil {
			return nil, err
		}
		found[run] = true
	}
	return slices.Collect(maps.Keys(found)), nil
}

// EachRun goes through the runs that have tasks in the pool which have not ended, in no
// order. A run may come more than once. It looks through the pool's tasks in pages, as far
// as the caller goes: what begins or ends meanwhile may be there or not. After an error
// there is nothing more.
func (q *Queue) EachRun(ctx context.Context, pool string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		config, err := q.config(ctx, pool)
		if err != nil {
			yield("", fmt.Errorf("list runs of pool %q: %w", pool, err))
			return
		}
		for slot := range config.MaxSlots() {
			for source, from := int64(1), ""; source > 0; {
				var runs []string
				if runs, source, from, err = q.runsPage(ctx, pool, slot, source, from); err != nil {
					yield("", fmt.Errorf("list runs of pool %q slot %d: %w", pool, slot, err))
					return
				}
				for _, run := range runs {
					if !yield(run, nil) {
						return
					}
				}
			}
		}
	}
}

func (q *Queue) runsPage(ctx context.Context, pool string, slot int, source int64, from string) (runs []string, next int64, at string, err error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{runsScript, q.keys.slot(pool, slot), []any{source, from, runsPage}})[0].Slice()
	if err != nil {
		return nil, 0, "", unavailable(err)
	}
	for _, name := range reply[2:] {
		run, err := decodeRun(text(name))
		if err != nil {
			return nil, 0, "", err
		}
		runs = append(runs, run)
	}
	return runs, number(reply[0]), text(reply[1]), nil
}
