package batchqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// announcementKept is how long a pool is known to exist after its last worker said so.
const announcementKept = 24 * time.Hour

// Announce says that a worker for the pool exists and which types it handles, before it
// takes any. It holds for 24 hours.
func (q *Queue) Announce(ctx context.Context, pool string, types []string) error {
	now, err := q.rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("announce pool %q: %w", pool, unavailable(err))
	}
	key := q.keys.announced(pool)
	pipe := q.rdb.Pipeline()
	members := make([]redis.Z, len(types))
	for i, t := range types {
		members[i] = redis.Z{Score: float64(now.Add(announcementKept).UnixMilli()), Member: t}
	}
	if len(members) > 0 {
		pipe.ZAdd(ctx, key, members...)
	}
	pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	pipe.PExpire(ctx, key, announcementKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("announce pool %q: %w", pool, unavailable(err))
	}
	return q.list(ctx, pool)
}

// Announced returns the types that workers of the pool announced. None means that no
// worker of this pool was started for 24 hours.
func (q *Queue) Announced(ctx context.Context, pool string) (map[string]bool, error) {
	types, err := q.rdb.ZRange(ctx, q.keys.announced(pool), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read announcements of pool %q: %w", pool, unavailable(err))
	}
	out := make(map[string]bool, len(types))
	for _, t := range types {
		out[t] = true
	}
	return out, nil
}

// Enlist says that a process belongs to the pool, for ttl, whether it takes tasks or not.
func (q *Queue) Enlist(ctx context.Context, pool, member string, ttl time.Duration) error {
	fail := func(err error) error {
		return fmt.Errorf("enlist %q in pool %q: %w", member, pool, unavailable(err))
	}
	now, err := q.rdb.Time(ctx).Result()
	if err != nil {
		return fail(err)
	}
	key := q.keys.enlisted(pool)
	pipe := q.rdb.Pipeline()
	pipe.ZAdd(ctx, key, redis.Z{Score: float64(now.Add(ttl).UnixMilli()), Member: member})
	pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	pipe.PExpire(ctx, key, ttl)
	if _, err := pipe.Exec(ctx); err != nil {
		return fail(err)
	}
	return nil
}

// Enlisted returns who belongs to the pool.
func (q *Queue) Enlisted(ctx context.Context, pool string) (map[string]bool, error) {
	members, err := q.rdb.ZRange(ctx, q.keys.enlisted(pool), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read who is enlisted in pool %q: %w", pool, unavailable(err))
	}
	out := make(map[string]bool, len(members))
	for _, m := range members {
		out[m] = true
	}
	return out, nil
}

func (q *Queue) present(ctx context.Context, pool string, p presence, ttl time.Duration) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode presence of executor %q: %w", p.Executor, err)
	}
	// The sorted set lists executors, the key with its expiry says who is alive.
	pipe := q.rdb.Pipeline()
	pipe.Set(ctx, q.keys.presence(pool, p.Executor), raw, ttl)
	pipe.ZAdd(ctx, q.keys.executors(pool), redis.Z{Score: float64(p.StartedAt.UnixMilli()), Member: p.Executor})
	pipe.Expire(ctx, q.keys.executors(pool), announcementKept)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("extend presence of executor %q in pool %q: %w", p.Executor, pool, unavailable(err))
	}
	return nil
}

func (q *Queue) absent(ctx context.Context, pool, executor string) error {
	pipe := q.rdb.Pipeline()
	pipe.Del(ctx, q.keys.presence(pool, executor))
	pipe.ZRem(ctx, q.keys.executors(pool), executor)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("remove presence of executor %q in pool %q: %w", executor, pool, unavailable(err))
	}
	return nil
}

func (q *Queue) presences(ctx context.Context, pool string) ([]presence, error) {
	fail := func(err error) ([]presence, error) {
		return nil, fmt.Errorf("read executors of pool %q: %w", pool, unavailable(err))
	}
	ids, err := q.rdb.ZRange(ctx, q.keys.executors(pool), 0, -1).Result()
	if err != nil {
		return fail(err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := q.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.Get(ctx, q.keys.presence(pool, id))
	}
	if _, err := pipe.Exec(ctx); err != nil && !isNil(err) {
		return fail(err)
	}
	var out []presence
	var gone []any
	for i, cmd := range cmds {
		var p presence
		switch raw, err := cmd.Bytes(); {
		case isNil(err):
			gone = append(gone, ids[i])
		case err != nil:
			return fail(err)
		case json.Unmarshal(raw, &p) == nil:
			out = append(out, p)
		}
	}
	if len(gone) > 0 {
		// A race with an executor that comes back is harmless: it adds itself again.
		q.rdb.ZRem(ctx, q.keys.executors(pool), gone...)
	}
	return out, nil
}

func (q *Queue) homePermits(ctx context.Context, pool string, slots []int, executor string, permits int, ttl time.Duration) error {
	calls := make([]call, len(slots))
	for i, slot := range slots {
		calls[i] = call{permitsScript, q.keys.slot(pool, slot), []any{executor, permits, milliseconds(ttl)}}
	}
	for i, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		if err := cmd.Err(); err != nil {
			return fmt.Errorf("report permits of executor %q in pool %q slot %d: %w", executor, pool, slots[i], unavailable(err))
		}
	}
	return nil
}

func (q *Queue) reserveRate(ctx context.Context, pool string, perSecond float64, n int) (int, time.Duration, error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{rateScript, q.keys.rate(pool), []any{perSecond, n}})[0].Slice()
	if err != nil {
		return 0, 0, fmt.Errorf("reserve %d starts of pool %q: %w", n, pool, unavailable(err))
	}
	return int(number(reply[0])), time.Duration(number(reply[1])) * time.Millisecond, nil
}
