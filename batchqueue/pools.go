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

// ListedPool is a pool that exists, or did not long ago.
type ListedPool struct {
	Name string
	// Slots is what Options.Slots was where it was listed last. Whoever looks at a pool
	// without a stored configuration must know it: runs have their places by it.
	Slots int
}

// list puts the pool among those that Pools names, and takes out whose time is over.
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
		if until, _ := parseListing(entry); until <= now.UnixMilli() {
			over = append(over, name)
		}
	}
	pipe = q.rdb.Pipeline()
	if len(over) > 0 {
		pipe.HDel(ctx, key, over...)
	}
	pipe.HSet(ctx, key, pool, fmt.Sprintf("%d %d", now.Add(poolListed).UnixMilli(), q.opts.Slots))
	pipe.PExpire(ctx, key, poolListed)
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	return nil
}

// Pools lists the namespace's pools by name: those for which a worker announced types, or
// somebody set a configuration, within the last 30 days.
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

// parseListing reads an entry of the list of pools: "<until, ms> <slots>".
func parseListing(entry string) (untilMS int64, slots int) {
	_, _ = fmt.Sscanf(entry, "%d %d", &untilMS, &slots) // zero if it is not one
	return untilMS, slots
}
