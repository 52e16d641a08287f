package batchqueue

import (
	"context"
	"fmt"
	"time"
)

// TaskDetails are what is known of one task beyond where it stands. Of a task that has
// ended only its TaskStatus is known.
type TaskDetails struct {
	TaskStatus
	Slot int
	// Attempt is the number of the attempt that runs, waits or is delayed; 0 if it ended.
	Attempt int
	// Losses is how many executors were lost with the task.
	Losses int
	// Step says which of its steps the task is in, 0 being the task itself.
	Step int
	// ScheduledAt is when the task was enqueued, AttemptScheduledAt when its attempt became
	// due, DueAt when a delayed one will be (a parked one is given up then); zero where
	// that is not known. By Redis's clock.
	ScheduledAt, AttemptScheduledAt, DueAt time.Time
	// ClaimedFor is how long the executor has had it.
	ClaimedFor time.Duration
	Options    TaskOptions
	// Payload and Common are as they were enqueued, LastFailure is the failure of the
	// attempt before, Heartbeat the details that attempt left.
	Payload, Common, LastFailure, Heartbeat []byte
}

// Details tells all about tasks of a run, in the order of the numbers; those that are not
// known are left out. It reads payloads: give it a few numbers, and Tasks those of a run.
func (q *Queue) Details(ctx context.Context, pool, run string, numbers ...uint64) ([]TaskDetails, error) {
	fail := func(err error) ([]TaskDetails, error) {
		return nil, fmt.Errorf("read %d tasks of run %q in pool %q: %w", len(numbers), run, pool, err)
	}
	slot, err := q.slotOf(ctx, pool, run)
	if err != nil {
		return fail(err)
	}
	calls := make([]call, len(numbers))
	for i, n := range numbers {
		calls[i] = call{taskScript, q.keys.slot(pool, slot), []any{encodeRun(run), n}}
	}
	out := make([]TaskDetails, 0, len(numbers))
	for _, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		reply, err := cmd.Slice()
		if err != nil {
			return fail(unavailable(err))
		}
		if len(reply) == 0 {
			continue
		}
		d, err := readDetails(reply)
		if err != nil {
			return fail(err)
		}
		d.Slot = slot
		out = append(out, d)
	}
	return out, nil
}

// readDetails reads a reply of task.lua.
func readDetails(reply []any) (TaskDetails, error) {
	status, err := readStatus(reply)
	if err != nil || len(reply) < 14 {
		return TaskDetails{}, errUndecodable("task", fmt.Sprintf("%d parts", len(reply)))
	}
	d := TaskDetails{TaskStatus: status, ClaimedFor: time.Duration(number(reply[8])) * time.Millisecond}
	if at := number(reply[7]); at > 0 {
		d.DueAt = time.UnixMilli(at)
	}
	entry := text(reply[10])
	if entry == "" {
		return d, nil
	}
	_, at, payload, err := decodeEntry([]byte(entry))
	if err != nil {
		return TaskDetails{}, err
	}
	common, err := decodeCommon([]byte(text(reply[9])))
	if err != nil {
		return TaskDetails{}, err
	}
	if at.option < len(common.options) {
		d.Options = common.options[at.option]
	}
	d.Step = at.step
	m, err := parseMetadata(text(reply[11]))
	if err != nil {
		return TaskDetails{}, err
	}
	d.Attempt, d.Losses = m.attempt, m.losses
	switch d.State {
	case StateWaiting, StateClaimed, StateCanceling:
		d.AttemptScheduledAt = entryTime(text(reply[6]))
	default: // its next entry is not there yet
	}
	d.ScheduledAt = d.AttemptScheduledAt
	if m.scheduledMS > 0 {
		d.ScheduledAt = time.UnixMilli(m.scheduledMS)
	}
	d.Payload, d.Common = payload, common.user
	d.LastFailure, d.Heartbeat = optional(text(reply[12])), optional(text(reply[13]))
	return d, nil
}
