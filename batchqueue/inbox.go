package batchqueue

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
)

// Inbox hears of finished tasks of runs with an open window, so that whoever waits for a
// wave need not ask. One per process is enough. It is safe for concurrent use.
//
// What it says is a hint: the outcomes are taken by CloseWindow, and a wait ends at the
// latest with the window.
type Inbox struct {
	id   string
	q    *Queue
	open func(hearing) listener

	mu       sync.Mutex
	bells    *bells                               // protected by mu; nil when not started
	expected map[string]map[uint64][]*Expectation // protected by mu: by encoded run and number
}

// NewInbox returns an Inbox with a new ID. It hears nothing before Start.
func (q *Queue) NewInbox() *Inbox {
	return &Inbox{id: rand.Text(), q: q, open: q.newListener, expected: make(map[string]map[uint64][]*Expectation)}
}

// ID is what Wave.Inbox wants.
func (i *Inbox) ID() string { return i.id }

// Start subscribes. Redis need not be there: the subscription is made, and made again,
// in the background. An error means that it was not there just now.
func (i *Inbox) Start(ctx context.Context) error {
	i.mu.Lock()
	if i.bells != nil {
		i.mu.Unlock()
		return nil
	}
	b := &bells{open: i.open}
	i.bells = b
	i.mu.Unlock()
	return b.set(ctx, map[string]bellFunc{i.q.keys.inbox(i.id): i.heard})
}

// Stop ends the subscription and returns when nothing is heard any more. Expectations
// stay open. Stopping twice, or what was not started, is no error.
func (i *Inbox) Stop() error {
	i.mu.Lock()
	b := i.bells
	i.bells = nil
	i.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.close()
}

// Expectation waits for tasks of one run to finish.
type Expectation struct {
	inbox *Inbox
	run   string // encoded
	done  chan struct{}

	missing map[uint64]bool // protected by inbox.mu
}

// Expect waits for the numbers of the run from now on: call it before the tasks are
// enqueued. Cancel it in the end.
func (i *Inbox) Expect(run string, numbers []uint64) *Expectation {
	e := &Expectation{inbox: i, run: encodeRun(run), done: make(chan struct{}), missing: make(map[uint64]bool, len(numbers))}
	i.mu.Lock()
	defer i.mu.Unlock()
	waiting := i.expected[e.run]
	if waiting == nil {
		waiting = make(map[uint64][]*Expectation)
		i.expected[e.run] = waiting
	}
	for _, n := range numbers {
		if !e.missing[n] {
			e.missing[n] = true
			waiting[n] = append(waiting[n], e)
		}
	}
	if len(e.missing) == 0 {
		close(e.done)
		i.forget(e)
	}
	return e
}

// Done is closed when every number was reported as finished.
func (e *Expectation) Done() <-chan struct{} { return e.done }

// Arrived marks a number as answered in another way, for example by Enqueue itself.
func (e *Expectation) Arrived(number uint64) {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	e.arrived(number)
}

// Cancel frees the expectation. Done stays as it is. Canceling twice is no error.
func (e *Expectation) Cancel() {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	e.inbox.forget(e)
}

// arrived is called with inbox.mu held.
func (e *Expectation) arrived(number uint64) {
	if !e.missing[number] {
		return
	}
	delete(e.missing, number)
	if len(e.missing) == 0 {
		close(e.done)
		e.inbox.forget(e)
	}
}

// forget takes the expectation out of the map. Called with mu held.
func (i *Inbox) forget(e *Expectation) {
	waiting := i.expected[e.run]
	for n, all := range waiting {
		kept := all[:0]
		for _, other := range all {
			if other != e {
				kept = append(kept, other)
			}
		}
		if len(kept) == 0 {
			delete(waiting, n)
		} else {
			waiting[n] = kept
		}
	}
	if len(waiting) == 0 {
		delete(i.expected, e.run)
	}
}

// heard reads "<run> <n>,<n>,...". Anything else is ignored: it comes from another
// version, or confirms the subscription.
func (i *Inbox) heard(payload string, _ bool) {
	run, list, ok := strings.Cut(payload, " ")
	if !ok {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return
		}
		for _, e := range append([]*Expectation(nil), i.expected[run][n]...) {
			e.arrived(n)
		}
	}
}
