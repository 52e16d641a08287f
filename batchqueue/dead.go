package batchqueue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
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
	// Losses is how many executors were lost with it before the last one; 0 for one that
	// could not be decoded.
	Losses int
	// Undecodable letters can be dropped, not redriven.
	Undecodable bool
	// Payload and Common are the task's, where they could be decoded.
	Payload, Common []byte
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
		out = append(out, readLetter(slot, m))
	}
	return out, nil
}

// DeadLetterCount is how many dead letters the pool has.
func (q *Queue) DeadLetterCount(ctx context.Context, pool string) (n int64, err error) {
	config, err := q.config(ctx, pool)
	if err != nil {
		return 0, fmt.Errorf("count dead letters of pool %q: %w", pool, err)
	}
	pipe := q.rdb.Pipeline()
	lengths := make([]*redis.IntCmd, config.MaxSlots())
	for slot := range lengths {
		lengths[slot] = pipe.XLen(ctx, q.keys.slot(pool, slot)+suffixDead)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count dead letters of pool %q: %w", pool, unavailable(err))
	}
	for _, length := range lengths {
		n += length.Val()
	}
	return n, nil
}

// DeadLetter returns one dead letter. ErrNotFound: there is none with this ID.
func (q *Queue) DeadLetter(ctx context.Context, pool string, slot int, id string) (DeadLetter, error) {
	messages, err := q.rdb.XRangeN(ctx, q.keys.slot(pool, slot)+suffixDead, id, id, 1).Result()
	switch {
	case err != nil:
		return DeadLetter{}, fmt.Errorf("read dead letter %s of pool %q slot %d: %w", id, pool, slot, unavailable(err))
	case len(messages) == 0:
		return DeadLetter{}, fmt.Errorf("read dead letter %s of pool %q slot %d: %w", id, pool, slot, ErrNotFound)
	}
	return readLetter(slot, messages[0]), nil
}

func readLetter(slot int, m redis.XMessage) DeadLetter {
	l := DeadLetter{Slot: slot, ID: m.ID, At: entryTime(m.ID), Type: text(m.Values["type"])}
	var runErr, numberErr, entryErr error
	l.Run, runErr = decodeRun(text(m.Values["r"]))
	l.Number, numberErr = strconv.ParseUint(text(m.Values["n"]), 10, 64)
	_, _, l.Payload, entryErr = decodeEntry([]byte(text(m.Values["e"])))
	l.Undecodable = runErr != nil || numberErr != nil || entryErr != nil
	if meta, err := parseMetadata(text(m.Values["m"])); err == nil {
		l.Losses = meta.losses
	}
	if common, err := decodeCommon([]byte(text(m.Values["c"]))); err == nil {
		l.Common = common.user
	}
	return l
}

// Redrive queues a dead letter again, as a first attempt without losses, and removes the
// letter. If the outcome that gave the task up has not left the queue yet, it is taken
// back, and the run never hears of it. If it has, the run gets a second outcome of the
// task: whoever keeps to the first must be made to ask again by other means. A task that
// the run has asked for again meanwhile is not added twice.
//
// ErrNotFound: there is no letter with this ID. ErrSuperseded: the run asks something else
// by now. ErrDelivering: repeat it in a moment. ErrInvalid: the task cannot be decoded, or
// its data are gone. The letter stays then.
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
		err = unavailable(err)
	} else {
		err = deadError(text(reply))
	}
	if err != nil {
		return fmt.Errorf("%s dead letter %s of pool %q slot %d: %w", verb, id, pool, slot, err)
	}
	return nil
}

// deadError reads a reply of redrive.lua.
func deadError(reply string) error {
	switch reply {
	case "ok":
		return nil
	case "superseded":
		return ErrSuperseded
	case "delivering":
		return ErrDelivering
	case "undecodable":
		return fmt.Errorf("the task cannot be decoded: drop the letter: %w", ErrInvalid)
	case "bare":
		return fmt.Errorf("the data that the task shared with its wave are gone: drop the letter: %w", ErrInvalid)
	default:
		return ErrNotFound
	}
}
