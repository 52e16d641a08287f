package batchqueue

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Stats are exact counts of a pool at one moment per slot.
type Stats struct {
	Pool  string
	Slots int // that were counted
	// Types in the order of their names.
	Types []TypeStats
	// Delayed tasks wait for a retry.
	Delayed int64
	// Outbox counts outcomes not yet delivered, OutboxBytes their size, and
	// DeliverableRuns the runs they belong to that wait for a signal.
	Outbox, OutboxBytes, DeliverableRuns int64
	// Totals since the slots' counters began.
	Enqueued, Finished, Retried, Delivered, Taken, Expired, Dead int64
}

// TypeStats are the counts of one type.
type TypeStats struct {
	Type string
	// Waiting tasks could be claimed now, Claimed ones are with executors.
	Waiting, Claimed int64
	// OldestAge is how long the first waiting task has been in its stream; 0 if none waits.
	OldestAge time.Duration
}

// Depth is the number of tasks that could be claimed now.
func (s Stats) Depth() (n int64) {
	for _, t := range s.Types {
		n += t.Waiting
	}
	return n
}

// InFlight is the number of tasks that executors hold.
func (s Stats) InFlight() (n int64) {
	for _, t := range s.Types {
		n += t.Claimed
	}
	return n
}

// Stats counts the pool's tasks, at a cost of slots times types.
func (q *Queue) Stats(ctx context.Context, pool string) (Stats, error) {
	config, err := q.config(ctx, pool)
	if err != nil {
		return Stats{}, fmt.Errorf("stats of pool %q: %w", pool, err)
	}
	slots := make([]int, config.MaxSlots())
	for slot := range slots {
		slots[slot] = slot
	}
	return q.StatsOf(ctx, pool, slots)
}

// StatsOf counts the tasks in some slots of the pool: in those that an executor leads, for
// example, so that executors together count each slot once.
func (q *Queue) StatsOf(ctx context.Context, pool string, slots []int) (Stats, error) {
	out := Stats{Pool: pool, Slots: len(slots)}
	calls := make([]call, len(slots))
	for i, slot := range slots {
		calls[i] = call{statsScript, q.keys.slot(pool, slot), nil}
	}
	types := map[string]*TypeStats{}
	for i, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		reply, err := cmd.Slice()
		if err != nil {
			return Stats{}, fmt.Errorf("stats of pool %q slot %d: %w", pool, slots[i], unavailable(err))
		}
		out.addSlot(reply, types)
	}
	for _, t := range types {
		out.Types = append(out.Types, *t)
	}
	sort.Slice(out.Types, func(i, j int) bool { return out.Types[i].Type < out.Types[j].Type })
	return out, nil
}

func (s *Stats) addSlot(reply []any, types map[string]*TypeStats) {
	counters := map[string]int64{}
	flat, _ := reply[0].([]any)
	for i := 0; i+1 < len(flat); i += 2 {
		counters[text(flat[i])] = number(flat[i+1])
	}
	s.Delayed += number(reply[1])
	s.DeliverableRuns += number(reply[2])
	s.Outbox += counters["outbox"]
	s.OutboxBytes += counters["outbox_bytes"]
	s.Enqueued += counters["enqueued"]
	s.Finished += counters["finished"]
	s.Retried += counters["retried"]
	s.Delivered += counters["delivered"]
	s.Taken += counters["taken"]
	s.Expired += counters["expired"]
	s.Dead += counters["dead"]
	now := number(reply[3])
	for _, item := range reply[4:] {
		parts, _ := item.([]any)
		if len(parts) < 4 {
			continue
		}
		t := types[text(parts[0])]
		if t == nil {
			t = &TypeStats{Type: text(parts[0])}
			types[t.Type] = t
		}
		t.Waiting += number(parts[1])
		t.Claimed += number(parts[2])
		if ms, _, ok := strings.Cut(text(parts[3]), "-"); ok {
			at, _ := strconv.ParseInt(ms, 10, 64)
			t.OldestAge = max(t.OldestAge, time.Duration(now-at)*time.Millisecond)
		}
	}
}
