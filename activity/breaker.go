package activity

import (
	"sync"
	"time"
)

// breaker keeps dispatches from waiting for a Redis that does not answer. It opens at
// the first failure that a second try did not mend; while it is open one dispatch per
// interval probes.
type breaker struct {
	mu       sync.Mutex
	wait     time.Duration // 0: closed
	nextTry  time.Time
	probing  bool
	onChange func(open bool)
}

const (
	breakerMinWait = time.Second
	breakerMaxWait = 30 * time.Second
)

// allow tells whether to talk to Redis. While the breaker is open, the caller that is
// told yes is the probe; who talks to Redis reports.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wait == 0 {
		return true
	}
	if time.Now().Before(b.nextTry) {
		return false
	}
	b.probing = true
	b.nextTry = time.Now().Add(b.wait)
	return true
}

// isOpen tells whether dispatches go past Redis now.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wait != 0
}

func (b *breaker) report(ok bool) {
	b.mu.Lock()
	wasOpen := b.wait != 0
	switch {
	case ok:
		b.wait = 0
	case !wasOpen:
		b.wait = breakerMinWait
	case b.probing: // others, under way when it opened, do not lengthen the wait
		b.wait = min(2*b.wait, breakerMaxWait)
	}
	b.probing = false
	if !ok {
		b.nextTry = time.Now().Add(b.wait)
	}
	b.mu.Unlock()
	if wasOpen == ok && b.onChange != nil {
		b.onChange(!ok)
	}
}
