package batchqueue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DeadLetter is a task that was given up: it took executors down too often, or could
// not be decoded. Its run was told; the letter is for people.
type DeadLetter struct {
	Slot   int
	ID     string // names the letter within its slot
	At     time.Time
	Run    string
	Number uint64
	Type   string
	// Losses is how many executors were lost with it; 0 for one that could not be decoded.
	Losses int
}

// DeadLetters lists a slot's dead letters, oldest first, from after the given ID ("" is
// the beginning). At most 10,000 are kept per slot.
func (q *Queue) DeadLetters(ctx context.Context, pool string, slot int, after string, limit int) ([]DeadLetter, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	messages, err := q.rdb.XRangeN(ctx, q.keys.slot(pool, slot)+suffixDead, from, "+", int64(limit)).Result()
	if err != nil {
		return nil, fmt.Errorf("list dead letters of pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	out := make([]DeadLetter, 0, len(messages))
	for _, m := range messages {
		l := DeadLetter{Slot: slot, ID: m.ID, Type: text(m.Values["type"])}
		ms, _, _ := strings.Cut(m.ID, "-")
		at, _ := strconv.ParseInt(ms, 10, 64)
		l.At = time.UnixMilli(at)
		var s storedEntry
		for name, value := range m.Values {
			s.set(name, text(value))
		}
		l.Run, _ = decodeRun(s.run)
		l.Number, _ = strconv.ParseUint(s.number, 10, 64)
		if meta, err := parseMetadata(s.meta); err == nil {
			l.Losses = meta.losses
		}
		out = append(out, l)
	}
	return out, nil
}

// Redrive queues a dead letter again, as a first attempt. ErrNotFound: there is none
// with this ID.
func (q *Queue) Redrive(ctx context.Context, pool string, slot int, id string) error {
	return q.dead(ctx, pool, slot, id, "redrive")
}

// DropDeadLetter removes a dead letter for good. ErrNotFound: there is none with this ID.
func (q *Queue) DropDeadLetter(ctx context.Context, pool string, slot int, id string) error {
	return q.dead(ctx, pool, slot, id, "drop")
}

func (q *Queue) dead(ctx context.Context, pool string, slot int, id, verb string) error {
	reply, err := q.scripts.one(ctx, q.rdb, redriveScript, q.keys.slot(pool, slot), id, verb)
	if err != nil {
		return fmt.Errorf("%s dead letter %s of pool %q slot %d: %w", verb, id, pool, slot, unavailable(err))
	}
	if number(reply) == 0 {
		return fmt.Errorf("%s dead letter %s of pool %q slot %d: %w", verb, id, pool, slot, ErrNotFound)
	}
	return nil
}
