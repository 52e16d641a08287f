package batchqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxSlots = 1024
	maxMaps  = 16
	// A new slot map is in force one minute after it was written, so that every process
	// has read it by then and no two place the same run differently.
	mapDelay = time.Minute
	// configFresh is how old a cached configuration may be; a bell refreshes it at once.
	configFresh = 10 * time.Second

	defaultSlots       = 4
	defaultOutboxLimit = 200000
	defaultPoisonLimit = 3
)

// PoolConfig is what can be changed about a pool while it runs.
type PoolConfig struct {
	// Version counts changes; SetConfig needs the version that was read. 0: nothing is
	// stored, these are the defaults.
	Version uint64 `json:"version"`
	// Slots is the number of slots for runs that start from now on; 1 to 1,024.
	// Runs that have started stay in their slots.
	Slots int `json:"slots"`
	// Paused stops claiming. Handlers that run go on, enqueues are accepted.
	Paused bool `json:"paused,omitempty"`
	// Draining says that the pool shall run empty: who enqueues leaves it alone, executors
	// go on. The queue itself refuses nothing, so that what is open can still be retried.
	Draining bool `json:"draining,omitempty"`
	// Concurrency overrides each executor's, up to the Budget it was given; 0 keeps theirs.
	Concurrency int `json:"concurrency,omitempty"`
	// RatePerSecond limits starts over the whole pool; 0 means what the executors were
	// given as ExecutorOptions.PoolRatePerSecond, no limit without.
	RatePerSecond float64 `json:"ratePerSecond,omitempty"`
	// OutboxLimit is how many undelivered outcomes a slot may hold before claiming
	// pauses; 0 means 200,000.
	OutboxLimit int `json:"outboxLimit,omitempty"`
	// PoisonLimit is how many executors a task may take down, alone and young, before it
	// becomes a dead letter; 0 means 3, negative never.
	PoisonLimit int `json:"poisonLimit,omitempty"`

	maps []slotMap
}

// slotMap is a slot count and when it came into force, in ms by Redis's clock.
type slotMap struct {
	Slots  int   `json:"slots"`
	FromMS int64 `json:"from"`
}

// storedConfig is the record in Redis.
type storedConfig struct {
	PoolConfig
	Maps []slotMap `json:"maps"`
}

// MaxSlots is the number of slots over all maps that runs may still live in.
func (c PoolConfig) MaxSlots() int {
	n := c.Slots
	for _, m := range c.maps {
		n = max(n, m.Slots)
	}
	return n
}

func (c PoolConfig) withDefaults() PoolConfig {
	if c.OutboxLimit == 0 {
		c.OutboxLimit = defaultOutboxLimit
	}
	if c.PoisonLimit == 0 {
		c.PoisonLimit = defaultPoisonLimit
	}
	return c
}

func (c PoolConfig) validate() error {
	switch {
	case c.Slots < 1 || c.Slots > maxSlots:
		return fmt.Errorf("PoolConfig.Slots is %d, give 1 to %d: %w", c.Slots, maxSlots, ErrInvalid)
	case c.Concurrency < 0:
		return fmt.Errorf("PoolConfig.Concurrency is %d, give 0 (each executor's own) or more: %w", c.Concurrency, ErrInvalid)
	case c.RatePerSecond < 0:
		return fmt.Errorf("PoolConfig.RatePerSecond is %v, give 0 (the executors' own) or more: %w", c.RatePerSecond, ErrInvalid)
	case c.OutboxLimit < 0:
		return fmt.Errorf("PoolConfig.OutboxLimit is %d, give 0 (%d) or more: %w", c.OutboxLimit, defaultOutboxLimit, ErrInvalid)
	}
	return nil
}

// Config reads the pool's configuration from Redis.
func (q *Queue) Config(ctx context.Context, pool string) (PoolConfig, error) {
	raw, err := q.rdb.Get(ctx, q.keys.config(pool)).Bytes()
	if isNil(err) {
		return PoolConfig{Slots: q.opts.Slots}.withDefaults(), nil
	}
	if err != nil {
		return PoolConfig{}, fmt.Errorf("read configuration of pool %q: %w", pool, unavailable(err))
	}
	stored, err := parseConfig(raw)
	if err != nil {
		return PoolConfig{}, fmt.Errorf("configuration of pool %q: %w", pool, err)
	}
	now, err := q.rdb.Time(ctx).Result()
	if err != nil {
		return PoolConfig{}, fmt.Errorf("read configuration of pool %q: %w", pool, unavailable(err))
	}
	return stored.inForce(now), nil
}

func parseConfig(raw []byte) (storedConfig, error) {
	var s storedConfig
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("is not readable (%w): write it again with SetConfig: %w", err, ErrInvalid)
	}
	return s, nil
}

// inForce is the configuration as it holds at now: the newest map that has begun gives
// Slots, later ones only count for MaxSlots.
func (s storedConfig) inForce(now time.Time) PoolConfig {
	c := s.PoolConfig.withDefaults()
	c.maps = s.Maps
	for _, m := range s.Maps {
		if m.FromMS <= now.UnixMilli() {
			c.Slots = m.Slots
		}
	}
	return c
}

