package batchqueue

import (
	"context"
	"slices"
	"sync"
	"time"
)

// bucket limits starts to a rate, one second's worth at once. An executor takes what is
// there for its claims and comes back later for more; guests wait, one after the other.
// When starts are short, each executor and the guests take turns, one start each.
//
// It is tempting to let guests go at once and on credit, since their caller may have
// held them to the same rate before. But then a steady stream of them leaves no start
// for claims. All methods may be called on nil, which limits nothing.
type bucket struct {
	perSecond float64
	head      chan struct{} // capacity 1; full while a guest is first in line
	given     chan struct{} // capacity 1; full when a claim gave some back

	mu sync.Mutex
	// All of the following is protected by mu.
	tokens  float64
	filled  time.Time // when tokens was right
	turns   int       // takers served so far
	waiting []*taker  // those who were refused and may come again
	guests  taker
}

// taker is an executor, or all guests, before a bucket. Protected by the bucket's mu.
type taker struct {
	turn  int       // when it was last served, counted in turns
	until time.Time // by when it comes again, or has lost its turn
}

func newBucket(perSecond float64) *bucket {
	if perSecond <= 0 {
		return nil
	}
	return &bucket{
		perSecond: perSecond, head: make(chan struct{}, 1), given: make(chan struct{}, 1),
		tokens: max(1, perSecond), filled: time.Now(),
	}
}

// take grants up to n starts, or none and the time to ask again.
func (b *bucket) take(t *taker, n int) (int, time.Duration) {
	if b == nil {
		return n, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(max(1, b.perSecond), b.tokens+now.Sub(b.filled).Seconds()*b.perSecond)
	b.filled = now
	ahead := b.ahead(t, now)
	if n = min(n, int(b.tokens)-ahead); n > 0 {
		b.tokens -= float64(n)
		b.turns++
		t.turn = b.turns
		return n, 0
	}
	wait := max(time.Millisecond, b.time(float64(1+ahead)-b.tokens))
	t.until = now.Add(wait + b.time(1))
	b.waiting = append(b.waiting, t)
	return 0, wait
}

// ahead is how many of those that wait were served longer ago than t, which waits no more.
func (b *bucket) ahead(t *taker, now time.Time) (n int) {
	b.waiting = slices.DeleteFunc(b.waiting, func(other *taker) bool { return other == t || now.After(other.until) })
	for _, other := range b.waiting {
		if other.turn < t.turn {
			n++
		}
	}
	return n
}

func (b *bucket) time(tokens float64) time.Duration {
	return time.Duration(tokens / b.perSecond * float64(time.Second))
}

// giveBack returns starts that a claim did not use.
func (b *bucket) giveBack(n int) {
	if b == nil || n <= 0 {
		return
	}
	b.mu.Lock()
	b.tokens += float64(n)
	b.mu.Unlock()
	select {
	case b.given <- struct{}{}:
	default:
	}
}

// await takes a start for a guest. If ctx ends first, its error is returned and nothing
// is taken.
func (b *bucket) await(ctx context.Context) error {
	if b == nil {
		return nil
	}
	select {
	case b.head <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.head }()
	for {
		n, wait := b.take(&b.guests, 1)
		if n == 1 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.given:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			b.leave()
			return err
		}
	}
}

// leave takes the guests off those that wait.
func (b *bucket) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead(&b.guests, time.Now())
}
