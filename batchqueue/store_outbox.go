package batchqueue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// Bounds of one batch and of a run's signal rate (protocol S).
const (
	batchOutcomes = 2000
	batchBytes    = 512 << 10
	signalBurst   = 10
	signalsPerSec = 5
	timeToSend    = 5 * time.Second
	parkedFor     = 15 * time.Minute
	abandonedPage = 64 // chunks of 32 records
)

func (q *Queue) batches(ctx context.Context, pool string, slot, limit int) ([]*Batch, time.Duration, error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{batchesScript, q.keys.slot(pool, slot),
		[]any{limit, batchOutcomes, batchBytes, signalBurst, signalsPerSec, timeToSend.Milliseconds()}})[0].Slice()
	if err != nil {
		return nil, 0, fmt.Errorf("fix batches in pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	wait := time.Duration(number(reply[0])) * time.Millisecond
	if number(reply[0]) < 0 {
		wait = -1
	}
	var out []*Batch
	for _, item := range reply[1:] {
		parts, _ := item.([]any)
		if len(parts) < 5 {
			return out, wait, fmt.Errorf("batch reply of %d parts: %w", len(parts), ErrInvalid)
		}
		b := &Batch{Pool: pool, Slot: slot, generation: number(parts[4])}
		if b.Run, err = decodeRun(text(parts[0])); err != nil {
			return out, wait, err
		}
		if common, err := decodeCommon([]byte(text(parts[1]))); err == nil {
			b.Common = common.user
		}
		if a := text(parts[2]); a != "" {
			b.Redirect = []byte(a)
		}
		if b.Outcomes, err = q.readOutcomes(parts[3]); err != nil {
			// It stays fixed, and is offered again after the time to send: to a newer leader,
			// perhaps. Others must not wait for it.
			q.warnOfNewer(pool, slot, fmt.Errorf("batch of run %q: %w", b.Run, err))
			continue
		}
		b.ID = batchID(b)
		out = append(out, b)
	}
	return out, wait, nil
}

// batchID is the hash of the batch's identities. The server swallows a repeated request
// ID whatever it carries, so it must never be equal for different batches.
func batchID(b *Batch) string {
	h := sha256.New()
	_, _ = h.Write([]byte(b.Pool + "\x00" + b.Run + "\x00"))
	var n [16]byte
	for _, o := range b.Outcomes {
		binary.BigEndian.PutUint64(n[:8], o.Number)
		binary.BigEndian.PutUint64(n[8:], o.Fingerprint)
		_, _ = h.Write(n[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (q *Queue) verdict(ctx context.Context, b *Batch, verdict string, delay time.Duration) error {
	_, err := q.scripts.one(ctx, q.rdb, ackedScript, q.keys.slot(b.Pool, b.Slot),
		encodeRun(b.Run), verdict, len(b.Outcomes), milliseconds(delay), b.generation)
	if err != nil {
		return fmt.Errorf("settle batch %s of run %q in pool %q slot %d: %w", b.ID, b.Run, b.Pool, b.Slot, unavailable(err))
	}
	return nil
}

func (q *Queue) acked(ctx context.Context, b *Batch) error { return q.verdict(ctx, b, "a", 0) }

func (q *Queue) retryBatch(ctx context.Context, b *Batch, delay time.Duration) error {
	return q.verdict(ctx, b, "r", delay)
}

func (q *Queue) deafRun(ctx context.Context, b *Batch) error { return q.verdict(ctx, b, "n", 0) }

func (q *Queue) abandon(ctx context.Context, b *Batch) error {
	for chunk := int64(0); chunk >= 0; {
		reply, err := q.scripts.one(ctx, q.rdb, abandonScript, q.keys.slot(b.Pool, b.Slot), encodeRun(b.Run),
			q.keys.executorBellPrefix(b.Pool), b.Slot, parkedFor.Milliseconds(), chunk, abandonedPage)
		if err != nil {
			return fmt.Errorf("abandon run %q in pool %q slot %d: %w", b.Run, b.Pool, b.Slot, unavailable(err))
		}
		chunk = number(reply)
	}
	return nil
}
