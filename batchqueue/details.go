package batchqueue

import (
	"context"
	"fmt"
	"slices"
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

// Progress is where a task stands, and in which attempt.
type Progress struct {
	TaskStatus
	// Attempt is the number of the attempt that runs, waits or is delayed; 0 if it ended, or
	// if it is not known.
	Attempt int
}

// progressPage is how many tasks one call reads for Progress.
const progressPage = 250

// Progress tells where tasks of a run stand, in the order of the numbers; those that are
// not known are left out. slot is the run's, as Enqueued has it. Redis reads the payloads of
// tasks that come again, as far as that takes no longer than a few milliseconds: of a run
// with many large ones, attempts stay unknown.
func (q *Queue) Progress(ctx context.Context, pool string, slot int, run string, numbers ...uint64) ([]Progress, error) {
	out := make([]Progress, 0, len(numbers))
	failure := func(err error) error {
		return fmt.Errorf("read progress of %d tasks of run %q in pool %q slot %d: %w", len(numbers), run, pool, slot, err)
	}
	for page := range slices.Chunk(numbers, progressPage) {
		args := []any{encodeRun(run)}
		for _, n := range page {
			args = append(args, n)
		}
		reply, err := q.scripts.run(ctx, q.rdb, call{progressScript, q.keys.slot(pool, slot), args})[0].Slice()
		if err != nil {
			return nil, failure(unavailable(err))
		}
		for _, item := range reply {
			parts, _ := item.([]any)
			status, err := readStatus(parts)
			if err != nil || len(parts) < 7 {
				return nil, failure(errUndecodable("task", fmt.Sprintf("%d parts", len(parts))))
			}
			p := Progress{TaskStatus: status}
			if m, err := parseMetadata(text(parts[6])); err == nil {
				p.Attempt = m.attempt
			}
			out = append(out, p)
		}
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
