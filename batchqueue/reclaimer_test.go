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

func TestLossOf(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	const lease = 5 * time.Second
	base := Delivery{Number: 1, Attempt: 2, ScheduledAt: now.Add(-time.Minute), LastFailure: []byte("before"), Heartbeat: []byte("details")}
	retried := RetryPolicy{InitialInterval: 2 * time.Second, BackoffCoefficient: 1}
	r := &reclaimer{lease: lease, timeoutFailure: func(*Delivery, Kind) []byte { return []byte("timed out") }}
	for _, c := range []struct {
		name     string
		change   func(*Delivery)
		held     time.Duration
		alive    bool
		limit    int
		action   settleAction
		kind     Kind
		attempt  int
		loss, al int
	}{
		{name: "gone", action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 1, limit: 3},
		{name: "gone with heartbeat", change: func(d *Delivery) { d.Options.Heartbeat = time.Second }, action: actionRetry, kind: KindHeartbeat, attempt: 3, loss: 1, limit: 3},
		{name: "gone at the last attempt", change: func(d *Delivery) { d.Options.Retry.MaximumAttempts = 2 }, action: actionFinish, kind: KindStartToClose, loss: 1, limit: 3},
		{name: "gone, no time left", change: func(d *Delivery) { d.Options.ScheduleToClose = time.Minute }, action: actionFinish, kind: KindScheduleToClose, loss: 1, limit: 3},
		{name: "alive", alive: true, action: actionRelease, kind: KindCanceled, attempt: 2, limit: 3},
		{name: "alive, once only", alive: true, change: func(d *Delivery) { d.Options.Retry.MaximumAttempts = 1; d.Attempt = 1 }, action: actionFinish, kind: KindStartToClose, limit: 3},
		{name: "third loss is not alone", change: func(d *Delivery) { d.losses = 3 }, action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 4, limit: 3},
		{name: "alone", change: func(d *Delivery) { d.losses = 4 }, action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 5, al: 1, limit: 3},
		{name: "alone but old", held: youngest + 3*lease, change: func(d *Delivery) { d.losses = 4 }, action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 5, limit: 3},
		{name: "alone for the third time", change: func(d *Delivery) { d.losses, d.alone = 6, 2 }, action: actionFinish, kind: KindPoison, loss: 7, al: 3, limit: 3},
		{name: "alone for the third time, old", held: time.Hour, change: func(d *Delivery) { d.losses, d.alone = 6, 2 }, action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 7, al: 2, limit: 3},
		{name: "no limit", change: func(d *Delivery) { d.losses, d.alone = 60, 20 }, action: actionRetry, kind: KindStartToClose, attempt: 3, loss: 61, al: 21, limit: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := base
			d.Options.Retry = retried
			if c.change != nil {
				c.change(&d)
			}
			var alive *presence
			want := "gone"
			if c.alive {
				alive, want = &presence{Executor: "gone", Worker: "its worker"}, "its worker"
			}
			s := r.lossOf(lostClaim{&d, "gone", c.held}, alive, now, c.limit, 0)
			require.Equal(t, want, s.outcome.Executor)
			require.Equal(t, "gone", s.lostBy)
			require.Equal(t, c.action, s.action)
			require.Equal(t, c.kind, s.outcome.Kind)
			require.Equal(t, []int{c.loss, c.al}, []int{s.losses, s.alone})
			if c.action != actionFinish {
				require.Equal(t, c.attempt, s.attempt)
				require.Equal(t, map[bool]string{true: "before", false: "timed out"}[c.alive], string(s.lastFailure))
				require.Equal(t, "details", string(s.heartbeat))
			}
			if c.action == actionRetry {
				require.Equal(t, 2*time.Second, s.delay)
			}
		})
	}
}

// morgue replaces executors that die with new ones.
type morgue struct {
	l       *lab
	mu      sync.Mutex
	dead    map[string]bool // protected by mu
	born    int             // protected by mu
	options ExecutorOptions
	all     []*Executor // protected by mu
}

func (m *morgue) fault(_, executor string, _ int, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead[executor] {
		return errAway
	}
	return nil
}

func (m *morgue) spawn() {
	m.mu.Lock()
	m.born++
	o := m.options
	o.ID = fmt.Sprint("e", m.born)
	m.mu.Unlock()
	handler := o.Handler
	o.Handler = func(ctx context.Context, d *Delivery) Result {
		return handler(context.WithValue(ctx, morgueKey{}, o.ID), d)
	}
	e := m.l.executor(m.l.T, o)
	require.NoError(m.l, e.Start(m.l.Context()))
	m.mu.Lock()
	m.all = append(m.all, e)
	m.mu.Unlock()
}

