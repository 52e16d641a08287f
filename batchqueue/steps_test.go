package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// chain is a task of type A with steps of the given types behind it.
func chain(n uint64, types ...string) Task {
	t := task(n)
	for i, typ := range types {
		t.Then = append(t.Then, Step{
			Type: typ, Payload: fmt.Appendf(nil, "fixed %d", i+1),
			Options: TaskOptions{StartToClose: time.Duration(i+1) * time.Minute},
		})
	}
	return t
}

// claimOf claims the one task of a type that there is.
func (b *bench) claimOf(typ string) *Delivery {
	b.Helper()
	d := b.claimAs("e1", 10, typ)
	require.Len(b, d, 1)
	return d[0]
}

// outcome delivers the one outcome that is ready.
func (b *bench) outcome() Outcome {
	b.Helper()
	batches := b.batches()
	require.Len(b, batches, 1)
	require.Len(b, batches[0].Outcomes, 1)
	require.NoError(b, b.q.acked(b.ctx, batches[0]))
	return batches[0].Outcomes[0]
}

var conformanceOfSteps = []struct {
	name string
	test func(b *bench)
}{
	{"steps follow each other under one identity", func(b *bench) {
		t1 := chain(1, "B", "A")
		t1.Options.Retry.MaximumAttempts = 3
		b.enqueue(t1)
		require.Empty(b, b.claimAs("e1", 10, "B"), "the second step waits for the first")
		d := b.claimOf("A")
		require.Equal(b, 0, d.Step)
		require.False(b, d.Last())
		require.Nil(b, d.Fixed())
		require.Equal(b, "s", b.settle(again(d, 0)))
		b.allDue()
		d = b.claimOf("A")
		require.Equal(b, 2, d.Attempt)
		require.Equal(b, "s", b.settle(done(d)))
		require.Empty(b, b.batches(), "the run hears of the end only")
		require.Empty(b, b.claimAs("e1", 10, "A"))

		require.Equal(b, []AnswerState{AnswerQueued}, states(b.enqueue(t1)), "a repeated enqueue adds nothing")
		status, err := b.q.Status(b.ctx, b.pool, run, 1)
		require.NoError(b, err)
		require.Equal(b, "B", status.Type)
		require.Equal(b, StateWaiting, status.State)
		d = b.claimOf("B")
		require.Equal(b, Identity{1, 101}, Identity{d.Number, d.Fingerprint})
		require.Equal(b, 1, d.Step)
		require.Equal(b, "fixed 1", string(d.Fixed()))
		require.Equal(b, "result of payload 1", string(d.Payload))
		require.Equal(b, "common", string(d.Common))
		require.Equal(b, time.Minute, d.Options.StartToClose)
		require.Equal(b, 1, d.Attempt, "each step has its own attempts")
		require.Nil(b, d.LastFailure)
		require.Equal(b, "s", b.settle(done(d)))

		d = b.claimOf("A")
		require.Equal(b, 2, d.Step)
		require.True(b, d.Last())
		require.Equal(b, 2*time.Minute, d.Options.StartToClose)
		require.Equal(b, "s", b.settle(done(d)))
		o := b.outcome()
		require.Equal(b, Identity{1, 101}, Identity{o.Number, o.Fingerprint})
		require.Equal(b, KindCompleted, o.Kind)
		require.Equal(b, "result of result of result of payload 1", string(o.Payload))
		s := b.stats()
		require.Zero(b, s.Depth()+s.InFlight()+s.Outbox+s.OutboxBytes)
		require.EqualValues(b, 1, s.Enqueued)
		require.EqualValues(b, 1, s.Finished)
	}},
	{"a step that fails for good ends the task and is named", func(b *bench) {
		b.enqueue(chain(1, "B", "C"))
		b.settle(done(b.claimOf("A")))
		d := b.claimOf("B")
		require.Equal(b, "s", b.settle(again(d, 0)))
		b.allDue()
		d = b.claimOf("B")
		require.Equal(b, 1, d.Step)
		require.Equal(b, 2, d.Attempt)
		require.Equal(b, "why", string(d.LastFailure))
		require.Equal(b, "s", b.settle(settlementOf(d, verdict{kind: KindFailed}, KindFailed, []byte("boom"), nil, "e1")))
		o := b.outcome()
		require.Equal(b, KindFailed, o.Kind)
		require.Equal(b, 1, o.Step)
		require.Equal(b, 2, o.Attempt)
		require.Equal(b, "boom", string(o.Payload))
		require.Empty(b, b.claimAs("e1", 10, "A", "B", "C"))
		status, err := b.q.Status(b.ctx, b.pool, run, 1)
		require.NoError(b, err)
		require.Equal(b, KindFailed, status.Kind)
		require.Equal(b, "B", status.Type)
	}},
	{"a step that is sent on again changes nothing and answers the same while the next is there", func(b *bench) {
		b.enqueue(chain(1, "B"))
		first := done(b.claimOf("A"))
		require.Equal(b, "s", b.settle(first))
		require.Equal(b, "s", b.settle(first), "while the next waits")
		second := done(b.claimOf("B"))
		require.Equal(b, "s", b.settle(first), "while it runs")
		require.Equal(b, "s", b.settle(second))
		require.Equal(b, "l", b.settle(first), "nothing is left that says whose doing it was")
		require.Empty(b, b.claimAs("e1", 10, "A", "B"))
		require.Equal(b, KindCompleted, b.outcome().Kind)
	}},
	{"a step whose claim was lost does not go on twice", func(b *bench) {
		b.enqueue(chain(1, "B"))
		late := done(b.claimOf("A"))
		lost := release(late.d)
		lost.lostBy = "e1"
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "e1", 0))
		require.Equal(b, "s", b.settle(lost))
		require.Equal(b, "l", b.settle(late), "it waits to run again")
		d := b.claimAs("e2", 10, "A")[0]
		require.Equal(b, 0, d.Step)
		require.Equal(b, "l", b.settle(late), "it runs again")
		require.Empty(b, b.claimAs("e1", 10, "B"))
		require.Equal(b, "s", b.settle(done(d)))
		d = b.claimOf("B")
		require.Equal(b, "result of payload 1", string(d.Payload))
		lost = release(d)
		lost.lostBy = "e1"
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "e1", 0))
		require.Equal(b, "s", b.settle(lost))
		d = b.claimOf("B")
		require.Equal(b, 1, d.Step, "a step that comes again is the same step")
		require.Equal(b, "result of payload 1", string(d.Payload))
	}},
	{"a cancel while a step runs keeps the next from starting", func(b *bench) {
		b.enqueue(chain(1, "B"))
		d := b.claimOf("A")
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Equal(b, "c", b.settle(done(d)))
		require.Equal(b, "c", b.settle(done(d)), "also when it is sent again")
		require.Empty(b, b.claimAs("e1", 10, "B"))
		o := b.outcome()
		require.Equal(b, KindCanceled, o.Kind)
		require.Equal(b, 1, o.Step)
		require.Zero(b, o.Attempt)
		require.Equal(b, RetryUnspecified, o.Retry, "it was not enqueued: no cancel met it")
	}},
	{"a cancel between two steps", func(b *bench) {
		b.enqueue(chain(1, "B"))
		b.settle(done(b.claimOf("A")))
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Empty(b, b.claimAs("e1", 10, "B"))
		o := b.outcome()
		require.Equal(b, KindCanceled, o.Kind)
		require.Equal(b, RetryCancelRequested, o.Retry)
		require.Equal(b, 1, o.Step)
		require.Zero(b, o.Attempt)
	}},
	{"a cancel between two attempts of a step", func(b *bench) {
		b.enqueue(chain(1, slices.Repeat([]string{"B"}, 200)...))
		b.settle(done(b.claimOf("A")))
		for range 150 {
			b.settle(done(b.claimOf("B")))
		}
		b.settle(again(b.claimOf("B"), time.Hour))
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		o := b.outcome()
		require.Equal(b, KindCanceled, o.Kind)
		require.Equal(b, 151, o.Step)
		require.Equal(b, RetryCancelRequested, o.Retry)
		status, err := b.q.Status(b.ctx, b.pool, run, 1)
		require.NoError(b, err)
		require.Equal(b, KindCanceled, status.Kind)
	}},
	{"another fingerprint supersedes a task in any step", func(b *bench) {
		other := chain(1, "C")
		other.Fingerprint = 999
		b.enqueue(chain(1, "B"))
		d := b.claimOf("A")
		b.enqueue(other)
		require.Equal(b, "d", b.settle(done(d)))
		require.Empty(b, b.claimAs("e1", 10, "B"))
		b.settle(done(b.claimOf("A")))
		require.EqualValues(b, 999, b.claimOf("C").Fingerprint)
		b.enqueue(chain(1, "B"))
		b.settle(done(b.claimOf("A")))
		b.settle(done(b.claimOf("B")))
		require.EqualValues(b, 101, b.outcome().Fingerprint)
	}},
	{"each step has its own deadlines", func(b *bench) {
		t1 := chain(1, "B", "C")
		t1.Options.ScheduleToClose = time.Hour
		t1.Then[0].Options.ScheduleToStart = 20 * time.Millisecond
		b.enqueue(t1)
		b.settle(done(b.claimOf("A")))
		require.Equal(b, []string{"w0"}, b.dueSet())
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		o := b.outcome()
		require.Equal(b, KindScheduleToStart, o.Kind)
		require.Equal(b, 1, o.Step)
		require.Equal(b, RetryTimeout, o.Retry)
		require.Empty(b, b.claimAs("e1", 10, "B"))
		status, err := b.q.Status(b.ctx, b.pool, run, 1)
		require.NoError(b, err)
		require.Equal(b, KindScheduleToStart, status.Kind)
		require.Empty(b, b.dueSet())

		closing := chain(2, "B")
		closing.Then[0].Options.ScheduleToClose = 20 * time.Millisecond
		b.enqueue(closing)
		b.settle(done(b.claimOf("A")))
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		o = b.outcome()
		require.Equal(b, KindScheduleToClose, o.Kind)
		require.Equal(b, 1, o.Step)
	}},
	{"a step of an abandoned run is parked where it is, and goes on when the run asks", func(b *bench) {
		b.enqueue(chain(1, "B"), chain(2, "B"))
		d := b.claim(2)
		b.settle(done(d[0]))
		require.NoError(b, b.q.abandon(b.ctx, &Batch{Pool: b.pool, Run: run}))
		require.Equal(b, "s", b.settle(done(d[1])))
		require.Empty(b, b.claimAs("e1", 10, "A", "B"))
		for _, a := range b.ask(chain(1), chain(2)).Answers {
			require.Equal(b, AnswerQueued, a.State)
		}
		require.Empty(b, b.claimAs("e1", 10, "A"), "the first steps are done")
		back := b.claimAs("e1", 10, "B")
		require.ElementsMatch(b, []uint64{1, 2}, numbers(back))
		for _, d := range back {
			require.Equal(b, fmt.Sprintf("result of payload %d", d.Number), string(d.Payload))
			require.Equal(b, "s", b.settle(done(d)))
		}
		require.Len(b, b.batches()[0].Outcomes, 2)
	}},
	{"a window hands the end over, however many steps it took", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{chain(1, "B")}, Window: time.Minute})
		b.settle(done(b.claimOf("A")))
		b.settle(done(b.claimOf("B")))
		require.Empty(b, b.batches())
		require.Equal(b, []uint64{1}, outcomeNumbers(b.close(1)))
	}},
	{"a dead letter is redriven in its step", func(b *bench) {
		b.enqueue(chain(1, "B"))
		b.settle(done(b.claimOf("A")))
		d := b.claimOf("B")
		b.settle(settlementOf(d, verdict{kind: KindPoison}, KindPoison, nil, nil, "e1"))
		o := b.outcome()
		require.Equal(b, KindPoison, o.Kind)
		require.Equal(b, 1, o.Step)
		letters, err := b.q.DeadLetters(b.ctx, b.pool, 0, "", 10)
		require.NoError(b, err)
		require.Len(b, letters, 1)
		require.Equal(b, "B", letters[0].Type)
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, letters[0].ID))
		d = b.claimOf("B")
		require.Equal(b, 1, d.Step)
		require.Equal(b, "result of payload 1", string(d.Payload))
	}},
	{"a task that cannot be decoded fails in its step", func(b *bench) {
		b.enqueue(chain(1, "B"))
		b.settle(done(b.claimOf("A")))
		record := b.q.keys.slot(b.pool, 0) + suffixRun + encodeRun(run)
		for field := range b.rdb.HGetAll(b.ctx, record).Val() {
			if field[0] == 'w' {
				require.NoError(b, b.rdb.HSet(b.ctx, record, field, "\x01junk").Err())
			}
		}
		require.Empty(b, b.claimAs("e1", 1, "B"))
		o := b.outcome()
		require.Equal(b, KindPoison, o.Kind)
		require.Equal(b, 1, o.Step)
	}},
	{"steps ring for others where the home executors have too few permits", func(b *bench) {
		bell := b.rdb.Subscribe(b.ctx, b.q.keys.poolBell(b.pool))
		defer func() { _ = bell.Close() }()
		_, err := bell.Receive(b.ctx)
		require.NoError(b, err)
		_, err = b.q.home(b.ctx, b.pool, []homeSlot{{slot: 0}}, "home", 2, time.Minute)
		require.NoError(b, err)
		b.enqueue(chain(1, "B"), chain(2, "B"))
		b.enqueue(chain(3, "B"))
		rung := func() int {
			b.Helper()
			require.NoError(b, b.rdb.Publish(b.ctx, b.q.keys.poolBell(b.pool), "end").Err())
			for n := 0; ; n++ {
				m, err := bell.ReceiveMessage(b.ctx)
				require.NoError(b, err)
				if m.Payload == "end" {
					return n
				}
				require.Equal(b, "0", m.Payload)
			}
		}
		require.Equal(b, 1, rung())
		d := b.claim(3)
		b.settle(done(d[0]), done(d[1]))
		require.Zero(b, rung(), "two permits for two steps")
		b.settle(done(d[2]))
		require.Equal(b, 1, rung())
	}},
	{"tasks with and without steps share a wave, and leave nothing", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 40; n++ {
			if n%2 == 0 {
				tasks = append(tasks, chain(n, "A", "A"))
			} else {
				tasks = append(tasks, task(n))
			}
		}
		b.enqueue(tasks...)
		keys := func() []string {
			return b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+"*").Val()
		}
		fields := b.rdb.HLen(b.ctx, keys()[0]).Val()
		started := 0
		for ds := b.claim(100); len(ds) > 0; ds = b.claim(100) {
			for _, d := range ds {
				started++
				require.Equal(b, "s", b.settle(done(d)))
			}
		}
		require.Equal(b, 20+20*3, started)
		require.Equal(b, fields, b.rdb.HLen(b.ctx, keys()[0]).Val(), "steps add nothing to the record")
		b.ack()
		require.Positive(b, b.rdb.PTTL(b.ctx, keys()[0]).Val())
		require.Zero(b, b.stats().Outbox)
	}},
	{"bad steps are refused before anything is sent", func(b *bench) {
		for _, bad := range []Task{chain(1, ""), {Number: 1, Type: "A", Then: slices.Repeat([]Step{{Type: "A"}}, MaxSteps+1)},
			{Number: 1, Type: "A", Then: slices.Repeat([]Step{{Type: "A", Payload: make([]byte, MaxTaskBytes/2)}}, 3)}} {
			_, err := b.q.Enqueue(b.ctx, b.pool, &Wave{Run: run, Tasks: []Task{bad}})
			require.ErrorIs(b, err, ErrInvalid)
		}
	}},
}

