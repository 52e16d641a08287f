package batchqueue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/memory"
	"github.com/slipstream-go/slipstream/internal/redistest"
)

// gauge is what a memoryGuard reads in tests, and the log that it writes.
type gauge struct {
	silence

	mu        sync.Mutex
	used      uint64 // protected by mu
	garbage   uint64 // protected by mu: used, until it is collected
	unlimited bool   // protected by mu
	reads     int    // protected by mu
	collected int    // protected by mu
	said      []string
}

func (g *gauge) guard(bound float64) *memoryGuard {
	m := newMemoryGuard(bound, g)
	if m != nil {
		m.read, m.collect = g.read, g.collect
	}
	return m
}

func (g *gauge) read() (memory.Usage, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	if g.unlimited {
		return memory.Usage{}, false
	}
	return memory.Usage{Used: g.used + g.garbage, Limit: 1000 << 20, Of: "test"}, true
}

func (g *gauge) collect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.collected++
	g.garbage = 0
}

func (g *gauge) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *gauge) note(msg string, keyvals []any) {
	g.set(func() { g.said = append(g.said, fmt.Sprint(append([]any{msg}, keyvals...)...)) })
}

func (g *gauge) Warn(msg string, keyvals ...any) { g.note(msg, keyvals) }
func (g *gauge) Info(msg string, keyvals ...any) { g.note(msg, keyvals) }

func (g *gauge) log() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.said)
}

// startOn starts an executor that looks at the gauge.
func (l *lab) startOn(g *gauge, bound float64, o ExecutorOptions) *Executor {
	l.Helper()
	l.memory = g.guard(bound)
	return l.start(o)
}

func TestClaimingPausesWhileMemoryIsShort(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		g, h := &gauge{used: 500 << 20}, newGate()
		e := l.startOn(g, 0.7, ExecutorOptions{Handler: h.handle})
		l.enqueue(0, "r", task(1))
		l.pass(time.Second)
		require.Equal(t, 1, h.starts(1))
		require.Positive(t, e.Free("A"))
		require.Empty(t, g.log())

		g.set(func() { g.used = 710 << 20 })
		l.pass(readEvery)
		l.enqueue(0, "r", task(2), task(3))
		l.pass(time.Minute)
		require.Zero(t, h.starts(2))
		require.Zero(t, e.Free("A"))
		require.True(t, e.Stats().MemoryShort)
		require.Positive(t, e.Stats().Withheld)
		require.Len(t, g.log(), 1, "said once")
		require.Contains(t, g.log()[0], fmt.Sprint(710<<20))

		// What runs goes on, and its outcome is delivered.
		require.NoError(t, h.cause(1))
		h.done(1)
		l.await(1)

		// A little less is not enough, or it would stop and go with every task.
		g.set(func() { g.used = 690 << 20 })
		l.pass(time.Minute)
		require.Zero(t, h.starts(2))

		g.set(func() { g.used = 600 << 20 })
		l.until(time.Second, "claiming goes on", func() bool { return h.starts(2) == 1 && h.starts(3) == 1 })
		require.False(t, e.Stats().MemoryShort)
		require.Len(t, g.log(), 2)
		h.done(2, 3)
		l.await(3)
	})
}

// The bound may be passed for ever: nothing is claimed, and little is done meanwhile.
func TestMemoryThatStaysShort(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		g, h := &gauge{used: 990 << 20}, newGate()
		e := l.startOn(g, 0.7, ExecutorOptions{Handler: h.handle})
		l.enqueue(0, "r", task(1))
		l.pass(time.Hour)
		require.Zero(t, h.starts(1))
		require.Zero(t, l.count("claim"))
		require.Len(t, g.log(), 1)
		require.Less(t, g.collected, 45, "collections become rare")
		require.LessOrEqual(t, g.reads, 36_000+200)
		require.Positive(t, e.Stats().Permits)
	})
}

// Garbage is no reason to pause, but nothing else would collect it while nothing is claimed.
func TestGarbageIsCollectedBeforeClaimingPauses(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g, h := &gauge{used: 300 << 20, garbage: 600 << 20}, newGate()
		l.startOn(g, 0.7, ExecutorOptions{Handler: h.handle})
		l.enqueue(0, "r", task(1))
		l.pass(time.Second)
		require.Equal(t, 1, h.starts(1))
		require.Equal(t, 1, g.collected)
		require.Empty(t, g.log())
		h.done(1)
	})
}

func TestMemoryWithoutLimitOrSwitchedOff(t *testing.T) {
	for name, c := range map[string]struct {
		gauge *gauge
		bound float64
		reads int
	}{
		"no limit":     {&gauge{unlimited: true}, 0.7, 8},
		"switched off": {&gauge{used: 5000 << 20}, -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				h := newGate()
				e := l.startOn(c.gauge, c.bound, ExecutorOptions{Handler: h.handle})
				for n := range uint64(60) {
					l.enqueue(0, "r", task(n+1))
					l.pass(time.Second)
					require.Equal(t, 1, h.starts(n+1))
					h.done(n + 1)
				}
				require.LessOrEqual(t, c.gauge.reads, c.reads)
				require.False(t, e.Stats().MemoryShort)
			})
		})
	}
}

