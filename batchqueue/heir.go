package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// inheritanceKept is how long a word about an inheritance holds.
const inheritanceKept = 15 * time.Minute

// Inheritance says who may serve the pools of a family that nobody else serves any more.
//
// A family is a set of pools of several parties, each with pools of its own, whose tasks
// any of them may run. The party that spoke last is the heir of all the others: where a
// pool has not been attended for two leases, the heir may run executors for it
// (ExecutorOptions.Heir). The queue keeps the record; that parties keep to it is theirs.
type Inheritance struct {
	// Heir is the party that spoke last; meaningless while Pools is empty.
	Heir string
	// Pools are those that a party spoke for within the last 15 minutes, sorted.
	Pools []string
}

// Inherit is a party's word that tasks in the pool are its to run, should the pool's own
// executors be gone: it becomes the family's heir. The word holds for 15 minutes, for as
// long as nobody speaks later. A family is named as pools are, and by convention after
// the one that they have in common.
func (q *Queue) Inherit(ctx context.Context, family, party, pool string) error {
	now, err := q.rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("inherit pool %q of family %q: %w", pool, family, unavailable(err))
	}
	pipe := q.rdb.Pipeline()
	pipe.Set(ctx, q.keys.heir(family), party, inheritanceKept)
	pipe.ZAdd(ctx, q.keys.inherited(family), redis.Z{Score: float64(now.Add(inheritanceKept).UnixMilli()), Member: pool})
	pipe.ZRemRangeByScore(ctx, q.keys.inherited(family), "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	pipe.PExpire(ctx, q.keys.inherited(family), inheritanceKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("inherit pool %q of family %q: %w", pool, family, unavailable(err))
	}
	return nil
}

// Inheritance returns what was said last about the family. It has no pools if nobody
// spoke for 15 minutes.
func (q *Queue) Inheritance(ctx context.Context, family string) (Inheritance, error) {
	fail := func(err error) (Inheritance, error) {
		return Inheritance{}, fmt.Errorf("read the inheritance of family %q: %w", family, unavailable(err))
	}
	// First alone: every worker asks once per lease, and as a rule nobody spoke.
	heir, err := q.rdb.Get(ctx, q.keys.heir(family)).Result()
	if isNil(err) {
		return Inheritance{}, nil
	} else if err != nil {
		return fail(err)
	}
	pipe := q.rdb.Pipeline()
	inherited, clock := pipe.ZRangeWithScores(ctx, q.keys.inherited(family), 0, -1), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	out := Inheritance{Heir: heir}
	for _, z := range inherited.Val() {
		if pool, ok := z.Member.(string); ok && int64(z.Score) > clock.Val().UnixMilli() {
			out.Pools = append(out.Pools, pool)
		}
	}
	slices.Sort(out.Pools)
	return out, nil
}

// Attended tells whether executors of the pool's own take its tasks: present ones that
// are neither heirs nor about to stop.
func (q *Queue) Attended(ctx context.Context, pool string) (bool, error) {
	present, err := q.presences(ctx, pool)
	own := func(p presence) bool { return !p.Heir && len(p.Types) > 0 }
	return slices.ContainsFunc(present, own), err
}
