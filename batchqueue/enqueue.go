package batchqueue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of one enqueue script.
const (
	chunkTasks = 1000
	chunkBytes = 1 << 20
	// One pipeline carries chunks up to this; the next waits for its replies.
	pipelineBytes = 8 << 20
	// MaxTaskBytes is the most that the payloads of a task and of its steps may have
	// together.
	MaxTaskBytes = 16 << 20
	maxNameBytes = 1000
	// MaxSteps is the most that Task.Then may hold.
	MaxSteps = 1000
	// How long a run's record outlives its last task, if the wave does not say, and at
	// least.
	defaultRetention = 2 * time.Minute
	minRetention     = 10 * time.Second
)

// Enqueued is the answer to an Enqueue.
type Enqueued struct {
	// Slot is where the run lives in this pool; pass it in the run's next Wave.
	Slot    int
	Answers []Answer // one per task, in order
}

// Enqueue adds a wave's tasks. It is idempotent: repeating it with the same tasks adds
// nothing and gives the answers that then hold. The error reports a wave that cannot be
// enqueued at all (ErrInvalid: nothing was sent). What Redis refuses or does not answer
// is in the answers, per task: with AnswerUnsure the task may have been added, and the
// same Enqueue or an Ask will tell. Safe for concurrent use.
func (q *Queue) Enqueue(ctx context.Context, pool string, w *Wave) (Enqueued, error) {
	if err := w.validate(); err != nil {
		return Enqueued{}, fmt.Errorf("enqueue %d tasks of run %q in pool %q: %w", len(w.Tasks), w.Run, pool, err)
	}
	out := Enqueued{Slot: w.Slot, Answers: make([]Answer, len(w.Tasks))}
	for i := range w.Tasks {
		out.Answers[i] = Answer{Number: w.Tasks[i].Number, State: AnswerUnsure, Err: ErrUnavailable}
	}
	if out.Slot < 0 {
		slot, err := q.slotOf(ctx, pool, w.Run)
		if err != nil {
			for i := range out.Answers {
				out.Answers[i].Err = unavailable(err)
			}
			return out, nil
		}
		out.Slot = slot
	}
	for from := 0; from < len(w.Tasks); {
		var calls []call
		var spans [][2]int
		for bytes := 0; from < len(w.Tasks) && bytes < pipelineBytes; {
			to, size := w.chunk(from)
			calls = append(calls, q.enqueueCall(pool, out.Slot, w, from, to))
			spans = append(spans, [2]int{from, to})
			bytes += size
			from = to
		}
		for i, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
			q.readAnswers(cmd, w.Tasks[spans[i][0]:spans[i][1]], out.Answers[spans[i][0]:spans[i][1]])
		}
	}
	return out, nil
}

func (w *Wave) validate() error {
	if w.Run == "" || len(w.Run) > maxNameBytes {
		return fmt.Errorf("Wave.Run has %d bytes, give it 1 to %d: %w", len(w.Run), maxNameBytes, ErrInvalid)
	}
	for i := range w.Tasks {
		t := &w.Tasks[i]
		switch {
		case t.Number == 0 || t.Number >= 1<<53:
			return fmt.Errorf("Task.Number is %d, number tasks from 1: %w", t.Number, ErrInvalid)
		case t.Type == "" || len(t.Type) > maxNameBytes:
			return fmt.Errorf("Task.Type of task %d has %d bytes, give it 1 to %d: %w", t.Number, len(t.Type), maxNameBytes, ErrInvalid)
		case len(t.Payload) > MaxTaskBytes:
			return fmt.Errorf("Task.Payload of task %d has %d bytes, the most is %d: store the data elsewhere and pass a reference: %w", t.Number, len(t.Payload), MaxTaskBytes, ErrInvalid)
		case len(t.Then) > MaxSteps:
			return fmt.Errorf("Task.Then of task %d has %d steps, the most is %d: %w", t.Number, len(t.Then), MaxSteps, ErrInvalid)
		}
		bytes := len(t.Payload)
		for _, s := range t.Then {
			if s.Type == "" || len(s.Type) > maxNameBytes {
				return fmt.Errorf("Step.Type of task %d has %d bytes, give it 1 to %d: %w", t.Number, len(s.Type), maxNameBytes, ErrInvalid)
			}
			bytes += len(s.Payload)
		}
		if bytes > MaxTaskBytes {
			return fmt.Errorf("Task.Payload and the Step.Payload of task %d have %d bytes, the most is %d: store the data elsewhere and pass a reference: %w", t.Number, bytes, MaxTaskBytes, ErrInvalid)
		}
	}
	return nil
}

// chunk returns the end of the chunk that starts at from, and its bytes. Steps count where
// they are not those of the task before: a chunk brings equal ones once.
func (w *Wave) chunk(from int) (to, bytes int) {
	for to = from; to < len(w.Tasks) && to-from < chunkTasks; to++ {
		t := &w.Tasks[to]
		size := len(t.Payload) + 64
		if to == from || !equalSteps(w.Tasks[to-1].Then, t.Then) {
			for _, s := range t.Then {
				size += len(s.Type) + len(s.Payload)
			}
		}
		if to > from && bytes+size > chunkBytes {
			break
		}
		bytes += size
	}
	return to, bytes
}

