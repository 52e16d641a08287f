package batchqueue

import (
	"sync"
	"sync/atomic"
)

// crew runs the handlers of an executor, each on a goroutine of its own that stays for the
// next. Handlers call deep: a new goroutine for each of them would grow its stack anew, by
// copying it, and that was a tenth of a worker's time. It is safe for concurrent use.
type crew struct {
	handle func(*claim)

	work chan *claim // nobody waits in it: who is idle takes it, else a new member does
	over chan struct{}
	idle atomic.Int64
	wg   sync.WaitGroup
}

func newCrew(handle func(*claim)) *crew {
	return &crew{handle: handle, work: make(chan *claim), over: make(chan struct{})}
}

// run starts the claim's handler and does not wait for it.
func (c *crew) run(claimed *claim) {
	select {
	case c.work <- claimed:
	default:
		c.wg.Go(func() { c.member(claimed) })
	}
}

// member ends with a nil claim, with the crew, or with a handler that ends its goroutine.
func (c *crew) member(claimed *claim) {
	for claimed != nil {
		c.handle(claimed)
		c.idle.Add(1)
		select {
		case claimed = <-c.work:
		case <-c.over:
			claimed = nil
		}
		c.idle.Add(-1)
	}
}

// trim sends half of the idle members away. Called now and then, it leaves none where there
// is no work, and nearly all where they are idle for a moment only.
func (c *crew) trim() {
	for range (c.idle.Load() + 1) / 2 {
		select {
		case c.work <- nil:
		default:
			return
		}
	}
}

// dismiss lets members go: those that are idle at once, the others when their handlers have
// returned. Called once.
func (c *crew) dismiss() { close(c.over) }

// wait returns when the last member has gone.
func (c *crew) wait() { c.wg.Wait() }
