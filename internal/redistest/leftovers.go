package redistest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// keepers are the keys that stay while nothing is in flight, by the part of their names that
// says what they are, and whose they are. Others must have a time to live then, be gone, or
// belong to a run that somebody will end (see ownedRuns).
var keepers = map[string]string{
	"config":      "operators: the configuration of a pool, until they change it",
	"types":       "a slot: the names of activity types that it has seen",
	"counters":    "a slot: its totals since it began",
	"ready":       "a slot: one stream per activity type, without entries",
	"front":       "a slot: as ready",
	"suspect":     "a slot: as ready",
	"dead":        "operators: dead letters, until they redrive or drop them",
	"deliverable": "the slot's next Deliverer: runs whose outcomes Temporal has not acknowledged",
}

// NoLeftovers waits until Redis holds nothing for good, among the keys that match, but what
// has a documented owner, and fails the test with the names of the rest. Call it when
// nothing is in flight any more.
func NoLeftovers(t testing.TB, rdb redis.UniversalClient, match string) {
	t.Helper()
	var left []string
	deadline := time.Now().Add(10 * time.Second)
	for {
		var err error
		if left, err = leftovers(context.Background(), rdb, match); err != nil {
			t.Errorf("look for leftovers in Redis: %v", err)
			return
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d keys without an owner and without a time to live are left in Redis:\n%s", len(left), strings.Join(left, "\n"))
			return
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between two looks
	}
}

func leftovers(ctx context.Context, rdb redis.UniversalClient, match string) ([]string, error) {
	var left []string
	keys := rdb.Scan(ctx, 0, match, 1000).Iterator()
	for keys.Next(ctx) {
		why, err := leftover(ctx, rdb, keys.Val())
		if err != nil {
			return nil, err
		}
		if why != "" {
			left = append(left, keys.Val()+": "+why)
		}
	}
	slices.Sort(left)
	return slices.Compact(left), keys.Err()
}

// leftover says why a key should not be there; "" for one that may.
func leftover(ctx context.Context, rdb redis.UniversalClient, key string) (string, error) {
	ttl, err := rdb.PTTL(ctx, key).Result()
	if err != nil || ttl != -1 {
		return "", err // it goes by itself, or is gone
	}
	slot, name, ok := strings.Cut(key, "}:")
	if !ok {
		return "not one of Slipstream's keys", nil
	}
	what, rest, _ := strings.Cut(name, ":")
	switch what {
	case "ready", "front", "suspect":
		n, err := rdb.XLen(ctx, key).Result()
		if err != nil || n == 0 {
			return "", err
		}
		return fmt.Sprintf("%d tasks", n), nil
	case "run", "box", "taken", "due":
		owned, due, err := ownedRuns(ctx, rdb, slot+"}:")
		if err != nil {
			return "", err
		}
		runs := []string{rest}
		if what == "due" {
			runs = due
		}
		for _, run := range runs {
			if !owned[run] {
				return "of run " + run + ", which nobody will end", nil
			}
		}
		return "", nil
	}
	if keepers[what] != "" {
		return "", nil
	}
	kind, err := rdb.Type(ctx, key).Result()
	return "a " + kind + " for good", err
}

// ownedRuns are the runs of a slot that the next leader will end: their outcomes wait for
// delivery, or they are parked and have a time to be purged. due are those that are in the due set.
func ownedRuns(ctx context.Context, rdb redis.UniversalClient, slot string) (owned map[string]bool, due []string, err error) {
	deliverable, err := rdb.ZRange(ctx, slot+"deliverable", 0, -1).Result()
	if err != nil {
		return nil, nil, err
	}
	owned = make(map[string]bool)
	for _, run := range deliverable {
		owned[run] = true
	}
	members, err := rdb.ZRange(ctx, slot+"due", 0, -1).Result()
	for _, m := range members {
		run, _, _ := strings.Cut(m[1:], "/")
		due = append(due, run)
		owned[run] = owned[run] || m[0] == 'p'
	}
	return owned, due, err
}