// One script brings few tasks where each has large steps of its own, and many where they
// have them in common.
func TestChunksAreBoundedByStepsToo(t *testing.T) {
	steps := func(n int) []Step { return []Step{{Type: "B", Payload: make([]byte, n)}} }
	var shared, own Wave
	for i, then := range slices.Repeat([][]Step{steps(chunkBytes / 4)}, 20) {
		shared.Tasks = append(shared.Tasks, Task{Number: uint64(i + 1), Type: "A", Then: then})
		own.Tasks = append(own.Tasks, Task{Number: uint64(i + 1), Type: "A", Then: steps(chunkBytes/4 + i)})
	}
	to, _ := shared.chunk(0)
	require.Equal(t, 20, to)
	to, bytes := own.chunk(0)
	require.Equal(t, 3, to)
	require.Less(t, bytes, chunkBytes)
	own.Tasks[0].Then, own.Tasks[1].Then = []Step{}, nil
	to, _ = own.chunk(0)
	require.Equal(t, 5, to)
}

// Executors take a task through its steps: those that handle a step's type, whoever they
// are, and without waiting for anybody to look again.
func TestStepsRunWhereTheirTypesAreHandled(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		handler := func(_ context.Context, d *Delivery) Result {
			return Result{Kind: KindCompleted, Payload: fmt.Appendf(nil, "%s>%s%d", d.Payload, d.Type, d.Step)}
		}
		l.start(ExecutorOptions{ID: "a", Types: []string{"A"}, Handler: handler, Concurrency: 2})
		l.start(ExecutorOptions{ID: "b", Types: []string{"B"}, Handler: handler, Concurrency: 2})
		var ts []Task
		for n := range uint64(20) {
			ts = append(ts, chain(n+1, "B", "A", "A"))
		}
		l.enqueue(3, "run", ts...)
		took := l.until(time.Hour, "all ended", func() bool { return l.book.size() == len(ts) })
		require.Less(t, took, time.Second, "nobody had to look on spec")
		for _, task := range ts {
			o := l.one("run", task.Number)
			require.Equal(t, KindCompleted, o.Kind)
			require.Equal(t, fmt.Sprintf("payload %d>A0>B1>A2>A3", task.Number), string(o.Payload))
		}
	})
}

func TestStepsOnRedis(t *testing.T) {
	r := newRig(t, 2, longLease)
	a := r.start(r.q, ExecutorOptions{Types: []string{"A", "B", "C"}, Concurrency: 10})
	var ts []Task
	for n := range uint64(200) {
		ts = append(ts, chain(n+1, "B", "C"))
	}
	r.enqueue("run-1", ts...)
	r.awaitCount("run-1", len(ts))
	for n, o := range r.delivered("run-1") {
		require.Equal(t, KindCompleted, o.Kind)
		require.Equal(t, fmt.Sprintf("payload %d", n), string(o.Payload))
	}
	require.Empty(t, r.twice)
	r.eventually("all are counted", func() bool { s := a.Stats(); return s.Settled == uint64(len(ts)) && s.Advanced == 2*s.Settled })
}
