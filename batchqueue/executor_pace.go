package batchqueue

import (
	"context"
	"math"
	"sync"
	"time"
)

// pace holds claims to the rates that were set: the executor's own, by a token bucket
// of one second, and the pool's, kept in Redis and drawn in small portions.
type pace struct {
	own     float64 // starts per second; 0: no limit
	reserve func(ctx context.Context, perSecond float64, n int) (int, time.Duration, error)

	mu     sync.Mutex
	tokens float64   // protected by mu: of the own rate
	filled time.Time // protected by mu: when tokens was right
	// Starts drawn from the pool's rate and not used yet. They are given up after
	// portionKept: an idle executor must not hold what others could use.
	portion int       // protected by mu
	drawn   time.Time // protected by mu
}

const portionKept = time.Second

// take asks for n starts. It grants some, or none and the time to ask again.
func (p *pace) take(ctx context.Context, n int, pool float64) (int, time.Duration, error) {
	n, wait := p.takeOwn(n)
	if n == 0 || pool <= 0 {
		return n, wait, nil
	}
	granted, wait, err := p.takePool(ctx, n, pool)
	p.giveBackOwn(n - granted)
	return granted, wait, err
}

func (p *pace) takeOwn(n int) (int, time.Duration) {
	if p.own <= 0 {
		return n, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, most := time.Now(), max(1, p.own)
	if p.filled.IsZero() {
		p.tokens = most
	} else {
		p.tokens = min(most, p.tokens+now.Sub(p.filled).Seconds()*p.own)
	}
	p.filled = now
	n = min(n, int(p.tokens))
	p.tokens -= float64(n)
	if n > 0 {
		return n, 0
	}
	return 0, max(time.Millisecond, time.Duration((1-p.tokens)/p.own*float64(time.Second)))
}

func (p *pace) giveBackOwn(n int) {
	if p.own <= 0 || n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens += float64(n)
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
	p.giveBackOwn(n)
	if pool > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.portion += n
	}
}
