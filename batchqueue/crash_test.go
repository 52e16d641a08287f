package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// A process dies at one point of a task's life, and the others make good for it. To Redis
// and to the receiver of outcomes it is dead: nothing that it sends arrives any more. What
// its goroutines still do in this process reaches nobody.

// side is on which side of its point a process dies.
type side int

const (
	before side = iota // the script was not sent
	after              // the script ran, and its answer never came
)

func (s side) String() string { return [...]string{"before", "after"}[s] }

var errDead = errors.New("the process is dead")

// mortal is a process that dies at a point. Its client is a go-redis client with this hook.
type mortal struct {
	side    side
	at      func(redis.Cmder) bool // the point
	dies    chan struct{}          // closed when it dies
	mu      sync.Mutex
	reached bool // protected by mu
	armed   bool // protected by mu: the point counts from now on
	sent    int  // protected by mu: calls under way
	fewer   sync.Cond
}

func newMortal(s side, at func(redis.Cmder) bool) *mortal {
	m := &mortal{side: s, at: at, dies: make(chan struct{}), armed: true}
	m.fewer.L = &m.mu
	return m
}

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.reached {
		m.reached = true
		close(m.dies)
	}
}

func (m *mortal) arm(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = on
}

func (m *mortal) dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reached
}

// isPoint says whether one of the commands is where it dies.
func (m *mortal) isPoint(cmds []redis.Cmder) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.armed && m.at != nil && slices.ContainsFunc(cmds, m.at)
}

func (m *mortal) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *mortal) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return m.process([]redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

func (m *mortal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return m.process(cmds, func() error { return next(ctx, cmds) })
	}
}

// buried waits until Redis has done all that the dead one sent: it might still claim what
// comes now.
func (m *mortal) buried() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.sent > 0 {
		m.fewer.Wait()
	}
}

func (m *mortal) count(calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent += calls
	m.fewer.Broadcast()
}

func (m *mortal) process(cmds []redis.Cmder, send func() error) error {
	m.count(1)
	defer m.count(-1)
	if m.side == before && m.isPoint(cmds) {
		m.die()
	}
	if !m.dead() {
		err := send()
		if m.side == before || !m.isPoint(slices.DeleteFunc(slices.Clone(cmds), unknownScript)) {
			return err
		}
		m.die()
	}
	for _, c := range cmds {
		c.SetErr(errDead)
	}
	return errDead
}

// unknownScript: sent by digest first, it has not run yet. Others of the same pipeline may have.
func unknownScript(c redis.Cmder) bool {
	return c.Err() != nil && redis.HasErrorPrefix(c.Err(), "NOSCRIPT")
}

// gave tells calls of the script whose reply meets the condition.
func gave(s *script, condition func(reply any) bool) func(redis.Cmder) bool {
	return func(c redis.Cmder) bool {
		cmd, ok := c.(*redis.Cmd)
		return ok && runs(s)(c) && c.Err() == nil && condition(cmd.Val())
	}
}

// runs tells commands that run the script, and of settle those with the action.
func runs(s *script, action ...settleAction) func(redis.Cmder) bool {
	return func(c redis.Cmder) bool {
		args := c.Args()
		if len(args) < 2 || (args[1] != s.flagged.sha && args[1] != s.flagged.source) {
			return false
		}
		if len(action) == 0 {
			return true
		}
		// EVAL, text, the number of keys, two keys, what all claims share; then groups.
		for i := 5 + 4; i < len(args); {
			if slices.Contains(action, settleAction(args[i].(string)[0])) {
				return true
			}
			width := 8
			if args[i] == string(actionFinish) {
				width = 4
			}
			i += 8 + args[i+7].(int)*width
		}
		return false
	}
}

// accident is a place where one process, the mortal, does its work and dies, and another,
// the heir, comes after it.
type accident struct {
	*rig
	m      *mortal
	mortal *Queue // what the mortal sends goes through this

	book struct {
		sync.Mutex
		starts map[string]int // by task and step: handlers that started in a living process
		sent   map[string]int // by batch ID: how often the receiver was sent it
	}
	// before and after the receiver takes a batch that the mortal sends
	sends func(side)
	// how a handler of the mortal ends; nil completes
	handle func(ctx context.Context, d *Delivery) Result
}

func newAccident(t *testing.T, server *redistest.Server, m *mortal) *accident {
	r := &rig{T: t, server: server, rdb: server.Client(), pool: t.Name(), lease: shortLease, mail: make(map[string]map[uint64]Outcome)}
	r.q = r.queue(r.rdb, 1)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	rdb.AddHook(m)
	t.Cleanup(func() { _ = rdb.Close() })
	a := &accident{rig: r, m: m, mortal: r.queue(rdb, 1)}
	a.book.starts, a.book.sent = map[string]int{}, map[string]int{}
	return a
}

