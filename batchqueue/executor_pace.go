package batchqueue

import (
	"context"
	"math"
	"sync"
	"time"
)

// pace holds claims to the rates that were set: the budget's, by its token bucket, and
// the pool's, kept in Redis and drawn in small portions.
type pace struct {
	bucket  *bucket
	taker   taker
	reserve func(ctx context.Context, perSecond float64, n int) (int, time.Duration, error)

	mu sync.Mutex
	// Starts drawn from the pool's rate and not used yet. They are given up after
	// portionKept: an idle executor must not hold what others could use.
	portion int       // protected by mu
	drawn   time.Time // protected by mu
}

const portionKept = time.Second

// take asks for n starts. It grants some, or none and the time to ask again.
func (p *pace) take(ctx context.Context, n int, pool float64) (int, time.Duration, error) {
	n, wait := p.bucket.take(&p.taker, n)
	if n == 0 || pool <= 0 {
		return n, wait, nil
	}
	granted, wait, err := p.takePool(ctx, n, pool)
	p.bucket.giveBack(n - granted)
	return granted, wait, err
}

func (p *pace) takePool(ctx context.Context, n int, rate float64) (int, time.Duration, error) {
	p.mu.Lock()
	if time.Since(p.drawn) > portionKept {
		p.portion = 0
	}
	have := min(n, p.portion)
	p.portion -= have
	p.mu.Unlock()
	if have > 0 {
		return have, 0, nil
	}
	// A tenth of a second's worth at a time.
	granted, wait, err := p.reserve(ctx, rate, min(n, max(1, int(math.Ceil(rate/10)))))
	if granted > 0 {
		p.mu.Lock()
		p.drawn = time.Now()
		p.mu.Unlock()
	}
	return granted, max(wait, time.Millisecond), err
}

// giveBack returns starts that the claim did not use.
func (p *pace) giveBack(n int, pool float64) {
	if n <= 0 {
		return
	}
	p.bucket.giveBack(n)
	if pool > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.portion += n
	}
}
