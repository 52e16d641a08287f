package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-go/slipstream/batchqueue"
)

const (
	bytesPerTask = "Redis memory per waiting task"
	claimP99     = "p99 of a claim"
	// shallow is the backlog that a deep one is compared with.
	shallow = 1000
	// claimWave is small, so that the few that wait are spread over the slots like the many.
	claimWave = 25
)

func backlog() *benchCase {
	const waves, single, few, many = "waves of 1,000", "one task per run", "few waiting", "all waiting"
	return &benchCase{
		name: "backlog-1m",
		about: func(s size) string {
			return fmt.Sprintf("%s waiting tasks of %d B: memory, and claims of %d at a time beside %s that wait, or %s",
				count(s.Steps), taskBytes, s.Concurrency, count(shallow), count(s.Steps))
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 2000, Handled: 2000, Concurrency: 100},
			quick: {Reps: 1, Steps: 100_000, Handled: 50_000, Concurrency: 100},
			full:  {Reps: 3, Steps: 1_000_000, Handled: 200_000, Concurrency: 100},
		},
		latencyOf: "a claim",
		variants: []variant{
			{rawRedis, rawBacklog},
			{waves, func(ctx context.Context, l *lab, s size) (*sample, error) { return backlogSample(ctx, l, s, waveTasks) }},
			{single, func(ctx context.Context, l *lab, s size) (*sample, error) { return backlogSample(ctx, l, s, 1) }},
			{few, func(ctx context.Context, l *lab, s size) (*sample, error) { return claimSample(ctx, l, s, shallow) }},
			{many, func(ctx context.Context, l *lab, s size) (*sample, error) { return claimSample(ctx, l, s, s.Steps) }},
		},
		targets: []target{
			{figure: value(bytesPerTask, unitBytes), variant: waves, against: rawRedis, bound: atMost, limit: 1.4},
			{figure: value(bytesPerTask, unitBytes), variant: single, against: rawRedis, bound: atMost, limit: 1.8},
			{figure: value(claimP99, unitMillis), variant: many, against: few, bound: atMost, limit: 1},
		},
	}
}

// rawBacklog is the same payload as bare entries of one stream.
func rawBacklog(ctx context.Context, l *lab, s size) (*sample, error) {
	q := rawStream{rdb: l.redis, key: l.prefix + ":raw:" + l.freshName("stream")}
	return l.fill(ctx, s.Steps, func(ctx context.Context) error { return q.add(ctx, s.Steps) })
}

// backlogSample fills the queue with runs of so many tasks each.
func backlogSample(ctx context.Context, l *lab, s size, width int) (*sample, error) {
	b, err := l.openQueue(s.Steps, func() {})
	if err != nil {
		return nil, err
	}
	defer b.close()
	return l.fill(ctx, s.Steps, func(ctx context.Context) error {
		if err := b.enqueueAll(ctx, 0, s.Steps, width); err != nil {
			return err
		}
		stats, err := b.queue.Stats(ctx, b.pool)
		if waiting := stats.Depth(); err == nil && waiting != int64(s.Steps) {
			err = fmt.Errorf("%d tasks wait instead of %d", waiting, s.Steps)
		}
		return err
	})
}

// fill measures what add costs, and what it leaves in Redis' memory; then it goes.
func (l *lab) fill(ctx context.Context, tasks int, add func(context.Context) error) (*sample, error) {
	before, err := l.redisMemory(ctx)
	if err != nil {
		return nil, err
	}
	measured, err := l.measure(ctx, tasks, add)
	if err != nil {
		return nil, errors.Join(err, l.purge(context.WithoutCancel(ctx)))
	}
	after, err := l.redisMemory(ctx)
	measured.Values[bytesPerTask] = measured.perTask(after - before)
	return measured, errors.Join(err, l.purge(context.WithoutCancel(ctx)))
}

func (l *lab) redisMemory(ctx context.Context) (float64, error) {
	info, err := l.redis.InfoMap(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("cannot read Redis' INFO: %w", err)
	}
	return parseFloat(info["Memory"]["used_memory"]), nil
}

// backlogProducers enqueue side by side: one alone would wait for Redis most of the time.
const backlogProducers = 16

// enqueueAll adds tasks first to end-1 in runs of so many.
func (b *bareQueue) enqueueAll(ctx context.Context, first, end, width int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(backlogProducers)
	for at := first; at < end && ctx.Err() == nil; at += width {
		group.Go(func() error { return b.enqueue(ctx, at, min(width, end-at)) })
	}
	return group.Wait()
}

// claimSample times the claims of an executor while so many tasks wait behind it: for each wave that was handled another
// is added.
func claimSample(ctx context.Context, l *lab, s size, deep int) (*sample, error) {
	handled := s.Handled
	done, finish := l.progress(handled)
	defer finish()

	waveDone := make(chan struct{}, handled/claimWave+1)
	b, err := l.openQueue(deep+handled, everyNth(claimWave, done, func() {
		select {
		case waveDone <- struct{}{}:
		default: // more were handled than anybody waits for
		}
	}))
	if err != nil {
		return nil, err
	}
	defer b.close()
	if err := b.enqueueAll(ctx, 0, deep, claimWave); err != nil {
		return nil, err
	}
	var claims claimTimes
	measured, err := l.measure(ctx, handled, func(ctx context.Context) error {
		b.record.begin()
		if err := b.startExecutor(ctx, s.Concurrency, batchqueue.Observer{Claimed: claims.add}); err != nil {
			return err
		}
		for first := deep; first < deep+handled; first += claimWave {
			select {
			case <-waveDone:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if err := b.enqueue(ctx, first, min(claimWave, deep+handled-first)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	measured.Latency = claims.latency()
	measured.Values[claimP99] = measured.Latency.P99
	return measured, errors.Join(b.stop(), b.record.checkSome(handled), b.checkRepeats(), l.purge(context.WithoutCancel(ctx)))
}

// claimTimes are those of claims that brought something. Safe for concurrent use.
type claimTimes struct {
	mu sync.Mutex
	ms []float64 // protected by mu
}

func (c *claimTimes) add(_, tasks int, took time.Duration) {
	if tasks == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms = append(c.ms, float64(took)/float64(time.Millisecond))
}

func (c *claimTimes) latency() *latency {
	c.mu.Lock()
	defer c.mu.Unlock()
	return latencyOf(slices.Clone(c.ms))
}