// SetConfig changes the pool's configuration and returns what is stored. c.Version must
// be the version that was read: ErrConflict means that somebody was faster, and nothing
// changed. A change of Slots takes effect after one minute; all else within seconds, at
// once where executors listen.
func (q *Queue) SetConfig(ctx context.Context, pool string, c PoolConfig) (PoolConfig, error) {
	fail := func(err error) (PoolConfig, error) {
		return PoolConfig{}, fmt.Errorf("set configuration of pool %q: %w", pool, err)
	}
	if err := c.validate(); err != nil {
		return fail(err)
	}
	if err := q.list(ctx, pool); err != nil {
		return fail(err)
	}
	key := q.keys.config(pool)
	var next storedConfig
	var now time.Time
	err := q.rdb.Watch(ctx, func(tx *redis.Tx) error {
		stored := storedConfig{PoolConfig: PoolConfig{Slots: q.opts.Slots}}
		switch raw, err := tx.Get(ctx, key).Bytes(); {
		case isNil(err):
			stored.Maps = []slotMap{{Slots: q.opts.Slots}}
		case err != nil:
			return unavailable(err)
		default:
			if stored, err = parseConfig(raw); err != nil {
				return err
			}
		}
		if stored.Version != c.Version {
			return fmt.Errorf("version is %d, not %d: read it again: %w", stored.Version, c.Version, ErrConflict)
		}
		var err error
		if now, err = tx.Time(ctx).Result(); err != nil {
			return unavailable(err)
		}
		next = storedConfig{PoolConfig: c, Maps: stored.Maps}
		next.Version++
		if last := stored.Maps[len(stored.Maps)-1]; last.Slots != c.Slots {
			if len(stored.Maps) == maxMaps {
				return fmt.Errorf("PoolConfig.Slots changed %d times already; go back to a former count, or use a new pool: %w", maxMaps, ErrInvalid)
			}
			next.Maps = appendMap(stored.Maps, slotMap{Slots: c.Slots, FromMS: now.Add(mapDelay).UnixMilli()})
		}
		raw, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, key, raw, 0)
			p.Publish(ctx, q.keys.configBell(pool), next.Version)
			return nil
		})
		if errors.Is(err, redis.TxFailedErr) {
			return fmt.Errorf("another change came first: read it again: %w", ErrConflict)
		}
		return err
	}, key)
	if err != nil {
		return fail(err)
	}
	q.configs.forget(pool)
	return next.inForce(now), nil
}

// changeTries is how often ChangeConfig reads again when somebody else was faster.
const changeTries = 5

// ChangeConfig is SetConfig for one change to what is stored, whoever else changes
// something meanwhile: it reads, lets change alter what it read, and stores that, anew
// if somebody was faster. An error of change ends it, and nothing is stored.
func (q *Queue) ChangeConfig(ctx context.Context, pool string, change func(*PoolConfig) error) (PoolConfig, error) {
	var err error
	for range changeTries {
		c, readErr := q.Config(ctx, pool)
		if readErr != nil {
			return PoolConfig{}, readErr
		}
		if err := change(&c); err != nil {
			return PoolConfig{}, err
		}
		if c, err = q.SetConfig(ctx, pool, c); !errors.Is(err, ErrConflict) {
			return c, err
		}
	}
	return PoolConfig{}, err
}

// Draining tells whether the pool shall run empty, as its configuration said within the
// last seconds.
func (q *Queue) Draining(ctx context.Context, pool string) (bool, error) {
	c, err := q.config(ctx, pool)
	return c.Draining, err
}

// appendMap adds a map at the end; an older map with the same count is dropped, the
// slots it names are still searched through the new one.
func appendMap(maps []slotMap, m slotMap) []slotMap {
	out := make([]slotMap, 0, len(maps)+1)
	for i, old := range maps {
		// The map in force until m begins must stay.
		if old.Slots != m.Slots || i == len(maps)-1 {
			out = append(out, old)
		}
	}
	return append(out, m)
}

// configCache keeps each pool's configuration for a short time.
type configCache struct {
	q *Queue

	mu    sync.Mutex // protects pools
	pools map[string]cachedConfig
}

type cachedConfig struct {
	config PoolConfig
	at     time.Time
}

func newConfigCache(q *Queue) *configCache {
	return &configCache{q: q, pools: map[string]cachedConfig{}}
}

func (c *configCache) forget(pool string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pools, pool)
}

// config is Config through the cache. When Redis does not answer, an old copy is better
// than none: the error comes only if there never was one.
func (q *Queue) config(ctx context.Context, pool string) (PoolConfig, error) {
	c := q.configs
	c.mu.Lock()
	cached, ok := c.pools[pool]
	c.mu.Unlock()
	if ok && time.Since(cached.at) < configFresh {
		return cached.config, nil
	}
	fresh, err := q.Config(ctx, pool)
	if err != nil {
		if ok {
			return cached.config, nil
		}
		return PoolConfig{}, err
	}
	c.mu.Lock()
	c.pools[pool] = cachedConfig{fresh, time.Now()}
	c.mu.Unlock()
	return fresh, nil
}
