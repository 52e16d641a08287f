package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestTasksOfAllSlotsAreRunOnceAndDelivered(t *testing.T) {
	for name, rdb := range map[string]func(r *rig) redis.UniversalClient{
		"redis":     func(r *rig) redis.UniversalClient { return r.rdb },
		"miniredis": func(r *rig) redis.UniversalClient { return redistest.Mini(r) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4, longLease)
			r.q = r.queue(rdb(r), 4)
			var mu sync.Mutex
			started := make(map[string]int)
			var running, most atomic.Int64
			handler := func(ctx context.Context, d *Delivery) Result {
				if now := running.Add(1); now > most.Load() {
					most.Store(now)
				}
				defer running.Add(-1)
				mu.Lock()
				started[fmt.Sprintf("%s/%d", d.Run, d.Number)]++
				mu.Unlock()
				return echo(ctx, d)
			}
			a := r.start(r.q, ExecutorOptions{Handler: handler, Concurrency: 50})
			b := r.start(r.q, ExecutorOptions{Handler: handler, Concurrency: 50})
			for i := range 8 {
				r.enqueue(fmt.Sprintf("run-%d", i), tasks(300)...)
			}
			for i := range 8 {
				run := fmt.Sprintf("run-%d", i)
				r.awaitCount(run, 300)
				for n, o := range r.delivered(run) {
					require.Equal(t, KindCompleted, o.Kind)
					require.Equal(t, fmt.Sprintf("payload %d", n), string(o.Payload))
				}
			}
			require.Len(t, started, 2400)
			for name, n := range started {
				require.Equal(t, 1, n, name)
			}
			require.Empty(t, r.twice)
			// An outcome may be delivered before its executor has heard that it was recorded.
			r.eventually("all are settled", func() bool { return a.Stats().Settled+b.Stats().Settled >= 2400 })
			require.Equal(t, uint64(2400), a.Stats().Settled+b.Stats().Settled)
			require.LessOrEqual(t, most.Load(), int64(100))
		})
	}
}

// Executors are killed by cutting their connection: Redis sees the same as after SIGKILL,
// and the test sees what the dead still do.
func TestKilledExecutorOnRedis(t *testing.T) {
	r := newRig(t, 2, shortLease)
	ga, gb := newGate(), newGate()
	c := redistest.NewCable(t, r.server.Addr)
	cut := redis.NewClient(&redis.Options{Addr: c.Address(), MaxRetries: 1, DialerRetries: 1})
	t.Cleanup(func() { _ = cut.Close() })
	a := r.start(r.queue(cut, 2), ExecutorOptions{ID: "a", Handler: ga.handle, DrainTimeout: time.Millisecond})
	r.ready(a)
	r.enqueue("run-1", with(1, TaskOptions{Heartbeat: time.Minute, Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond}}), with(2, TaskOptions{Retry: once}))
	r.enqueue("run-2", with(3, TaskOptions{Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond}}))
	r.eventually("all run at a", func() bool { now, _ := ga.runs(); return now == 3 })
	ga.delivery(1).RecordHeartbeat([]byte("half way"))
	key := r.q.keys.slot(r.pool, ga.delivery(1).slot) + suffixHeartbeats
	r.eventually("details are in redis", func() bool { return r.rdb.HLen(t.Context(), key).Val() == 1 })
	b := r.start(r.q, ExecutorOptions{ID: "b", Handler: gb.handle})
	r.ready(a, b) // a may go on leading both slots

	c.Cut()
	took := r.eventually("they run at b", func() bool { return gb.starts(1) == 1 && gb.starts(3) == 1 })
	require.LessOrEqual(t, took, 8*time.Second, "no sweep has to come")
	require.Equal(t, 2, gb.delivery(1).Attempt)
	require.Equal(t, "half way", string(gb.delivery(1).Heartbeat))
	o := r.awaitOutcome("run-1", 2)
	require.Equal(t, KindStartToClose, o.Kind)
	require.Equal(t, RetryMaximumAttempts, o.Retry)

	ga.done(1) // the dead executor finishes, and says so when it can
	gb.done(1, 3)
	require.Equal(t, 2, r.awaitOutcome("run-1", 1).Attempt)
	require.Equal(t, 2, r.awaitOutcome("run-2", 3).Attempt)
	c.Mend()
	r.eventually("a knows that its claims are gone", func() bool { return a.Stats().Held == 0 })
	r.eventually("its handler knows too", func() bool { return ga.cause(3) != nil })
	require.ErrorIs(t, ga.cause(3), ErrLeaseLost)
	require.Empty(t, r.twice)
	require.Zero(t, gb.starts(2))
}

