package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ExecutorStatus is what is known of an executor of a pool.
type ExecutorStatus struct {
	ID string
	// Worker is ExecutorOptions.Worker, "" if the executor is not present.
	Worker string
	// Present executors extend their presence. One that is not has died with claims, which
	// the Reclaimer takes from it.
	Present bool
	// Types it claims; none if it is about to stop.
	Types []string
	// Concurrency is its own limit, which the pool's configuration may lower.
	Concurrency int
	// Heir: it serves the pool for executors that are gone.
	Heir      bool
	StartedAt time.Time
	// Claims is how many tasks it holds, Leads are the slots that it leads.
	Claims int64
	Leads  []int
}

// Executors lists who is present in the pool, and who holds claims there, by worker and ID.
func (q *Queue) Executors(ctx context.Context, pool string) ([]ExecutorStatus, error) {
	present, err := q.presences(ctx, pool)
	if err != nil {
		return nil, err
	}
	config, err := q.config(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("list executors of pool %q: %w", pool, err)
	}
	found := make(map[string]*ExecutorStatus, len(present))
	of := func(id string) *ExecutorStatus {
		if found[id] == nil {
			found[id] = &ExecutorStatus{ID: id}
		}
		return found[id]
	}
	for _, p := range present {
		found[p.Executor] = &ExecutorStatus{ID: p.Executor, Worker: p.Worker, Present: true, Types: p.Types,
			Concurrency: p.Concurrency, Heir: p.Heir, StartedAt: p.StartedAt}
	}
	calls := make([]call, config.MaxSlots())
	for slot := range calls {
		calls[slot] = call{holdersScript, q.keys.slot(pool, slot), nil}
	}
	for slot, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		reply, err := cmd.Slice()
		if err != nil {
			return nil, fmt.Errorf("list executors of pool %q slot %d: %w", pool, slot, unavailable(err))
		}
		if leader := text(reply[0]); leader != "" {
			e := of(leader)
			e.Leads = append(e.Leads, slot)
		}
		for i := 1; i+1 < len(reply); i += 2 {
			of(text(reply[i])).Claims += number(reply[i+1])
		}
	}
	out := make([]ExecutorStatus, 0, len(found))
	for _, e := range found {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b ExecutorStatus) int {
		return strings.Compare(a.Worker+"\x00"+a.ID, b.Worker+"\x00"+b.ID)
	})
	return out, nil
}
