package batchqueue

import (
	"context"
	"encoding/json"
	"errors"
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

// present says that the executor is alive, for ttl. It returns who else is, the executor
// itself included, and what time it is in Redis.
func (q *Queue) present(ctx context.Context, pool string, p presence, ttl time.Duration) (present []presence, now time.Time, err error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("encode presence of executor %q: %w", p.Executor, err)
	}
	// The sorted set lists executors, the key with its expiry says who is alive.
	reply, err := q.scripts.run(ctx, q.rdb, call{presentScript, q.keys.pool(pool), []any{
		p.Executor, suffixPresence, suffixExecutors, raw, milliseconds(ttl), p.StartedAt.UnixMilli(), announcementKept.Milliseconds(),
	}})[0].Slice()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("extend presence of executor %q in pool %q: %w", p.Executor, pool, unavailable(err))
	}
	now = time.Unix(number(reply[0]), 0).Add(time.Duration(number(reply[1])) * time.Microsecond)
	for _, said := range reply[2:] {
		if p, ok := readPresence(said); ok {
			present = append(present, p)
		}
	}
	return present, now, nil
}

// readPresence reads what an executor says of itself. What is not that is nobody's.
func readPresence(said any) (p presence, ok bool) {
	return p, json.Unmarshal([]byte(text(said)), &p) == nil
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
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = q.keys.presence(pool, id)
	}
	values, err := q.rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return fail(err)
	}
	var out []presence
	var gone []any
	for i, said := range values {
		if said == nil {
			gone = append(gone, ids[i])
		} else if p, ok := readPresence(said); ok {
			out = append(out, p)
		}
	}
	if len(gone) > 0 {
		// A race with an executor that comes back is harmless: it adds itself again.
		q.rdb.ZRem(ctx, q.keys.executors(pool), gone...)
	}
	return out, nil
}

// Workers returns those whose executors are present in the pool (ExecutorOptions.Worker).
func (q *Queue) Workers(ctx context.Context, pool string) (map[string]bool, error) {
	present, err := q.presences(ctx, pool)
	if err != nil {
		return nil, err
	}
	workers := make(map[string]bool, len(present))
	for _, p := range present {
		workers[p.Worker] = true
	}
	return workers, nil
}

// home says for ttl how many permits the executor has for the slots, and takes or keeps the
// lead of those where it may. It tells for each slot that answered whether it leads.
func (q *Queue) home(ctx context.Context, pool string, slots []homeSlot, executor string, permits int, ttl time.Duration) (map[int]bool, error) {
	calls := make([]call, len(slots))
	for i, s := range slots {
		calls[i] = call{homeScript, q.keys.slot(pool, s.slot), []any{executor, permits, milliseconds(ttl), s.mayLead}}
	}
	cmds := q.scripts.run(ctx, q.rdb, calls...)
	leads := make(map[int]bool, len(slots))
	var errs []error // in a cluster each slot may fail alone
	for i, s := range slots {
		reply, err := cmds[i].Int()
		if err != nil {
			errs = append(errs, fmt.Errorf("keep house of executor %q in pool %q slot %d: %w", executor, pool, s.slot, unavailable(err)))
			continue
		}
		leads[s.slot] = reply == 1
	}
	return leads, errors.Join(errs...)
}

func (q *Queue) reserveRate(ctx context.Context, pool string, perSecond float64, n int) (int, time.Duration, error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{rateScript, q.keys.rate(pool), []any{perSecond, n}})[0].Slice()
	if err != nil {
		return 0, 0, fmt.Errorf("reserve %d starts of pool %q: %w", n, pool, unavailable(err))
	}
	return int(number(reply[0])), time.Duration(number(reply[1])) * time.Millisecond, nil
}