// receive counts how often a batch is sent.
func (a *accident) receive(ctx context.Context, b *Batch) error {
	a.book.Lock()
	a.book.sent[b.ID]++
	a.book.Unlock()
	return a.deliver(ctx, b)
}

func (a *accident) sendings() (most int) {
	a.book.Lock()
	defer a.book.Unlock()
	for _, n := range a.book.sent {
		most = max(most, n)
	}
	return most
}

func (a *accident) started(step int) int {
	a.book.Lock()
	defer a.book.Unlock()
	return a.book.starts[fmt.Sprint("1/", step)]
}

func (a *accident) starting(d *Delivery) {
	a.book.Lock()
	defer a.book.Unlock()
	a.book.starts[fmt.Sprint(d.Number, "/", d.Step)]++
}

// startMortal starts the executor that will die.
func (a *accident) startMortal(o ExecutorOptions) *Executor {
	a.Helper()
	o.ID = "mortal"
	if o.Types == nil {
		o.Types = []string{"A", "B"}
	}
	o.Handler = func(ctx context.Context, d *Delivery) Result {
		if !a.m.dead() {
			a.starting(d)
		}
		if a.handle != nil {
			return a.handle(ctx, d)
		}
		return echo(ctx, d)
	}
	o.Deliver = func(ctx context.Context, b *Batch) error {
		if a.sends != nil {
			a.sends(before)
		}
		if a.m.dead() {
			return errDead
		}
		err := a.receive(ctx, b)
		if a.sends != nil {
			a.sends(after)
		}
		if a.m.dead() {
			return errDead
		}
		return err
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = time.Millisecond
	}
	return a.rig.start(a.mortal, o)
}

// claimAs claims and starts the task as an executor that is not there any more.
func (a *accident) claimAs(executor string, lease time.Duration) *Delivery {
	a.Helper()
	r, err := a.q.claim(a.Context(), a.pool, 0, claimRequest{executor: executor, types: []string{"A"}, count: 1, bytes: 1 << 20,
		lease: lease, suspects: suspectBudgets{9, 9, 9}, outboxLimit: 1000})
	require.NoError(a, err)
	require.Len(a, r.deliveries, 1)
	a.starting(r.deliveries[0])
	return r.deliveries[0]
}

// startHeir starts the executor that makes good.
func (a *accident) startHeir() *Executor {
	a.Helper()
	return a.rig.start(a.q, ExecutorOptions{ID: "heir", Types: []string{"A", "B"}, Deliver: a.receive, Handler: func(ctx context.Context, d *Delivery) Result {
		a.starting(d)
		return echo(ctx, d)
	}})
}

func (a *accident) awaitDeath() {
	a.Helper()
	select {
	case <-a.m.dies:
		a.m.buried()
	case <-time.After(20 * time.Second):
		a.Fatal("the point was never reached")
	}
}

// wave is the one task that everything is about.
func (a *accident) wave(t Task) *Wave {
	return &Wave{Run: run, ID: 1, Tasks: []Task{t}, Common: []byte("common"), Slot: 0}
}

func (a *accident) put(w *Wave) Answer {
	a.Helper()
	out, err := a.q.Enqueue(a.Context(), a.pool, w)
	require.NoError(a, err)
	answer := out.Answers[0]
	require.NoError(a, answer.Err)
	if answer.State == AnswerDone { // the run has it by that
		require.NoError(a, a.deliver(a.Context(), &Batch{Run: run, Outcomes: []Outcome{*answer.Outcome}}))
	}
	return answer
}

// nothingLeft waits until the pool has neither work nor outcomes.
func (a *accident) nothingLeft() {
	a.Helper()
	a.eventually("nothing is left", func() bool {
		s, err := a.q.Stats(a.Context(), a.pool)
		require.NoError(a, err)
		return s.Depth()+s.InFlight()+s.Delayed+s.Outbox == 0
	})
	require.Empty(a, a.twice)
}

// want is what must come of the task: how often its first step started, the attempt and the
// kind of its outcome.
type want struct {
	starts, attempt int
	kind            Kind
}

// point is a place of a task's life where the process dies.
type point struct {
	name string
	at   func(redis.Cmder) bool
	side side
	// task changes the task; stage prepares the accident and brings the process to its
	// death. Without, a mortal executor is given the task.
	task  func(*Task)
	stage func(a *accident, t Task)
	// many is for a task with attempts to spare, once for one with MaximumAttempts 1.
	many, once want
	// check looks at what else must hold in the end.
	check func(a *accident)
}