func (q *Queue) enqueueCall(pool string, slot int, w *Wave, from, to int) call {
	tasks := w.Tasks[from:to]
	shared := commonData{user: w.Common}
	var types []string
	entries := make([]any, 0, 3*len(tasks))
	last := uint64(0)
	for i := range tasks {
		t := &tasks[i]
		last = max(last, t.Number)
		typ := slices.Index(types, t.Type)
		if typ < 0 {
			typ = len(types)
			types = append(types, t.Type)
		}
		tag := strconv.Itoa(typ + 1)
		if t.Early {
			tag += "e"
		}
		entries = append(entries, t.Number, tag, encodeEntry(t.Fingerprint, shared.positionOf(t), t.Payload))
	}
	common := encodeCommon(shared)
	digest := sha256.Sum256(common)
	wave, window := "", int64(0)
	if w.Window > 0 {
		wave, window = strconv.FormatUint(w.ID, 10), milliseconds(w.Window)
	}
	retention := max(w.Retention, minRetention)
	if w.Retention == 0 {
		retention = defaultRetention
	}
	again := ""
	if w.Again {
		again = "r"
	}
	args := []any{
		encodeRun(w.Run), w.HeldBelow, milliseconds(retention), wave, window, w.Inbox,
		string(digest[:8]), common, last, q.keys.poolBell(pool), slot, q.keys.executorBellPrefix(pool),
		w.OutcomeOverhead, again, len(types),
	}
	for _, t := range types {
		args = append(args, t)
	}
	limits := waitingLimits(tasks)
	args = append(args, len(limits)/3)
	args = append(args, limits...)
	return call{enqueueScript, q.keys.slot(pool, slot), append(args, entries...)}
}

// waitingLimits gives (ms, from, to) for stretches of neighbouring numbers that may wait
// equally long before something happens.
func waitingLimits(tasks []Task) []any {
	var out []any
	for i := 0; i < len(tasks); {
		j, limit := i+1, tasks[i].Options.waitLimit()
		for j < len(tasks) && tasks[j].Number == tasks[j-1].Number+1 && tasks[j].Options.waitLimit() == limit {
			j++
		}
		if limit > 0 {
			out = append(out, milliseconds(limit), tasks[i].Number, tasks[j-1].Number)
		}
		i = j
	}
	return out
}

// waitLimit is how long a new task may wait for an executor; 0 is no limit.
func (o *TaskOptions) waitLimit() time.Duration {
	if o.ScheduleToStart > 0 && o.ScheduleToClose > 0 {
		return min(o.ScheduleToStart, o.ScheduleToClose)
	}
	return max(o.ScheduleToStart, o.ScheduleToClose)
}

func (q *Queue) readAnswers(cmd *redis.Cmd, tasks []Task, answers []Answer) {
	reply, err := cmd.Slice()
	if err != nil {
		// Not "refused", even if Redis is full: go-redis may have sent the call before, and
		// only the reply of that one was lost.
		for i := range answers {
			answers[i].State, answers[i].Err = AnswerUnsure, unavailable(err)
		}
		return
	}
	codes, outcomes := text(reply[0]), reply[1:]
	for i := range tasks {
		answers[i].Err = nil
		switch codes[i] {
		case 'q':
			answers[i].State = AnswerQueued
		case 'e':
			answers[i].State = AnswerEarly
		case 'd':
			o, err := q.readOutcome(text(outcomes[0]))
			outcomes = outcomes[1:]
			answers[i].State, answers[i].Outcome = AnswerDone, &o
			if err != nil {
				answers[i].State, answers[i].Outcome, answers[i].Err = AnswerUnsure, nil, err
			}
		}
	}
}

// slotOf finds the run's slot: where its record is, else by the slot map in force.
func (q *Queue) slotOf(ctx context.Context, pool, run string) (int, error) {
	config, err := q.config(ctx, pool)
	if err != nil {
		return 0, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(run))
	sum := h.Sum32()
	current := int(sum % uint32(config.Slots))
	var candidates []int
	for _, m := range config.maps {
		if s := int(sum % uint32(m.Slots)); s != current && !slices.Contains(candidates, s) {
			candidates = append(candidates, s)
		}
	}
	if len(candidates) == 0 {
		return current, nil
	}
	// A run keeps the slot of its first dispatch whatever map came later.
	pipe := q.rdb.Pipeline()
	found, folded := make([]*redis.IntCmd, len(candidates)), make([]*redis.BoolCmd, len(candidates))
	for i, s := range candidates {
		found[i] = pipe.Exists(ctx, q.keys.slot(pool, s)+suffixRun+encodeRun(run))
		key, field := q.keys.fold(pool, s, run)
		folded[i] = pipe.HExists(ctx, key, field)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("look for run %q in older slot maps of pool %q: %w", run, pool, err)
	}
	for i, s := range candidates {
		if found[i].Val() == 1 || folded[i].Val() {
			return s, nil
		}
	}
	return current, nil
}

func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// text reads a script's bulk reply; Lua's false arrives as nil.
func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func fingerprintBytes(f uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, f))
}
