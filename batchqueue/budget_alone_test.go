package batchqueue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A suspect takes the process down for all executors in it: alone means alone among all
// that share the budget. Guests go on.
func TestASuspectRunsAloneInTheWholeBudget(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other := l.budget(BudgetOptions{Concurrency: 4}), l.another()
		mine, theirs := newGate(), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: mine.handle})
		other.start(ExecutorOptions{Budget: b, Handler: theirs.handle})
		other.enqueue(0, "fine", task(1), task(2))
		synctest.Wait()
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		l.pass(10 * time.Second)
		e.claimer.wantAlone(0, time.Now())
		l.pass(10 * time.Second)
		require.Zero(t, mine.starts(1), "others run")
		other.enqueue(0, "fine", tasks(10)[2:]...)
		l.enqueue(0, "mine", tasks(11)[1:]...)
		l.pass(time.Second)
		require.Zero(t, theirs.starts(3)+mine.starts(2), "room is being made")

		theirs.done(1, 2)
		l.until(time.Second, "the suspect runs", func() bool { return mine.starts(1) == 1 })
		v := b.visit(l.Context())
		require.True(t, v.entered.Load())
		v.end()
		l.pass(10 * time.Second)
		require.Zero(t, theirs.starts(3)+mine.starts(2), "nothing beside it")
		mine.done(1)
		l.until(time.Second, "the others go on", func() bool { now, _ := theirs.runs(); return now > 0 })
		a, _ := mine.runs()
		c, _ := theirs.runs()
		require.Equal(t, [2]int{2, 2}, [2]int{a, c}, "with even shares of what is free at once")
		require.Zero(t, e.Stats().Released, "the suspect was not claimed in vain")
		for n := range uint64(20) {
			mine.done(n)
			theirs.done(n)
		}
		l.await(21)
	})
}

// Claims of two pools run side by side: see TestSuspectThatComesInCompanyIsGivenBack.
func TestASuspectThatComesBesideAnotherPoolsClaimIsGivenBack(t *testing.T) {
	for later := range 10 {
		inLab(t, 1, func(t *testing.T, l *lab) {
			b, other, g := l.budget(BudgetOptions{}), l.another(), newGate()
			l.rtt, other.rtt = 10*time.Millisecond, 10*time.Millisecond
			l.mu.Lock()
			l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
			l.mu.Unlock()
			other.enqueue(0, "fine", task(2), task(3))
			l.startCold(ExecutorOptions{Budget: b, Concurrency: 5, Handler: g.handle}) // its claim leaves permits
			l.pass(time.Duration(later) * time.Millisecond)
			other.startCold(ExecutorOptions{Budget: b, Handler: g.handle})
			l.until(time.Minute, "something runs", func() bool { now, _ := g.runs(); return now > 0 })
			l.pass(time.Second)
			alone, others := g.starts(1), g.starts(2)+g.starts(3)
			require.True(t, alone == 0 || others == 0, "%d and %d", alone, others)
			g.done(1, 2, 3)
			l.await(3)
		})
	}
}

// A suspect takes a permit like any task, and where its pool is paused nobody waits for it.
func TestASuspectThatCannotRunNow(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other, g := l.budget(BudgetOptions{Concurrency: 1}), l.another(), newGate()
		e := l.start(ExecutorOptions{Budget: b, Handler: g.handle})
		other.start(ExecutorOptions{Budget: b, Handler: g.handle})
		v := b.visit(l.Context())
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		e.claimer.wantAlone(0, time.Now())
		l.pass(time.Second)
		require.Zero(t, g.starts(1), "the guest has the permit")
		require.Zero(t, e.Stats().Claimed, "it is not claimed in vain")
		l.mu.Lock()
		l.conf.Paused = true
		l.publish(l.keys.configBell(l.pool), "")
		l.mu.Unlock()
		synctest.Wait()
		v.end()
		other.enqueue(0, "fine", task(2))
		synctest.Wait()
		require.Equal(t, 1, g.starts(2))
		require.Zero(t, g.starts(1))
		g.done(2)
		l.await(1)
	})
}

// A claim that did not look, for want of memory, has not found that no suspect waits.
func TestASuspectIsRememberedWhileMemoryIsShort(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g, h, b := &gauge{used: 900 << 20}, newGate(), l.budget(BudgetOptions{Concurrency: 1})
		e := l.startOn(g, 0.7, ExecutorOptions{Budget: b, Handler: h.handle})
		l.mu.Lock()
		l.requeue(0, &fakeTask{d: Delivery{Pool: l.pool, Run: "suspect", Number: 1, Type: "A", Attempt: 5, losses: 4}})
		l.mu.Unlock()
		e.claimer.wantAlone(0, time.Now())
		waits := func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.alone.places) > 0
		}
		withheld := e.Stats().Withheld
		l.pass(time.Minute)
		require.True(t, waits())
		require.LessOrEqual(t, e.Stats().Withheld-withheld, 2*uint64(time.Minute/memoryWait), "tried in vain, but seldom")
		g.set(func() { g.used = 0 })
		l.until(time.Minute, "the suspect runs", func() bool { return h.starts(1) == 1 })
		h.done(1)
		l.await(1)
		require.False(t, waits())
	})
}

// An executor that stops neither holds the others up nor leaves anything behind.
func TestAnExecutorThatStopsLeavesTheBudgetToTheOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		b, other, h := l.budget(BudgetOptions{Concurrency: 2}), l.another(), newGate()
		e := l.executor(l.T, ExecutorOptions{Budget: b, Deliver: l.book.deliver})
		require.NoError(t, e.Start(l.Context()))
		other.start(ExecutorOptions{Budget: b, Handler: h.handle})
		other.enqueue(0, "other", task(1))
		synctest.Wait()
		e.claimer.wantAlone(0, time.Now())
		other.enqueue(0, "other", task(2))
		synctest.Wait()
		require.Zero(t, h.starts(2), "claiming has stopped for a suspect")
		require.NoError(t, e.Stop(context.Background()))
		synctest.Wait()
		require.Equal(t, 1, h.starts(2))
		require.Len(t, b.claimers, 1)
		h.done(1, 2)
		l.await(2)
	})
}