var (
	fast = TaskOptions{Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond}}

	// A loss costs an attempt, and a task that has but one is never started again.
	lostBeforeStart = [2]want{{1, 2, KindCompleted}, {0, 1, KindStartToClose}}
	lostAfterStart  = [2]want{{2, 2, KindCompleted}, {1, 1, KindStartToClose}}
	unharmed        = [2]want{{1, 1, KindCompleted}, {1, 1, KindCompleted}}
)

// both makes a point on both sides of a script.
func both(name string, at func(redis.Cmder) bool, wants [2][2]want, change func(*point)) []point {
	out := make([]point, 2)
	for i, s := range []side{before, after} {
		out[i] = point{name: name, at: at, side: s, many: wants[i][0], once: wants[i][1]}
		if change != nil {
			change(&out[i])
		}
	}
	return out
}

// failsFirst makes the mortal's handler fail, so that a retry follows.
func failsFirst(a *accident, t Task) {
	a.handle = func(context.Context, *Delivery) Result { return Result{Kind: KindFailed} }
	byMortal(a, t)
}

// byMortal gives the task to an executor that dies.
func byMortal(a *accident, t Task) {
	a.ready(a.startMortal(ExecutorOptions{}))
	a.put(a.wave(t))
	a.awaitDeath()
	a.startHeir()
}