// Redis stands still for longer than a lease, or is killed and restarted: nobody's fault,
// so no attempt is lost and nothing runs twice.
func TestRedisStandsStill(t *testing.T) {
	for name, fault := range map[string]func(r *rig){
		"stopped": func(r *rig) {
			require.NoError(r, r.server.Signal(syscall.SIGSTOP))
			time.Sleep(3 * shortLease) //nolint:forbidigo // the leases have to end
			require.NoError(r, r.server.Signal(syscall.SIGCONT))
		},
		"restarted": func(r *rig) {
			r.server.Kill()
			time.Sleep(3 * shortLease) //nolint:forbidigo // the leases have to end
			r.server.Restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2, shortLease)
			g := newGate()
			a := r.start(r.q, ExecutorOptions{ID: "a", Handler: g.handle})
			b := r.start(r.q, ExecutorOptions{ID: "b", Handler: g.handle})
			r.ready(a, b)
			r.enqueue("run", tasks(20)...)
			r.eventually("all run", func() bool { now, _ := g.runs(); return now == 20 })
			fault(r)
			for n := range uint64(20) {
				g.done(n + 1)
			}
			r.awaitCount("run", 20)
			for n := range uint64(20) {
				require.Equal(t, 1, g.starts(n+1))
				require.Equal(t, 1, r.delivered("run")[n+1].Attempt)
			}
			require.Zero(t, a.Stats().Reclaimed+b.Stats().Reclaimed)
			r.enqueue("after", tasks(5)...)
			g.done(1, 2, 3, 4, 5)
			r.awaitCount("after", 5)
		})
	}
}

// Redis forgets everything. What ran is lost to it; what comes next works.
func TestWipedRedis(t *testing.T) {
	r := newRig(t, 1, shortLease)
	g := newGate()
	e := r.start(r.q, ExecutorOptions{Handler: g.handle})
	r.ready(e)
	r.enqueue("before", tasks(3)...)
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 3 })
	require.NoError(t, r.rdb.FlushAll(t.Context()).Err())
	g.done(1)
	r.eventually("the handlers are told", func() bool { return g.cause(2) != nil && g.cause(3) != nil && e.Stats().Held == 0 })
	require.ErrorIs(t, g.cause(2), ErrLeaseLost)
	r.enqueue("after", tasks(3)...)
	g.done(1, 2, 3)
	r.awaitCount("after", 3)
	require.Empty(t, r.delivered("before"))
}

func TestStopReleasesAtOnceOnRedis(t *testing.T) {
	r := newRig(t, 3, longLease)
	ga, gb := newGate(), newGate()
	a := r.start(r.q, ExecutorOptions{ID: "a", Handler: ga.handle, DrainTimeout: 50 * time.Millisecond})
	r.ready(a)
	r.enqueue("run", tasks(50)...)
	r.eventually("all run at a", func() bool { now, _ := ga.runs(); return now == 50 })
	b := r.start(r.q, ExecutorOptions{ID: "b", Handler: gb.handle})
	r.eventually("b is at home", func() bool { return len(b.Stats().Homes) == 3 })
	began := time.Now()
	r.stop(a)
	r.eventually("all run at b", func() bool { now, _ := gb.runs(); return now == 50 })
	require.Less(t, time.Since(began), longLease/2, "no lease has to end for it")
	require.Equal(t, 1, gb.delivery(1).Attempt)
	require.ErrorIs(t, ga.cause(1), ErrStopping)
	for n := range uint64(50) {
		gb.done(n + 1)
	}
	took := r.eventually("all are delivered", func() bool { return len(r.delivered("run")) == 50 })
	require.Less(t, took, longLease/2)
	keys, err := r.rdb.Keys(t.Context(), "*executor:a").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

// lossy is a go-redis hook that loses replies: the server has done what was asked.
type lossy struct {
	lose atomic.Pointer[func(redis.Cmder) bool]
}

func (l *lossy) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lossy) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (l *lossy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if lose := l.lose.Load(); lose != nil && err == nil && (*lose)(cmds[0]) {
			err = errors.New("the reply is lost")
			for _, c := range cmds {
				c.SetErr(err)
			}
		}
		return err
	}
}

