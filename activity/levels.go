package activity

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// levelsTimeout bounds what a collection waits for Redis.
const levelsTimeout = 2 * time.Second

// observeLevels shows depth, age and the like whenever somebody collects, and costs
// nothing in between. Every worker reports the slots that its executors lead, so that each
// slot is read once per collection, by one process, and the sum over all processes is the
// pool's. It returns what ends it.
func (r *Runtime) observeLevels() (end func()) {
	m := r.metrics
	registration, err := m.meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		r.levels(ctx, o)
		return nil
	}, m.depth, m.inFlight, m.delayed, m.outbox, m.outboxBytes, m.oldest, m.running, m.permits, m.breakerOpen)
	if err != nil {
		otel.Handle(err)
		return func() {}
	}
	return func() {
		if err := registration.Unregister(); err != nil {
			otel.Handle(err)
		}
	}
}

// collector is registered while workers run.
type collector struct {
	mu      sync.Mutex
	workers int
	stop    func()
}

func (c *collector) begin(start func() (stop func())) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.workers++; c.workers == 1 {
		c.stop = start()
	}
}

func (c *collector) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.workers--; c.workers == 0 {
		c.stop()
	}
}

func (r *Runtime) levels(ctx context.Context, o metric.Observer) {
	ctx, cancel := context.WithTimeout(ctx, levelsTimeout)
	defer cancel()
	m := r.metrics
	open := int64(0)
	if r.breaker.isOpen() {
		open = 1
	}
	o.ObserveInt64(m.breakerOpen, open, m.with(labels{}))
	led := map[string][]int{}
	for _, w := range r.allWorkers() {
		for e, pool := range w.reporting.all() {
			s := e.Stats()
			o.ObserveInt64(m.running, int64(s.Running), m.with(labels{pool: pool}))
			o.ObserveInt64(m.permits, int64(s.Permits), m.with(labels{pool: pool}))
			led[pool] = append(led[pool], s.Leads...)
		}
	}
	for _, pool := range slices.Sorted(maps.Keys(led)) {
		if len(led[pool]) == 0 {
			continue
		}
		s, err := r.queue.StatsOf(ctx, pool, led[pool])
		if err != nil {
			continue // Redis is away, which other metrics say
		}
		r.observePool(o, &s)
	}
}

func (r *Runtime) observePool(o metric.Observer, s *batchqueue.Stats) {
	m := r.metrics
	here := m.with(labels{pool: s.Pool})
	o.ObserveInt64(m.delayed, s.Delayed, here)
	o.ObserveInt64(m.outbox, s.Outbox, here)
	o.ObserveInt64(m.outboxBytes, s.OutboxBytes, here)
	for _, t := range s.Types {
		of := m.with(labels{pool: s.Pool, activityType: t.Type})
		o.ObserveInt64(m.depth, t.Waiting, of)
		o.ObserveInt64(m.inFlight, t.Claimed, of)
		o.ObserveFloat64(m.oldest, t.OldestAge.Seconds(), of)
	}
}

func (r *Runtime) allWorkers() []*Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.workers))
}

// reporting are the executors of a worker, with their pools, for who collects meanwhile.
type reporting struct {
	mu   sync.Mutex
	list map[*batchqueue.Executor]string
}

func (r *reporting) add(e *batchqueue.Executor, pool string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list == nil {
		r.list = map[*batchqueue.Executor]string{}
	}
	r.list[e] = pool
}

func (r *reporting) remove(e *batchqueue.Executor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.list, e)
}

func (r *reporting) all() map[*batchqueue.Executor]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.list)
}