func crashPoints() (points []point) {
	add := func(ps ...point) { points = append(points, ps...) }

	add(both("enqueue", runs(enqueueScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			a.startHeir()
			out, err := a.mortal.Enqueue(a.Context(), a.pool, a.wave(t))
			require.NoError(a, err)
			require.Equal(a, AnswerUnsure, out.Answers[0].State)
			a.awaitDeath()
			a.put(a.wave(t)) // the next attempt of its workflow task asks the same
		}
	})...)
	add(both("claim", runs(claimScript), [2][2]want{unharmed, lostBeforeStart}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			a.m.arm(false) // claims that bring nothing
			e := a.startMortal(ExecutorOptions{})
			a.ready(e)
			// No claim that was sent before may take the task.
			var armed sync.WaitGroup
			for slot := range e.maxSlots() {
				armed.Add(1)
				e.claimer.exclusive(slot, func() {
					defer armed.Done()
					a.m.arm(true)
				})
			}
			armed.Wait()
			a.put(a.wave(t))
			a.awaitDeath()
			a.startHeir()
		}
		if p.side == after { // one that brings the task
			p.at = gave(claimScript, func(reply any) bool { return len(reply.([]any)[2].([]any)) > 0 })
		}
	})...)
	add(point{name: "handler", many: lostAfterStart[0], once: lostAfterStart[1], stage: func(a *accident, t Task) {
		a.handle = func(context.Context, *Delivery) Result { a.m.die(); return Result{Kind: KindFailed} }
		byMortal(a, t)
	}})
	add(both("settle: completed", runs(settleScript, actionFinish), [2][2]want{lostAfterStart, unharmed}, nil)...)
	add(both("settle: failed", runs(settleScript, actionRetry), [2][2]want{lostAfterStart, {{2, 2, KindCompleted}, {}}}, func(p *point) {
		p.stage, p.once = failsFirst, want{}
		p.task = func(t *Task) { t.Options.Retry.InitialInterval = time.Second } // the mortal shall not claim it in the moment in which it dies
	})...)
	add(both("settle: failed for good", runs(settleScript, actionFinish), [2][2]want{{{}, lostAfterStart[1]}, {{}, {1, 1, KindFailed}}}, func(p *point) {
		p.stage, p.many = failsFirst, want{}
	})...)
	add(both("settle: next step", runs(settleScript, actionAdvance), [2][2]want{lostAfterStart, unharmed}, func(p *point) {
		p.task = func(t *Task) { t.Then = []Step{{Type: "B", Options: t.Options}} }
		p.stage = func(a *accident, t Task) {
			// The mortal does not take the second step: it might claim it while it dies.
			a.ready(a.startMortal(ExecutorOptions{Types: []string{"A"}}))
			a.put(a.wave(t))
			a.awaitDeath()
			a.startHeir()
		}
		p.check = func(a *accident) {
			// The steps of a chain are attempts of their own.
			if o := a.delivered(run)[1]; o.Kind == KindCompleted {
				require.Equal(a, 1, a.started(1), "the second step")
			} else {
				require.Zero(a, a.started(1))
				require.Zero(a, o.Step)
			}
		}
		p.many.attempt = 1 // the second step's
	})...)
	add(both("retry is due", runs(dueScript), [2][2]want{{{2, 2, KindCompleted}, {}}, {{2, 2, KindCompleted}, {}}}, func(p *point) {
		p.once = want{}
		p.stage = func(a *accident, t Task) {
			// The mortal leads, and takes no tasks of this type: else it might claim it in
			// the moment in which it dies.
			a.m.arm(false)
			a.ready(a.startMortal(ExecutorOptions{Types: []string{"B"}}))
			a.put(a.wave(t))
			d := a.claimAs("first", time.Minute)
			replies, err := a.q.settle(a.Context(), a.pool, 0, []settlement{again(d, 300*time.Millisecond)})
			require.NoError(a, err)
			require.Equal(a, []settleReply{replySettled}, replies)
			a.m.arm(true)
			a.awaitDeath()
			a.startHeir()
		}
		if p.side == after { // the look that moves it
			p.at = gave(dueScript, func(reply any) bool { return number(reply) < 0 })
		}
	})...)
	add(both("reclaim", runs(settleScript, actionRetry), [2][2]want{lostAfterStart, lostAfterStart}, func(p *point) {
		if p.once.starts > 0 {
			p.at = runs(settleScript)
		}
		p.stage = func(a *accident, t Task) {
			// Somebody else held it and is gone; the mortal leads and takes no such tasks.
			a.put(a.wave(t))
			a.claimAs("gone", time.Millisecond)
			a.ready(a.startMortal(ExecutorOptions{Types: []string{"B"}}))
			a.awaitDeath()
			a.startHeir()
		}
	})...)
	add(both("batch is fixed", runs(batchesScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			a.m.arm(false)
			e := a.startMortal(ExecutorOptions{Observer: Observer{Returned: func(*Delivery, Result, time.Duration) { a.m.arm(true) }}})
			a.ready(e)
			a.put(a.wave(t))
			a.awaitDeath()
			a.startHeir()
		}
		if p.side == after { // the look that fixes it
			p.at = gave(batchesScript, func(reply any) bool { return len(reply.([]any)) > 1 })
		} else {
			// The outcome must be there.
			p.stage = func(a *accident, t Task) {
				a.m.arm(false)
				e := a.startMortal(ExecutorOptions{Observer: Observer{Settled: func(*Delivery, Outcome) { a.m.arm(true) }}})
				a.ready(e)
				w := a.wave(t)
				w.Window = 200 * time.Millisecond // so that nobody looks for it at once
				a.put(w)
				a.awaitDeath()
				a.startHeir()
			}
		}
	})...)
	for _, s := range []side{before, after} {
		add(point{name: "signal", side: s, many: unharmed[0], once: unharmed[1],
			stage: func(a *accident, t Task) {
				a.sends = func(now side) {
					if now == s {
						a.m.die()
					}
				}
				byMortal(a, t)
			},
			check: func(a *accident) {
				// Temporal drops the second one, because it has the same ID.
				require.Equal(a, 1+int(s), a.sendings())
			}})
	}
	add(both("acknowledgement", runs(ackedScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.check = func(a *accident) { require.Equal(a, 2-int(p.side), a.sendings()) }
	})...)
	add(both("window is closed", runs(takeScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			a.startHeir()
			w := a.wave(t)
			w.Window = time.Second
			if p.side == after {
				w.Window = time.Minute // it must not run out before
			}
			a.put(w)
			a.eventually("the outcome waits in the window", func() bool {
				s, err := a.q.Stats(a.Context(), a.pool)
				return err == nil && s.Outbox == 1 || p.side == before && len(a.delivered(run)) == 1
			})
			_, err := a.mortal.CloseWindow(a.Context(), a.pool, 0, run, 1, Room{1 << 20, true})
			require.ErrorIs(a, err, ErrUnavailable)
			a.awaitDeath()
			if p.side == after {
				// The next attempt of the workflow task gets what the dead one took.
				require.Equal(a, AnswerDone, a.put(a.wave(t)).State)
			}
		}
		p.check = func(a *accident) {
			require.Equal(a, 1-int(p.side), a.sendings(), "signalled only if it was not taken")
		}
	})...)
	add(both("ask", runs(takeScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			// A run that takes no signals.
			e := a.rig.start(a.q, ExecutorOptions{ID: "heir", Handler: func(ctx context.Context, d *Delivery) Result {
				a.starting(d)
				return echo(ctx, d)
			}, Types: []string{"A"}, Deliver: func(context.Context, *Batch) error { return ErrRunDeaf }})
			a.put(a.wave(t))
			a.eventually("nothing is pushed any more", func() bool {
				s, err := a.q.Stats(a.Context(), a.pool)
				return err == nil && s.Outbox == 1 && e.Stats().Undelivered >= 1
			})
			r := AskRequest{Run: run, Open: []Identity{{t.Number, t.Fingerprint}}, Room: Room{1 << 20, true}}
			var reply AskReply
			a.eventually("deaf", func() bool {
				return a.rdb.HExists(a.Context(), a.q.keys.slot(a.pool, 0)+suffixRun+encodeRun(run), "N").Val()
			})
			_, err := a.mortal.Ask(a.Context(), a.pool, 0, r)
			require.ErrorIs(a, err, ErrUnavailable)
			a.awaitDeath()
			reply, err = a.q.Ask(a.Context(), a.pool, 0, r)
			require.NoError(a, err)
			outcomes := reply.Taken
			if p.side == after {
				require.Equal(a, AnswerDone, reply.Answers[0].State)
				outcomes = []Outcome{*reply.Answers[0].Outcome}
			}
			require.NoError(a, a.deliver(a.Context(), &Batch{Run: run, Outcomes: outcomes}))
		}
	})...)
	add(both("release at stop", runs(settleScript, actionRelease), [2][2]want{{{2, 2, KindCompleted}, {}}, {{2, 1, KindCompleted}, {}}}, func(p *point) {
		p.once, p.stage = want{}, stopsAtWork
	})...)
	add(both("time-out at stop", runs(settleScript, actionFinish), [2][2]want{{{}, lostAfterStart[1]}, {{}, lostAfterStart[1]}}, func(p *point) {
		p.many, p.stage = want{}, stopsAtWork
	})...)
	add(both("slot is led", runs(homeScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			a.startMortal(ExecutorOptions{})
			a.awaitDeath()
			a.put(a.wave(t))
			a.startHeir()
		}
	})...)
	add(both("resignation", runs(resignScript), [2][2]want{unharmed, unharmed}, func(p *point) {
		p.stage = func(a *accident, t Task) {
			e := a.startMortal(ExecutorOptions{DrainTimeout: 10 * time.Second}) // nothing runs: it is for its words on the way out
			a.ready(e)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			require.NoError(a, e.Stop(ctx))
			a.awaitDeath()
			a.put(a.wave(t))
			a.startHeir()
		}
	})...)
	return points
}