func TestPauseAboveMemoryIsChecked(t *testing.T) {
	for _, bound := range []float64{1.01, math.NaN(), math.Inf(1)} {
		_, err := New(redis.NewClient(&redis.Options{}), Options{Namespace: "n", PauseAboveMemory: bound})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "Options.PauseAboveMemory")
	}
	q, err := New(redis.NewClient(&redis.Options{}), Options{Namespace: "n"})
	require.NoError(t, err)
	require.InDelta(t, 0.7, q.memory.bound, 0)
	q, err = New(redis.NewClient(&redis.Options{}), Options{Namespace: "n", PauseAboveMemory: -1})
	require.NoError(t, err)
	require.Nil(t, q.memory)
}

// Tasks of a MiB each, with more permits than memory: what is in this process at a time
// stays below the limit, and all of them are done.
func TestLargeTasksStayWithinMemory(t *testing.T) {
	const tasks, size, limit = 150, 1 << 20, 32 << 20
	r := newRig(t, 4, longLease)
	var mu sync.Mutex
	held, most := 0, 0 // payload bytes claimed and not settled
	hold := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		held += n
		most = max(most, held)
	}
	r.q.memory = newMemoryGuard(0.5, silence{})
	r.q.memory.collect = func() {}
	r.q.memory.read = func() (memory.Usage, bool) {
		mu.Lock()
		defer mu.Unlock()
		return memory.Usage{Used: uint64(held), Limit: limit, Of: "test"}, true
	}
	payload := make([]byte, size)
	for n := range uint64(tasks) {
		r.enqueue(fmt.Sprint("run", n%10), Task{Number: n + 1, Fingerprint: 1, Type: "A", Payload: payload})
	}
	open := make(chan struct{})
	e := r.start(r.q, ExecutorOptions{
		Concurrency: 1000,
		Handler: func(_ context.Context, d *Delivery) Result {
			<-open
			return Result{Kind: KindCompleted, Payload: d.Payload}
		},
		Observer: Observer{
			Started: func(d *Delivery) { hold(len(d.Payload)) },
			Settled: func(d *Delivery, _ Outcome) { hold(-len(d.Payload)) },
		},
	})
	r.eventually("memory is short, or all have started", func() bool { s := e.Stats(); return s.MemoryShort || s.Running == tasks })
	close(open)
	r.eventually("all are settled, and nothing is held", func() bool {
		settled := e.Stats().Settled
		mu.Lock()
		defer mu.Unlock()
		return settled == tasks && held == 0
	})
	mu.Lock()
	defer mu.Unlock()
	require.Less(t, most, limit)
}

// Pages of lost claims and of adoptions are bounded by bytes too.
func TestPagesAreBoundedByBytes(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	const tasks = 20
	var refs []claimRef
	for n := range uint64(tasks) {
		b.enqueue(Task{Number: n + 1, Fingerprint: 1, Type: "A", Payload: make([]byte, 1<<20)})
		for _, d := range b.claim(1) {
			refs = append(refs, d.ref())
		}
	}
	require.Len(t, refs, tasks)
	ds, err := b.q.adopt(b.ctx, b.pool, "e1", refs)
	require.NoError(t, err)
	require.Len(t, ds, pageBytes>>20)
	require.NoError(t, b.q.dropLease(b.ctx, b.pool, "e1", 0))
	for left := tasks; left > 0; {
		page, err := b.q.lost(b.ctx, b.pool, 0, 1000)
		require.NoError(t, err)
		claims, more := page.claims, page.more
		require.Len(t, claims, min(left, pageBytes>>20))
		for _, c := range claims {
			s := done(c.delivery)
			s.lostBy = c.executor
			require.Equal(t, "s", b.settle(s))
		}
		left -= len(claims)
		require.Equal(t, left > 0, more)
	}
}

// What a claim brings counts with the data that its tasks share, once per wave.
func TestClaimsCountWhatTheirTasksShare(t *testing.T) {
	b := newBench(t, redistest.Mini(t))
	b.enqueueWave(Wave{ID: 1, Common: make([]byte, 1<<20), Tasks: []Task{task(1), task(2)}})
	r, err := b.q.claim(b.ctx, b.pool, 0, claimRequest{executor: "e1", types: []string{"A"}, count: 2, bytes: 1 << 20, lease: time.Minute, outboxLimit: 1})
	require.NoError(t, err)
	require.Len(t, r.deliveries, 2)
	require.InDelta(t, 1<<20, r.bytes, 1000)
}

// A slot whose outcomes are many bytes gives no tasks, however few they are.
func TestOutboxIsBoundedByBytes(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	b.enqueue(task(1), task(2))
	s := done(b.claim(1)[0])
	s.outcome.Payload = make([]byte, 1000)
	require.Equal(t, "s", b.settle(s))
	claim := func(bytes int) claimReply {
		r, err := b.q.claim(b.ctx, b.pool, 0, claimRequest{executor: "e1", types: []string{"A"}, count: 1, bytes: 1, lease: time.Minute, outboxLimit: 100, outboxBytes: bytes})
		require.NoError(t, err)
		return r
	}
	require.True(t, claim(1000).blocked)
	require.False(t, claim(2000).blocked)
}
