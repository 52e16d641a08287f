package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// poolListed is how long a pool is listed after a worker announced types for it, or its
// configuration was changed.
const poolListed = 30 * 24 * time.Hour

const (
	// poolLooked is how long a pool that cannot be dropped stays listed until it is tried
	// again.
	poolLooked = 24 * time.Hour
	// dropAtOnce bounds how many pools are tried for one that is listed.
	dropAtOnce = 10
)

// ListedPool is a pool that exists, or did not long ago.
type ListedPool struct {
	Name string
	// Slots is what Options.Slots was where it was listed last. Whoever looks at a pool
	// without a stored configuration must know it: runs have their places by it.
	Slots int
}

// list puts the pool among those that Pools names, and drops some of those whose time is
// over: each build of a versioned worker has pools of its own, which would stay for ever.
func (q *Queue) list(ctx context.Context, pool string) error {
	fail := func(err error) error { return fmt.Errorf("list pool %q: %w", pool, unavailable(err)) }
	key := q.keys.pools()
	pipe := q.rdb.Pipeline()
	clock, listed := pipe.Time(ctx), pipe.HGetAll(ctx, key)
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	now := clock.Val()
	var over []string
	for name, entry := range listed.Val() {
		if until, _ := parseListing(entry); name != pool && until <= now.UnixMilli() && len(over) < dropAtOnce {
			over = append(over, name)
		}
	}
	pipe = q.rdb.Pipeline()
	for _, name := range over {
		_, slots := parseListing(listed.Val()[name])
		dropped, err := q.drop(ctx, name, slots)
		switch {
		case err != nil: // somebody else's pool shall not keep this one from being listed
			q.log.Debug("[Slipstream] could not drop a pool that nobody attends", "Pool", name, "Error", err)
		case dropped:
			pipe.HDel(ctx, key, name)
		default:
			pipe.HSet(ctx, key, name, listing(now.Add(poolLooked), slots))
		}
	}
	pipe.HSet(ctx, key, pool, listing(now.Add(poolListed), q.opts.Slots))
	pipe.PExpire(ctx, key, poolListed)
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	return nil
}

// drop removes what a pool of so many slots keeps in Redis, but for its configuration,
// where nothing is in it and nobody attends it. It tells whether all of it is gone.
func (q *Queue) drop(ctx context.Context, pool string, slots int) (bool, error) {
	config, err := q.config(ctx, pool)
	if err != nil {
		return false, err
	}
	q.configs.forget(pool) // nobody here asks for it again
	calls := make([]call, max(slots, config.MaxSlots()))
	for slot := range calls {
		calls[slot] = call{dropScript, q.keys.slot(pool, slot), nil}
	}
	all := true
	for slot, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		reply, err := cmd.Int()
		if err != nil {
			return false, fmt.Errorf("drop pool %q slot %d: %w", pool, slot, unavailable(err))
		}
		all = all && reply == 1
	}
	return all, nil
}

// Pools lists the namespace's pools by name: those for which a worker announced types, or
// somebody set a configuration, within the last 30 days, and those that were found to be
// attended or to have tasks, outcomes or dead letters after that.
func (q *Queue) Pools(ctx context.Context) ([]ListedPool, error) {
	pipe := q.rdb.Pipeline()
	clock, listed := pipe.Time(ctx), pipe.HGetAll(ctx, q.keys.pools())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("list pools: %w", unavailable(err))
	}
	var out []ListedPool
	for name, entry := range listed.Val() {
		if until, slots := parseListing(entry); until > clock.Val().UnixMilli() && slots > 0 {
			out = append(out, ListedPool{name, slots})
		}
	}
	slices.SortFunc(out, func(a, b ListedPool) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// listing is an entry of the list of pools.
func listing(until time.Time, slots int) string {
	return fmt.Sprintf("%d %d", until.UnixMilli(), slots)
}

// parseListing reads an entry of the list of pools: "<until, ms> <slots>".
func parseListing(entry string) (untilMS int64, slots int) {
	_, _ = fmt.Sscanf(entry, "%d %d", &untilMS, &slots) // zero if it is not one
	return untilMS, slots
}
