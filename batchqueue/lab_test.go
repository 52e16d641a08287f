package batchqueue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of an executor's logic run on a fake Redis in a synctest bubble: time passes
// when nothing else can, so a wait is exact and costs nothing.

// lab is a fake Redis with executors that are stopped at the end of the test.
type lab struct {
	*testing.T
	*fakeRedis
	book *book
}

func inLab(t *testing.T, slots int, test func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &lab{T: t, fakeRedis: newFake(slots), book: &book{}})
	})
}

// start starts an executor and waits until it claims.
func (l *lab) start(o ExecutorOptions) *Executor {
	l.Helper()
	e := l.startCold(o)
	synctest.Wait()
	return e
}

// startCold does not wait.
func (l *lab) startCold(o ExecutorOptions) *Executor {
	l.Helper()
	if o.Deliver == nil {
		o.Deliver = l.book.deliver
	}
	e := l.executor(l.T, o)
	require.NoError(l, e.Start(l.Context()))
	l.Cleanup(func() { l.stop(e) })
	return e
}

func (l *lab) stop(e *Executor) {
	l.Helper()
	require.NoError(l, e.Stop(context.Background()))
}

// pass lets time pass.
func (l *lab) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // by synctest's clock
	synctest.Wait()
}

// until lets time pass until the condition holds, and returns how long that took.
func (l *lab) until(within time.Duration, what string, condition func() bool) time.Duration {
	l.Helper()
	began := time.Now()
	for synctest.Wait(); !condition(); synctest.Wait() {
		if time.Since(began) > within {
			l.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // by synctest's clock
	}
	return time.Since(began)
}

// book keeps delivered outcomes.
type book struct {
	mu       sync.Mutex
	outcomes map[string][]Outcome // protected by mu: by run/number
	batches  []*Batch             // protected by mu
	answer   func(*Batch) error
}

func (b *book) deliver(_ context.Context, batch *Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answer != nil {
		if err := b.answer(batch); err != nil {
			return err
		}
	}
	if b.outcomes == nil {
		b.outcomes = make(map[string][]Outcome)
	}
	b.batches = append(b.batches, batch)
	for _, o := range batch.Outcomes {
		name := fmt.Sprintf("%s/%d", batch.Run, o.Number)
		b.outcomes[name] = append(b.outcomes[name], o)
	}
	return nil
}

func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.outcomes)
}

// one returns the task's outcome; there must be exactly one.
func (l *lab) one(run string, n uint64) Outcome {
	l.Helper()
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	all := l.book.outcomes[fmt.Sprintf("%s/%d", run, n)]
	require.Len(l, all, 1, "outcomes of %s/%d", run, n)
	return all[0]
}

func (l *lab) await(n int) {
	l.Helper()
	l.until(time.Hour, fmt.Sprintf("%d outcomes", n), func() bool { return l.book.size() >= n })
}

// gate is a handler that tests open task by task.
type gate struct {
	mu      sync.Mutex
	opened  map[uint64]chan Result // protected by mu
	started map[uint64]int         // protected by mu: attempts started
	running int                    // protected by mu
	most    int                    // protected by mu: most at a time
	causes  map[uint64]error       // protected by mu: why contexts ended
	deaf    bool                   // ignore contexts
	seen    map[uint64]*Delivery   // protected by mu: the last delivery
}

func newGate() *gate {
	return &gate{opened: make(map[uint64]chan Result), started: make(map[uint64]int), causes: make(map[uint64]error), seen: make(map[uint64]*Delivery)}
}

func (g *gate) channel(n uint64) chan Result {
	if g.opened[n] == nil {
		g.opened[n] = make(chan Result, 10)
	}
	return g.opened[n]
}

func (g *gate) handle(ctx context.Context, d *Delivery) Result {
	g.mu.Lock()
	g.started[d.Number]++
	g.seen[d.Number] = d
	g.running++
	g.most = max(g.most, g.running)
	open, done := g.channel(d.Number), ctx.Done()
	if g.deaf {
		done = nil
	}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
	}()
	select {
	case r := <-open:
		return r
	case <-done:
		g.mu.Lock()
		defer g.mu.Unlock()
		g.causes[d.Number] = context.Cause(ctx)
		return Result{Kind: KindFailed, Payload: []byte(ctx.Err().Error())}
	}
}

func (g *gate) open(n uint64, r Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.channel(n) <- r
}

func (g *gate) done(numbers ...uint64) {
	for _, n := range numbers {
		g.open(n, Result{Kind: KindCompleted, Payload: fmt.Appendf(nil, "result %d", n)})
	}
}

func (g *gate) starts(n uint64) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.started[n]
}

func (g *gate) runs() (now, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.most
}

func (g *gate) cause(n uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.causes[n]
}

func (g *gate) delivery(n uint64) *Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen[n]
}

func with(n uint64, o TaskOptions) Task {
	t := task(n)
	t.Options = o
	return t
}