// stopsAtWork stops the mortal while its handler runs.
func stopsAtWork(a *accident, t Task) {
	running := make(chan struct{})
	a.handle = func(ctx context.Context, _ *Delivery) Result {
		close(running)
		<-a.m.dies
		return Result{Kind: KindFailed}
	}
	e := a.startMortal(ExecutorOptions{})
	a.ready(e)
	a.put(a.wave(t))
	<-running
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- e.Stop(ctx)
	}()
	a.awaitDeath()
	a.startHeir()
	require.NoError(a, <-stopped)
}

// Whatever dies, and wherever: the run gets one outcome per task, a loss costs at most one
// attempt and nothing that is known is computed again, and a task that may be attempted once
// only is never started twice.
func TestCrashPoints(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, leaks)
	t.Run("all", func(t *testing.T) {
		server := redistest.Start(t)
		var wg sync.WaitGroup
		room := make(chan struct{}, 12) // they wait for leases, not for the processor
		for _, p := range crashPoints() {
			for name, w := range map[string]want{"many attempts": p.many, "one attempt": p.once} {
				if w == (want{}) {
					continue
				}
				room <- struct{}{}
				wg.Go(func() {
					defer func() { <-room }()
					t.Run(fmt.Sprintf("%v %s, %s", p.side, p.name, name), func(t *testing.T) { p.test(t, server, name == "one attempt", w) })
				})
			}
		}
		wg.Wait()
	})
}

func (p *point) test(t *testing.T, server *redistest.Server, onlyOne bool, w want) {
	a := newAccident(t, server, newMortal(p.side, p.at))
	x := with(1, fast)
	if onlyOne {
		x.Options.Retry.MaximumAttempts = 1
	}
	if p.task != nil {
		p.task(&x)
	}
	if p.stage != nil {
		p.stage(a, x)
	} else {
		byMortal(a, x)
	}
	require.True(t, a.m.dead(), "the point was reached")
	o := a.awaitOutcome(run, 1)
	a.nothingLeft()
	got := want{a.started(0), o.Attempt, o.Kind}
	require.Equal(t, w, got)
	if w.kind == KindCompleted {
		require.Equal(t, x.Payload, o.Payload)
	}
	if p.check != nil {
		p.check(a)
	}
}