type morgueKey struct{}

// kill is called by a handler: its executor dies and another one is started.
func (m *morgue) kill(ctx context.Context) {
	id, _ := ctx.Value(morgueKey{}).(string)
	m.mu.Lock()
	m.dead[id] = true
	m.mu.Unlock()
	m.spawn()
	<-ctx.Done()
}

func (m *morgue) close() {
	m.mu.Lock()
	all := m.all
	m.dead = nil // else a stop would wait for its Redis
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, e := range all {
		wg.Go(func() { _ = e.Stop(context.Background()) })
	}
	wg.Wait()
}

// One task that takes its executor down, among many that do not: it becomes a dead
// letter, and every other one completes.
func TestPoisonAmongInnocents(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		var mu sync.Mutex
		kills := 0
		m := &morgue{l: l, dead: make(map[string]bool)}
		m.options = ExecutorOptions{Concurrency: 100, Deliver: l.book.deliver, DrainTimeout: time.Millisecond, Handler: func(ctx context.Context, d *Delivery) Result {
			if d.Number != 77 {
				time.Sleep(2 * time.Second) //nolint:forbidigo // by synctest's clock
				return echo(ctx, d)
			}
			mu.Lock()
			kills++
			mu.Unlock()
			m.kill(ctx)
			return Result{}
		}}
		l.setFault(m.fault)
		for range 3 {
			m.spawn()
		}
		for i := range 500 {
			l.enqueue(i%2, "run", task(uint64(i)))
		}
		took := l.until(10*time.Minute, "all outcomes", func() bool { return l.book.size() == 500 })
		t.Logf("took %v, %d kills", took, kills)
		for n := range uint64(500) {
			o := l.one("run", n)
			if n == 77 {
				require.Equal(t, KindPoison, o.Kind)
				require.Equal(t, RetryNonRetryable, o.Retry)
			} else {
				require.Equal(t, KindCompleted, o.Kind)
			}
		}
		require.Equal(t, 7, kills, "four in company, three alone")
		m.close()
	})
}

// Suspects narrow: 32 at a time, then 4, then alone, per executor.
func TestSuspectsAreClaimedWithinTheirBudget(t *testing.T) {
	for losses, most := range map[int]int{1: 50, 2: 32, 3: 4, 4: 1, 9: 1} {
		inLab(t, 3, func(t *testing.T, l *lab) {
			g := newGate()
			for n := range uint64(50) {
				d := Delivery{Pool: l.pool, Run: "run", Number: n + 1, Type: "A", Attempt: losses + 1, losses: losses, slot: int(n % 3)}
				l.mu.Lock()
				l.requeue(d.slot, &fakeTask{d: d})
				l.mu.Unlock()
			}
			e := l.start(ExecutorOptions{Handler: g.handle, Concurrency: 200})
			if losses < 4 {
				for n := range uint64(20) {
					l.enqueue(int(n%3), "fine", task(n+1001))
				}
			}
			l.pass(time.Minute) // what a claim left of a budget, another slot may get with the next sweep only
			now, _ := g.runs()
			if losses < 4 {
				require.Equal(t, most+20, now, "and what is no suspect beside them")
			} else {
				require.Equal(t, 1, now)
			}
			for n := range uint64(50) {
				g.done(n+1, n+1001)
			}
			want := 50
			if losses < 4 {
				want = 70
			}
			l.until(time.Minute, fmt.Sprintf("all outcomes of %d losses", losses), func() bool { return l.book.size() == want })
			_, peak := g.runs()
			require.Equal(t, now, peak)
			require.Equal(t, suspectBudgets{}, e.claimer.held)
		})
	}
}

// Nothing is claimed beside a suspect that runs alone.
func TestNothingRunsBesideASuspectThatRunsAlone(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		g := newGate()
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "run", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		l.start(ExecutorOptions{Handler: g.handle})
		l.until(sweepEvery*3, "it runs", func() bool { return g.starts(1) == 1 })
		l.enqueue(1, "fine", task(2))
		l.enqueue(0, "fine", task(3))
		l.pass(time.Minute)
		require.Zero(t, g.starts(2)+g.starts(3))
		g.done(1, 2, 3)
		l.await(3)
	})
}

