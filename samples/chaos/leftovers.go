package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Keys without a time-to-live have an owner where one of these says so; the table in batchqueue/doc.go is the same.
var (
	// lasting are the ends of keys of a namespace, a pool or a slot that live with it.
	lasting = []string{"}:pools", "}:config", "}:leases", "}:counters", "}:types"}
	// lanes begin the names of a slot's streams, which live with it too, once nothing is in them.
	lanes = []string{"ready:", "front:", "suspect:"}
)

const (
	// settleWithin is how long what has ended may take to be tidied up.
	settleWithin = 20 * time.Second
	// parkedFor is how long tasks and outcomes are kept that their workflow did not take, because it had ended: the slot's
	// due times have an entry for each that removes it.
	parkedFor = 15 * time.Minute
)

// leftovers are the keys that stay when everything has ended, and that have neither a time-to-live nor an owner: each with
// what it is. It returns at once if there are none.
func leftovers(ctx context.Context, db *redis.Client) (found []string, total int, err error) {
	failed := until(ctx, settleWithin, "no key stays", func() bool {
		found, total, err = ownerless(ctx, db)
		return err != nil || len(found) == 0
	})
	if failed != nil && err == nil && ctx.Err() != nil {
		err = failed
	}
	return found, total, err
}

func ownerless(ctx context.Context, db *redis.Client) (found []string, total int, err error) {
	slots := map[string]dueTimes{}
	keys := db.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		total++
		key := keys.Val()
		ttl, err := db.TTL(ctx, key).Result()
		if err != nil {
			return nil, 0, err
		}
		if ttl != -1 || slices.ContainsFunc(lasting, func(end string) bool { return strings.HasSuffix(key, end) }) {
			continue
		}
		slot, name, _ := strings.Cut(key, "}:")
		due, read := slots[slot]
		if !read {
			if due, err = readDue(ctx, db, slot+"}:"); err != nil {
				return nil, 0, err
			}
			slots[slot] = due
		}
		if !due.owns(ctx, db, key, name) {
			found = append(found, key+": "+describeKey(ctx, db, key))
		}
	}
	slices.Sort(found)
	return found, total, keys.Err()
}

// dueTimes are what a slot will do at a time: see batchqueue/lua/state.lua.
type dueTimes struct {
	soon map[string]bool // entries whose time comes as soon as that of everything parked
	all  bool            // that is all
}

func readDue(ctx context.Context, db *redis.Client, prefix string) (dueTimes, error) {
	now, err := db.Time(ctx).Result()
	if err != nil {
		return dueTimes{}, err
	}
	entries, err := db.ZRangeWithScores(ctx, prefix+"due", 0, -1).Result()
	if err != nil {
		return dueTimes{}, err
	}
	d := dueTimes{soon: make(map[string]bool, len(entries)), all: true}
	for _, e := range entries {
		if time.UnixMilli(int64(e.Score)).Sub(now) <= parkedFor {
			d.soon[fmt.Sprint(e.Member)] = true
		} else {
			d.all = false
		}
	}
	return d, nil
}

// owns tells whether the key lives with the slot, or goes when something of the slot is due.
func (d dueTimes) owns(ctx context.Context, db *redis.Client, key, name string) bool {
	what, run, _ := strings.Cut(name, ":")
	switch {
	case slices.Contains(lanes, what+":"):
		return isIdle(ctx, db, key)
	case what == "run", what == "box":
		return d.soon["p"+run]
	case what == "due":
		return d.all
	case what == "delayed":
		tasks, err := db.HKeys(ctx, key).Result()
		return err == nil && !slices.ContainsFunc(tasks, func(task string) bool { return !d.soon["d"+task] })
	default:
		return false
	}
}

// isIdle tells whether nothing waits in a stream and nobody has claimed anything of it.
func isIdle(ctx context.Context, db *redis.Client, key string) bool {
	length, err := db.XLen(ctx, key).Result()
	if err != nil || length > 0 {
		return false
	}
	pending, err := db.XPending(ctx, key, "executors").Result()
	return err == nil && pending.Count == 0
}

func describeKey(ctx context.Context, db *redis.Client, key string) string {
	kind := db.Type(ctx, key).Val()
	switch kind {
	case "stream":
		pending, err := db.XPending(ctx, key, "executors").Result()
		if err != nil {
			return fmt.Sprintf("stream of %d, no group", db.XLen(ctx, key).Val())
		}
		return fmt.Sprintf("stream of %d, %d pending", db.XLen(ctx, key).Val(), pending.Count)
	case "hash":
		return fmt.Sprintf("hash of %d", db.HLen(ctx, key).Val())
	case "zset":
		return fmt.Sprintf("sorted set of %d", db.ZCard(ctx, key).Val())
	case "list":
		return fmt.Sprintf("list of %d", db.LLen(ctx, key).Val())
	default:
		return kind
	}
}