func TestLostRepliesOnRedis(t *testing.T) {
	r := newRig(t, 1, longLease) // no claim is lost with its lease, however slow the machine
	hook := &lossy{}
	rdb := r.server.Client()
	rdb.AddHook(hook)
	g := newGate()
	e := r.start(r.queue(rdb, 1), ExecutorOptions{Handler: g.handle, Concurrency: 30})
	r.ready(e)
	var settles atomic.Int64
	lose := func(c redis.Cmder) bool {
		switch c.Args()[1] {
		case claimScript.flagged.sha: // not those that bring nothing: the executor also looks unasked
			reply, err := c.(*redis.Cmd).Slice()
			return err == nil && len(reply[2].([]any)) > 0
		case settleScript.flagged.sha:
			return settles.Add(1) <= 3
		}
		return false
	}
	hook.lose.Store(&lose)
	r.enqueue("run", tasks(20)...)
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 20 })
	require.Equal(t, uint64(20), e.Stats().Adopted)
	for n := range uint64(20) {
		g.done(n + 1)
	}
	r.awaitCount("run", 20)
	r.eventually("all is settled", func() bool { return e.Stats().Held == 0 })
	for n := range uint64(20) {
		require.Equal(t, 1, g.starts(n+1))
	}
	require.Empty(t, r.twice)
	require.Zero(t, e.Stats().Lost)
	hook.lose.Store(nil)
}

// go-redis sends again after a time-out, and the first time may have arrived.
func TestSettlementsThatAreSentTwiceCountOnce(t *testing.T) {
	r := newRig(t, 1, longLease)
	rdb := r.server.Client()
	rdb.AddHook(&stutter{})
	var settled, retried, lost atomic.Int64
	e := r.start(r.queue(rdb, 1), ExecutorOptions{
		Handler: func(_ context.Context, d *Delivery) Result {
			if d.Number%2 == 0 && d.Attempt == 1 {
				return Result{Kind: KindFailed}
			}
			return Result{Kind: KindCompleted}
		},
		Observer: Observer{
			Settled: func(*Delivery, Outcome) { settled.Add(1) },
			Retried: func(*Delivery, Outcome, time.Duration) { retried.Add(1) },
			Lost:    func(*Delivery) { lost.Add(1) },
		},
	})
	r.ready(e)
	r.enqueue("run", tasks(20)...)
	r.awaitCount("run", 20)
	r.eventually("all is settled", func() bool { return e.Stats().Held == 0 })
	require.Equal(t, []int64{20, 10, 0}, []int64{settled.Load(), retried.Load(), lost.Load()})
	require.Empty(t, r.twice)
}

// stutter is a go-redis hook that sends settlements twice.
type stutter struct{ lossy }

func (*stutter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := next(ctx, cmds); err != nil || cmds[0].Args()[1] != settleScript.flagged.sha {
			return err
		}
		return next(ctx, cmds)
	}
}

func TestRunningTaskIsCanceledPromptlyOnRedis(t *testing.T) {
	r := newRig(t, 2, longLease)
	g := newGate()
	e := r.start(r.q, ExecutorOptions{Handler: g.handle})
	r.ready(e)
	r.enqueue("run", tasks(2)...)
	r.eventually("both run", func() bool { now, _ := g.runs(); return now == 2 })
	d := g.delivery(1)
	require.NoError(t, r.q.Cancel(t.Context(), r.pool, d.slot, "run", []Identity{{d.Number, d.Fingerprint}}))
	took := r.eventually("its context ends", func() bool { return g.cause(1) != nil })
	require.Less(t, took, 6*time.Second, "no extension has to come")
	require.ErrorIs(t, g.cause(1), ErrCanceled)
	require.Equal(t, RetryCancelRequested, r.awaitOutcome("run", 1).Retry)
	require.NoError(t, g.cause(2))
	g.done(2)
	r.awaitOutcome("run", 2)
}