// On a busy executor a suspect that must run alone is not passed over for ever: the
// slot's leader makes room.
func TestRoomIsMadeForASuspectThatMustRunAlone(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var alone int
		running, most := 0, 0
		var mu sync.Mutex
		done := false
		e := l.start(ExecutorOptions{Concurrency: 10, Handler: func(ctx context.Context, d *Delivery) Result {
			mu.Lock()
			running++
			most = max(most, running)
			if d.Run == "suspect" {
				alone, done = running, true
			}
			mu.Unlock()
			time.Sleep(3 * time.Second) //nolint:forbidigo // by synctest's clock
			mu.Lock()
			defer mu.Unlock()
			running--
			if d.Run == "suspect" && most > 0 {
				require.Zero(t, running, "nothing beside it to the end")
			}
			return echo(ctx, d)
		}})
		n := uint64(0)
		feed := func() {
			for range 5 {
				n++
				l.enqueue(0, "busy", task(n))
			}
		}
		for range 10 {
			feed()
			l.pass(time.Second)
		}
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		e.claimer.wantAlone(0, time.Now())
		for range 10 {
			feed()
			l.pass(time.Second)
		}
		mu.Lock()
		require.True(t, done)
		require.Equal(t, 1, alone)
		require.Equal(t, 10, most)
		mu.Unlock()
		l.until(time.Hour, "all outcomes", func() bool { return l.book.size() == int(n)+1 })
	})
}

// With handlers that take long, making room gives up and tries again, so that the
// executor works half of the time at least.
func TestMakingRoomGivesUpForAWhile(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		e := l.start(ExecutorOptions{Concurrency: 2, Handler: g.handle})
		l.enqueue(0, "long", task(1)) // runs until the test says so
		synctest.Wait()
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 2, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		e.claimer.wantAlone(0, time.Now())
		l.enqueue(0, "quick", task(3))
		l.pass(aloneWaitFirst - time.Second)
		require.Zero(t, g.starts(3), "room is being made")
		l.pass(2 * time.Second)
		require.Equal(t, 1, g.starts(3), "given up for now")
		g.done(3)
		l.enqueue(0, "quick", task(4))
		l.pass(10 * time.Second)
		require.Equal(t, 1, g.starts(4), "and works on meanwhile")
		g.done(1, 4)
		l.await(3)
		took := l.until(10*time.Minute, "the suspect runs", func() bool { return g.starts(2) == 1 })
		require.LessOrEqual(t, took, aloneWaitFirst+sweepEvery)
		g.done(2)
		l.await(4)
	})
}

// Claims run side by side: what another one brings meanwhile keeps a suspect from
// running, not from running later.
func TestSuspectThatComesInCompanyIsGivenBack(t *testing.T) {
	for range 10 {
		inLab(t, 2, func(t *testing.T, l *lab) {
			l.rtt = 10 * time.Millisecond
			l.mu.Lock()
			l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "run", Number: 1, Type: "A", Attempt: 5, losses: 4}})
			l.mu.Unlock()
			l.enqueue(1, "fine", task(2), task(3))
			g := newGate()
			l.startCold(ExecutorOptions{Handler: g.handle})
			l.until(time.Minute, "something runs", func() bool { now, _ := g.runs(); return now > 0 })
			l.pass(time.Second)
			alone, others := g.starts(1), g.starts(2)+g.starts(3)
			require.True(t, alone == 0 || others == 0, "%d and %d", alone, others)
			g.done(1, 2, 3)
			l.await(3)
			require.Equal(t, 5, g.delivery(1).Attempt)
		})
	}
}

// A suspect that nobody knows of is found by an idle executor, whatever the order in
// which it looks at its slots.
func TestIdleExecutorFindsSuspectsInEverySlot(t *testing.T) {
	inLab(t, 16, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{})
		l.pass(time.Minute)
		for slot := range 16 {
			l.mu.Lock()
			l.listeners = make(map[*fakeListener]bool) // no bell
			l.requeue(slot, &fakeTask{d: Delivery{Pool: l.pool, Run: "run", Number: uint64(slot), Type: "A", Attempt: 5, losses: 4}})
			l.mu.Unlock()
		}
		took := l.until(time.Hour, "all outcomes", func() bool { return l.book.size() == 16 })
		require.LessOrEqual(t, took, sweepEvery+fakeLease+16*idleAfter)
	})
}
