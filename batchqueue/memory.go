package batchqueue

import (
	"runtime"
	"sync"
	"time"

	"github.com/slipstream-go/slipstream/internal/memory"
)

const (
	defaultPauseAboveMemory = 0.7
	// resumeAt is the part of the bound below which claiming goes on, so that it does not
	// stop and go with every task.
	resumeAt = 0.95
	// readEvery is how old a reading may be; unlimitedEvery, where there is no limit.
	readEvery      = 100 * time.Millisecond
	unlimitedEvery = 10 * time.Second
	// roomParts: a claim may bring this part of the memory that is left below the bound.
	// Several are under way at a time, and each byte is copied some times until it is a
	// handler's argument.
	roomParts = 16
	// memoryWait is how long a slot is left alone while memory is short.
	memoryWait = 250 * time.Millisecond
	// collectFirst and collectMost are the least times between two collections.
	collectFirst = time.Second
	collectMost  = 2 * time.Minute
)

// memoryGuard says whether this process has memory for more tasks. It is the queue's, for
// all of its executors. It owns no goroutine: who asks reads, at most ten times a second.
type memoryGuard struct {
	bound   float64 // share of the limit
	log     Logger
	read    func() (memory.Usage, bool)
	collect func()

	mu sync.Mutex
	// All of the following is protected by mu.
	readAt     time.Time
	usage      memory.Usage
	known      bool // there is a limit
	room       int  // bytes that may still be claimed on this reading
	underWay   int  // bytes of grants that have not landed: no reading shows them
	short      bool // nothing is claimed
	shortAt    time.Time
	collected  time.Time
	collecting bool
	wait       time.Duration // until the next collection
}

// newMemoryGuard returns nil, which never finds memory short, for a negative bound.
func newMemoryGuard(bound float64, log Logger) *memoryGuard {
	if bound < 0 {
		return nil
	}
	return &memoryGuard{bound: bound, log: log, read: memory.Read, collect: runtime.GC, wait: collectFirst}
}

// grant returns how many bytes a claim may bring, at most so many; 0 where memory is short.
// Tell landed what came of it.
func (g *memoryGuard) grant(most int) int {
	if g == nil {
		return most
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
	if g.isOver() && !g.collecting && time.Since(g.collected) >= g.wait {
		g.sweep()
	}
	g.judge()
	switch {
	case g.short || g.isOver():
		return 0
	case !g.known:
		g.underWay += most
		return most
	case g.room <= 0:
		return 0 // until claims under way have landed
	}
	n := max(1, min(most, g.room/roomParts))
	g.underWay += n
	g.room -= n
	return n
}

// landed tells how many bytes a claim has brought that was granted so many.
func (g *memoryGuard) landed(granted, brought int) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.underWay -= granted
	g.room += granted - brought
}

// isShort says whether nothing may be claimed.
func (g *memoryGuard) isShort() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh()
	return g.short
}

// refresh reads anew where the last reading is too old, or claims have used up what it
// left. Holds mu.
func (g *memoryGuard) refresh() {
	age := readEvery
	if !g.known {
		age = unlimitedEvery
	}
	if g.readAt.IsZero() || time.Since(g.readAt) >= age || (g.known && !g.short && g.room <= 0) {
		g.look()
	}
}

func (g *memoryGuard) look() {
	g.usage, g.known = g.read()
	g.readAt = time.Now()
	g.room = 0
	if g.known {
		g.room = int(g.bound*float64(g.usage.Limit)) - int(g.usage.Used) - g.underWay
	}
}

// isOver compares with the bound, or, while memory is short, with one a little lower.
func (g *memoryGuard) isOver() bool {
	bound := g.bound
	if g.short {
		bound *= resumeAt
	}
	return g.known && g.usage.Share() >= bound
}

// sweep collects garbage before memory counts as short. Garbage counts as used until it is
// collected, and while nothing is claimed nothing makes the runtime collect it. Where
// that does not help it is done less and less often. It releases mu meanwhile.
func (g *memoryGuard) sweep() {
	g.collecting = true
	g.mu.Unlock()
	g.collect()
	g.mu.Lock()
	g.collecting, g.collected = false, time.Now()
	g.look()
	if g.isOver() {
		g.wait = min(2*g.wait, collectMost)
	} else {
		g.wait = collectFirst
	}
}

// judge notes and says when it changes; not before a collection is over. Holds mu.
func (g *memoryGuard) judge() {
	over := g.isOver()
	if over == g.short || g.collecting {
		return
	}
	g.short = over
	figures := []any{"Used", g.usage.Used, "Limit", g.usage.Limit, "LimitOf", g.usage.Of, "PauseAbove", g.bound}
	if over {
		g.shortAt = time.Now()
		g.log.Warn("[Slipstream] memory is short, nothing is claimed until it is not; tasks that run go on", figures...)
		return
	}
	g.log.Info("[Slipstream] memory is not short any more, claiming goes on", append(figures, "After", time.Since(g.shortAt))...)
}
