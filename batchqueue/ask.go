package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Identity names a task within its run.
type Identity struct {
	Number      uint64
	Fingerprint uint64
}

// closingAnswerKept is how long a repeated CloseWindow gets the same answer.
const closingAnswerKept = time.Minute

// Room is how much a caller can take.
type Room struct {
	Bytes int
	// OneLarger takes a single outcome that is larger than Bytes, alone: without it such an
	// outcome is left to the Deliverer.
	OneLarger bool
}

func (r Room) args() (bytes, larger int) {
	if r.OneLarger {
		larger = 1
	}
	return max(0, r.Bytes), larger
}

// CloseWindow ends the window that an Enqueue with Wave.Window opened: it takes finished
// outcomes of the run, whichever wave made them, as room allows, and gives the rest to
// the Deliverer. Repeated within a
// minute it answers the same. On an error nothing is known: outcomes that were taken
// stay readable (Enqueue and Ask answer them again), the window expires by itself.
func (q *Queue) CloseWindow(ctx context.Context, pool string, slot int, run string, wave uint64, room Room) ([]Outcome, error) {
	bytes, larger := room.args()
	reply, err := q.scripts.one(ctx, q.rdb, takeScript, q.keys.slot(pool, slot),
		encodeRun(run), wave, bytes, closingAnswerKept.Milliseconds(), larger)
	if err != nil {
		return nil, fmt.Errorf("close window %d of run %q in pool %q slot %d: %w", wave, run, pool, slot, unavailable(err))
	}
	return q.readOutcomes(reply)
}

// AskRequest is a run's question about tasks it has no outcome of.
type AskRequest struct {
	Run  string
	Open []Identity
	// Redirect is a delivery address for the run's outcomes from now on; nil keeps the
	// waves' own. Opaque.
	Redirect []byte
	// Room bounds the outcomes that are pulled.
	Room Room
}

// AskReply answers it. Answers has one entry per identity, in order: AnswerQueued,
// AnswerDone or AnswerNotHere. Taken are finished outcomes of the run, asked about or not.
type AskReply struct {
	Answers []Answer
	Taken   []Outcome
}

// Ask looks tasks up and pulls finished outcomes of the run. It brings tasks of an
// abandoned run back. Deadlines that ran out in the slot are outcomes before it looks, also
// where no executor is alive. On an error nothing is known, and what was pulled is readable by
// the next Ask.
func (q *Queue) Ask(ctx context.Context, pool string, slot int, r AskRequest) (AskReply, error) {
	fail := func(err error) (AskReply, error) {
		return AskReply{}, fmt.Errorf("ask about %d tasks of run %q in pool %q slot %d: %w", len(r.Open), r.Run, pool, slot, err)
	}
	key := q.keys.slot(pool, slot)
	args := []any{encodeRun(r.Run), r.Redirect}
	if r.Redirect == nil {
		args[1] = ""
	}
	for _, id := range r.Open {
		args = append(args, id.Number, fingerprintBytes(id.Fingerprint))
	}
	bytes, larger := r.Room.args()
	if _, err := q.due(ctx, pool, slot); err != nil {
		return fail(err)
	}
	cmds := q.scripts.run(ctx, q.rdb,
		call{takeScript, key, []any{encodeRun(r.Run), "", bytes, 0, larger}},
		call{askScript, key, args})
	taken, err := cmds[0].Result()
	if err != nil {
		return fail(unavailable(err))
	}
	var out AskReply
	if out.Taken, err = q.readOutcomes(taken); err != nil {
		return fail(err)
	}
	reply, err := cmds[1].Slice()
	if err != nil {
		return fail(unavailable(err))
	}
	codes, again := text(reply[0]), reply[1:]
	for i, id := range r.Open {
		a := Answer{Number: id.Number, State: AnswerNotHere}
		switch codes[i] {
		case 'q':
			a.State = AnswerQueued
		case 'd':
			o, err := q.readOutcome(text(again[0]))
			if err != nil {
				return fail(err)
			}
			again = again[1:]
			a.State, a.Outcome = AnswerDone, &o
		}
		out.Answers = append(out.Answers, a)
	}
	return out, nil
}

