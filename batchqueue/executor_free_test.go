package batchqueue

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFreeCountsPermitsThatNoTaskWaitsFor(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		g := newGate()
		name := task(1).Type
		e := l.startCold(ExecutorOptions{Concurrency: 3, Handler: g.handle, Types: []string{name}})
		require.Zero(t, e.Free(name), "it claims nothing yet")
		synctest.Wait()
		require.Equal(t, 3, e.Free(name))
		require.Zero(t, e.Free("another"))

		l.enqueue(0, "run", task(1), task(2))
		synctest.Wait()
		require.Equal(t, 1, e.Free(name))
		l.enqueue(0, "run", task(3), task(4), task(5))
		synctest.Wait()
		require.Zero(t, e.Free(name))
		g.done(1)
		synctest.Wait()
		require.Zero(t, e.Free(name), "a task waited for that permit")
		g.done(2, 3, 4, 5)
		l.await(5)
		require.Equal(t, 3, e.Free(name))
	})
}

// A permit that is free for a moment is no room while other tasks wait for it.
func TestNothingIsFreeWhileTasksAreLeftBehind(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = 10 * time.Millisecond
		g := newGate()
		name := task(1).Type
		e := l.start(ExecutorOptions{Concurrency: 2, Handler: g.handle, Types: []string{name}})
		l.enqueue(0, "run", tasks(6)...)
		l.until(time.Minute, "two run", func() bool { return g.starts(1)+g.starts(2) == 2 })
		g.done(1, 2)
		synctest.Wait()
		require.Zero(t, e.Stats().Running)
		require.Zero(t, e.Free(name))
		g.done(3, 4, 5, 6)
		l.await(6)
		l.until(time.Minute, "room", func() bool { return e.Free(name) == 2 })
	})
}

func TestNothingIsFreeWhileNothingIsClaimed(t *testing.T) {
	name := task(1).Type
	for what, stop := range map[string]func(*lab){
		"paused":      func(l *lab) { l.conf.Paused = true },
		"outbox full": func(l *lab) { l.conf.OutboxLimit = 1 },
		"rate":        func(l *lab) { l.conf.RatePerSecond = 0.001 },
	} {
		t.Run(what, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				stop(l)
				away := true
				l.book.answer = func(*Batch) error {
					if away {
						return errors.New("nobody takes it")
					}
					return nil
				}
				e := l.start(ExecutorOptions{Types: []string{name}})
				for _, one := range tasks(3) { // together they might be claimed before there is an outcome
					l.enqueue(0, "run", one)
					l.pass(2 * time.Second)
				}
				require.Zero(t, e.Free(name))
				away = false
			})
		})
	}
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.conf.Draining = true
		e := l.start(ExecutorOptions{Types: []string{name}})
		l.enqueue(0, "run", tasks(3)...)
		l.await(3)
		require.Zero(t, e.Free(name), "a draining pool runs what it has and takes no more")
	})
	inLab(t, 1, func(t *testing.T, l *lab) {
		e := l.start(ExecutorOptions{Types: []string{name}})
		l.pass(time.Second)
		require.Positive(t, e.Free(name))
		l.stop(e)
		require.Zero(t, e.Free(name), "stopped")
	})
}