// A retry is due when it is due, whoever leads the slot.
func TestRetriesArePrompt(t *testing.T) {
	r := newRig(t, 4, longLease)
	var gaps sync.Map
	var last sync.Map
	handler := func(ctx context.Context, d *Delivery) Result {
		name := fmt.Sprint(d.Run, "/", d.Number)
		now := time.Now()
		if before, ok := last.Swap(name, now); ok {
			gaps.Store(fmt.Sprint(name, "/", d.Attempt), now.Sub(before.(time.Time)))
		}
		if d.Attempt < 4 {
			return Result{Kind: KindFailed}
		}
		return echo(ctx, d)
	}
	a := r.start(r.q, ExecutorOptions{Handler: handler})
	b := r.start(r.q, ExecutorOptions{Handler: handler})
	r.ready(a, b)
	policy := TaskOptions{Retry: RetryPolicy{InitialInterval: 50 * time.Millisecond, BackoffCoefficient: 1}}
	for i := range 8 {
		r.enqueue(fmt.Sprint("run", i), with(1, policy))
	}
	for i := range 8 {
		require.Equal(t, 4, r.awaitOutcome(fmt.Sprint("run", i), 1).Attempt)
	}
	gaps.Range(func(name, gap any) bool {
		require.GreaterOrEqual(t, gap, 50*time.Millisecond, name)
		require.Less(t, gap, longLease/2, name)
		return true
	})
}

func TestPausedPoolOnRedis(t *testing.T) {
	r := newRig(t, 1, longLease)
	e := r.start(r.q, ExecutorOptions{})
	r.ready(e)
	c, err := r.q.SetConfig(t.Context(), r.pool, PoolConfig{Slots: 1, Paused: true})
	require.NoError(t, err)
	r.eventually("paused", func() bool { return e.Stats().Permits == 0 })
	r.enqueue("run", task(1))
	c.Paused = false
	_, err = r.q.SetConfig(t.Context(), r.pool, c)
	require.NoError(t, err)
	took := r.eventually("runs", func() bool { return len(r.delivered("run")) == 1 })
	require.Less(t, took, 8*time.Second, "the bell, not the cache, brings it")
}

// The process that waits in a window hears when its wave is done, and takes it.
func TestInboxHearsOfAWaveInItsWindow(t *testing.T) {
	r := newRig(t, 1, longLease)
	inbox := r.q.NewInbox()
	require.NoError(t, inbox.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, inbox.Stop()) })
	g := newGate()
	r.ready(r.start(r.q, ExecutorOptions{Handler: g.handle}))
	channel := r.q.keys.inbox(inbox.ID())
	r.eventually("the inbox listens", func() bool { return r.rdb.PubSubNumSub(t.Context(), channel).Val()[channel] == 1 })

	run := "0190c2a4-5b1e-7c3a-9f00-00000000000f"
	want := inbox.Expect(run, []uint64{1, 2, 3})
	other := inbox.Expect(run, []uint64{3, 4})
	out, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: run, ID: 1, Tasks: tasks(3), Common: []byte("c"), Slot: -1, Window: 20 * time.Second, Inbox: inbox.ID()})
	require.NoError(t, err)
	g.done(1, 2)
	r.eventually("two are settled", func() bool {
		s, err := r.q.Stats(t.Context(), r.pool)
		return err == nil && s.Outbox == 2
	})
	select {
	case <-want.Done():
		t.Fatal("one is missing")
	default:
	}
	g.done(3)
	r.eventually("the wave is done", func() bool {
		select {
		case <-want.Done():
			return true
		default:
			return false
		}
	})
	got, err := r.q.CloseWindow(t.Context(), r.pool, out.Slot, run, 1, Room{1 << 20, true})
	require.NoError(t, err)
	require.Len(t, got, 3)
	other.Cancel()
	want.Cancel()
	require.Empty(t, inbox.expected)
	require.Empty(t, r.delivered(run), "nothing was pushed")
}

func TestExpectations(t *testing.T) {
	q, err := New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), Options{Namespace: "n"})
	require.NoError(t, err)
	i := q.NewInbox()
	isDone := func(e *Expectation) bool {
		select {
		case <-e.Done():
			return true
		default:
			return false
		}
	}
	require.True(t, isDone(i.Expect("run", nil)), "nothing to wait for")
	twice := i.Expect("run", []uint64{7, 7})
	both := i.Expect("run", []uint64{7, 8})
	i.heard("", true)
	i.heard("run", false)
	i.heard("run x,7", false)
	i.heard("other 7,8", false)
	require.False(t, isDone(twice))
	i.heard("run 7,9", false)
	require.True(t, isDone(twice))
	require.False(t, isDone(both))
	both.Arrived(8)
	both.Arrived(8)
	require.True(t, isDone(both))
	both.Cancel()
	left := i.Expect("run", []uint64{1})
	left.Cancel()
	left.Cancel()
	i.heard("run 1", false)
	require.False(t, isDone(left))
	require.Empty(t, i.expected)
	require.NoError(t, i.Stop())
}