// redirectField is the field of a run record with the address that an Ask gave.
const redirectField = "A"

// Redirect returns the delivery address in force that an Ask gave for the run's outcomes;
// nil means that each wave's own holds.
func (q *Queue) Redirect(ctx context.Context, pool string, slot int, run string) ([]byte, error) {
	address, err := q.rdb.HGet(ctx, q.keys.slot(pool, slot)+suffixRun+encodeRun(run), redirectField).Bytes()
	switch {
	case isNil(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the delivery address of run %q in pool %q slot %d: %w", run, pool, slot, unavailable(err))
	}
	return address, nil
}

// Cancel asks for tasks to end. Waiting ones end as canceled at once; running ones have
// their context canceled and are not retried; ended and unknown ones are left alone. The
// outcomes are delivered as usual.
func (q *Queue) Cancel(ctx context.Context, pool string, slot int, run string, tasks []Identity) error {
	return q.cancel(ctx, pool, slot, run, tasks, encodeOutcome(&Outcome{Kind: KindCanceled, Retry: RetryCancelRequested}))
}

// Discard is Cancel for tasks that nobody waits for: no outcome is recorded. Should
// somebody wait after all, an Ask answers AnswerNotHere.
func (q *Queue) Discard(ctx context.Context, pool string, slot int, run string, tasks []Identity) error {
	return q.cancel(ctx, pool, slot, run, tasks, nil)
}

func (q *Queue) cancel(ctx context.Context, pool string, slot int, run string, tasks []Identity, body []byte) error {
	for len(tasks) > 0 {
		n := min(len(tasks), chunkTasks)
		args := []any{encodeRun(run), q.keys.executorBellPrefix(pool), q.keys.inboxPrefix(), slot, body}
		for _, t := range tasks[:n] {
			args = append(args, t.Number, fingerprintBytes(t.Fingerprint))
		}
		if _, err := q.scripts.one(ctx, q.rdb, cancelScript, q.keys.slot(pool, slot), args...); err != nil {
			return fmt.Errorf("cancel %d tasks of run %q in pool %q slot %d: %w", len(tasks), run, pool, slot, unavailable(err))
		}
		tasks = tasks[n:]
	}
	return nil
}

// Forget removes the record of a run that is closed, with outcomes that were taken. The
// tasks that it left open are abandoned: waiting ones never start, running ones have
// their contexts canceled, and all of it stays parked for 15 minutes for a run that asks
// after all. Repeated, it changes nothing. Best effort: what is not forgotten expires
// after its retention.
func (q *Queue) Forget(ctx context.Context, pool string, slot int, run string) error {
	reply, err := q.scripts.one(ctx, q.rdb, forgetScript, q.keys.slot(pool, slot), encodeRun(run))
	if err != nil {
		return fmt.Errorf("forget run %q in pool %q slot %d: %w", run, pool, slot, unavailable(err))
	}
	if number(reply) == 1 {
		return nil
	}
	return q.abandon(ctx, &Batch{Pool: pool, Slot: slot, Run: run})
}

func (q *Queue) readOutcomes(reply any) ([]Outcome, error) {
	elements, _ := reply.([]any)
	out := make([]Outcome, 0, len(elements))
	for _, e := range elements {
		o, err := q.readOutcome(text(e))
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// readOutcome reads an outcome. One that is damaged behind its identity is a failure of its
// task, which ends with it; of a newer kind, or without an identity, it is an error.
func (q *Queue) readOutcome(element string) (Outcome, error) {
	o, err := decodeOutcome(element)
	_, newer := errors.AsType[unknownKindError](err)
	if err == nil || newer || o.Number == 0 {
		return o, err
	}
	if n, say := q.damaged.Failed(time.Now()); say {
		q.log.Error("[Slipstream] outcomes cannot be decoded; their tasks fail", "Outcomes", n, "Task", o.Number, "Cause", err)
	}
	return Outcome{Number: o.Number, Fingerprint: o.Fingerprint, Kind: KindPoison, Retry: RetryNonRetryable}, nil
}
