package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestModel interleaves dispatches, two executors, two Deliverers, windows, asks,
// cancels, lost executors and passing time at every script boundary, at random, and
// checks after each step that every outcome is in one place, and at the end that every
// task had exactly one. The run has tasks in two pools, with the same numbers, which have
// nothing to do with each other. Time is the server's and is moved by the test.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.server.Close()
		actions := map[string]func(*rapid.T){}
		for _, m := range w.pools {
			for name, act := range rapid.StateMachineActions(m) {
				if name != "" {
					actions[m.pool+" "+name] = func(t *rapid.T) { w.acted = m; act(t) }
				}
			}
		}
		actions[""] = func(t *rapid.T) {
			if w.acted != nil {
				w.acted.Check(t) // the other one in the end: it may not know of this one at all
			}
		}
		t.Repeat(actions)
		for _, m := range w.pools {
			m.drain()
		}
		w.server.FastForward(time.Hour)
		for _, m := range w.pools {
			m.checkNothingLeft()
		}
	})
}

// world is what the pools of the model share.
type world struct {
	server *miniredis.Miniredis
	now    time.Time
	pools  []*model
	acted  *model // the last one that did something
}

func newWorld(t *rapid.T) *world {
	w := &world{server: miniredis.NewMiniRedis(), now: time.UnixMilli(1_800_000_000_000)}
	require.NoError(t, w.server.Start())
	w.server.SetTime(w.now)
	rdb := redis.NewClient(&redis.Options{Addr: w.server.Addr()})
	q, err := New(rdb, Options{Namespace: "model", Slots: 1})
	require.NoError(t, err)
	for _, pool := range []string{"p", "q"} {
		w.pools = append(w.pools, newModel(t, w, q, pool))
	}
	return w
}

// pass lets time pass, for all pools: their leaders do what is due.
func (w *world) pass(t require.TestingT, d time.Duration) {
	w.now = w.now.Add(d)
	w.server.SetTime(w.now)
	w.server.FastForward(d)
	for _, m := range w.pools {
		m.due(t)
	}
}

// model is what the test believes. A task is known by number and fingerprint.
type model struct {
	*world

	t    *rapid.T
	pool string
	q    *Queue
	ctx  context.Context

	next    uint64
	current map[uint64]uint64      // number -> fingerprint that the run wants
	ended   map[Identity]int       // outcomes the run got, and how often
	started map[Identity]int       // claims that were not released
	windows map[uint64]time.Time   // wave -> when its token expires
	held    map[string][]*Delivery // executor -> claims it believes to hold
	sent    *Batch                 // a batch under way
	over    []*Batch               // batches that are over: acknowledged, or lost with their run
	waits   map[Identity]waits     // of tasks that were not claimed yet, or of their steps
	tasks   map[Identity]Task
	reached map[Identity]int // the step that a task is in
	gone    bool             // the run is abandoned
}

// waits is until when a task may wait; zero is for ever.
type waits struct{ start, close time.Time }

func newModel(t *rapid.T, w *world, q *Queue, pool string) *model {
	return &model{world: w, t: t, pool: pool, q: q, ctx: context.Background(),
		current: map[uint64]uint64{}, ended: map[Identity]int{}, started: map[Identity]int{},
		windows: map[uint64]time.Time{}, held: map[string][]*Delivery{}, waits: map[Identity]waits{},
		tasks: map[Identity]Task{}, reached: map[Identity]int{}}
}

func (m *model) got(os []Outcome) {
	for _, o := range os {
		m.ended[Identity{o.Number, o.Fingerprint}]++
	}
}

// Enqueue dispatches a new wave, or an old number with another fingerprint.
func (m *model) Enqueue(t *rapid.T) {
	w := Wave{Run: run, Slot: 0, Common: []byte("c")}
	limited := func(n, fingerprint uint64) Task {
		x := task(n)
		x.Fingerprint = fingerprint
		limits := func() (o TaskOptions) {
			o.ScheduleToStart = time.Duration(rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "to start")) * time.Second
			o.ScheduleToClose = time.Duration(rapid.SampledFrom([]int{0, 0, 2, 9}).Draw(t, "to close")) * time.Second
			return o
		}
		x.Options = limits()
		for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "steps") {
			x.Then = append(x.Then, Step{Type: rapid.SampledFrom([]string{"A", "B"}).Draw(t, "type"), Options: limits()})
		}
		return x
	}
	if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
		m.next += 30 // into another chunk of the table
	}
	for range rapid.IntRange(1, 5).Draw(t, "tasks") {
		m.next++
		w.Tasks = append(w.Tasks, limited(m.next, 100+m.next))
	}
	if m.next > 5 && rapid.IntRange(0, 4).Draw(t, "supersede") == 0 {
		n := rapid.Uint64Range(1, m.next-5).Draw(t, "old number")
		// A run never asks another question under a number whose outcome it has.
		if f := m.current[n]; f != 0 && m.ended[Identity{n, f}] == 0 {
			w.Tasks = append(w.Tasks, limited(n, f+1000))
		}
	}
	w.ID = w.Tasks[0].Number
	if rapid.Bool().Draw(t, "watermark") {
		w.HeldBelow = w.ID
		for n, f := range m.current {
			if m.ended[Identity{n, f}] == 0 {
				w.HeldBelow = min(w.HeldBelow, n)
			}
		}
	}
	if rapid.Bool().Draw(t, "window") {
		w.Window = time.Second
		m.windows[w.ID] = m.now.Add(2 * time.Second)
	}
	for range rapid.IntRange(1, 2).Draw(t, "times sent") {
		out, err := m.q.Enqueue(m.ctx, m.pool, &w)
		require.NoError(t, err)
		for _, a := range out.Answers {
			require.NoError(t, a.Err)
			require.Equal(t, AnswerQueued, a.State)
		}
	}
	m.gone = false
	for _, task := range w.Tasks {
		id := Identity{task.Number, task.Fingerprint}
		m.current[task.Number] = task.Fingerprint
		m.tasks[id] = task
		m.wait(id, task.Options)
	}
}

// wait notes how long a task that begins to wait now may do so.
func (m *model) wait(id Identity, o TaskOptions) {
	var w waits
	if d := o.ScheduleToStart; d > 0 && !m.gone {
		w.start = m.now.Add(d)
	}
	if d := o.ScheduleToClose; d > 0 {
		w.close = m.now.Add(d)
	}
	m.waits[id] = w
}

func (m *model) Claim(t *rapid.T) {
	executor := rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "executor")
	r, err := m.q.claim(m.ctx, m.pool, 0, claimRequest{executor: executor, types: []string{"A", "B"}, count: rapid.IntRange(1, 4).Draw(t, "count"),
		bytes: 1 << 20, lease: 5 * time.Second, suspects: suspectBudgets{9, 9, 9}, outboxLimit: 1000})
	require.NoError(t, err)
	for _, d := range r.deliveries {
		id := Identity{d.Number, d.Fingerprint}
		require.Zero(t, m.ended[id], "task %v runs although its outcome is out", id)
		m.checkStep(d)
		m.started[id]++
		delete(m.waits, id)
	}
	m.held[executor] = append(m.held[executor], r.deliveries...)
}

// Settle ends one claim that an executor believes to hold, in any way.
func (m *model) Settle(t *rapid.T) {
	executor := rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "executor")
	if len(m.held[executor]) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.held[executor])-1).Draw(t, "which")
	d := m.held[executor][i]
	m.held[executor] = slices.Delete(m.held[executor], i, i+1)
	s := done(d)
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		s = again(d, time.Duration(rapid.IntRange(0, 3000).Draw(t, "delay"))*time.Millisecond)
	case 1:
		s = release(d)
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "times sent") {
		m.settle(s, i > 0)
	}
}

// settle settles, and follows the task to its next step.
func (m *model) settle(s settlement, repeated bool) {
	replies, err := m.q.settle(m.ctx, m.pool, 0, []settlement{s})
	require.NoError(m.t, err)
	if id := (Identity{s.d.Number, s.d.Fingerprint}); s.action == actionAdvance && replies[0] == replySettled && !repeated {
		require.Equal(m.t, s.d.Step, m.reached[id], "task %v went on from a step that it has left", id)
		m.reached[id]++
		m.wait(id, s.d.Then[s.d.Step].Options)
	}
}

// checkStep holds what was claimed to the step that the task has reached.
func (m *model) checkStep(d *Delivery) {
	id := Identity{d.Number, d.Fingerprint}
	task := m.tasks[id]
	require.Equal(m.t, m.reached[id], d.Step, "task %v", id)
	want := Delivery{Type: task.Type, Options: task.Options}
	if d.Step > 0 {
		want.Type, want.Options = task.Then[d.Step-1].Type, task.Then[d.Step-1].Options
	}
	require.Equal(m.t, want.Type, d.Type)
	require.Equal(m.t, want.Options, d.Options)
	require.Equal(m.t, strings.Repeat("result of ", d.Step)+string(task.Payload), string(d.Payload))
}

// Reclaim lets an executor's lease end and settles what it held as lost. The executor
// does not know: it may settle its claims later.
func (m *model) Reclaim(t *rapid.T) {
	executor := rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "executor")
	require.NoError(t, m.q.dropLease(m.ctx, m.pool, executor, 0))
	page, err := m.q.lost(m.ctx, m.pool, 0, 3)
	require.NoError(t, err)
	for _, c := range page.claims {
		s := again(c.delivery, time.Second)
		s.lostBy, s.losses = c.executor, c.delivery.losses+1
		_, err := m.q.settle(m.ctx, m.pool, 0, []settlement{s})
		require.NoError(t, err)
	}
}

func (m *model) CloseWindow(t *rapid.T) {
	if len(m.windows) == 0 {
		return
	}
	var waves []uint64
	for w := range m.windows {
		waves = append(waves, w)
	}
	slices.Sort(waves)
	w := rapid.SampledFrom(waves).Draw(t, "wave")
	os, err := m.q.CloseWindow(m.ctx, m.pool, 0, run, w, Room{1 << 19, true})
	require.NoError(t, err)
	again, err := m.q.CloseWindow(m.ctx, m.pool, 0, run, w, Room{1 << 19, true})
	require.NoError(t, err)
	require.Equal(t, os, again)
	m.got(os)
	delete(m.windows, w)
}

func (m *model) Ask(t *rapid.T) {
	r := AskRequest{Run: run, Room: Room{1 << 19, true}}
	for n, f := range m.current {
		if m.ended[Identity{n, f}] == 0 {
			r.Open = append(r.Open, Identity{n, f})
		}
	}
	slices.SortFunc(r.Open, func(a, b Identity) int { return int(a.Number) - int(b.Number) })
	reply, err := m.q.Ask(m.ctx, m.pool, 0, r)
	require.NoError(t, err)
	m.gone = false
	m.got(reply.Taken)
	for i, a := range reply.Answers {
		if a.State == AnswerNotHere {
			require.Equal(t, 1, m.inBatch(r.Open[i]), "open task %v is lost", r.Open[i])
		}
	}
}

// inBatch is 1 if the batch under way carries the task.
func (m *model) inBatch(id Identity) int {
	if m.sent != nil {
		for _, o := range m.sent.Outcomes {
			if (Identity{o.Number, o.Fingerprint}) == id {
				return 1
			}
		}
	}
	return 0
}

func (m *model) Cancel(t *rapid.T) {
	if m.next == 0 {
		return
	}
	n := rapid.Uint64Range(1, m.next).Draw(t, "number")
	require.NoError(t, m.q.Cancel(m.ctx, m.pool, 0, run, []Identity{{n, m.current[n]}}))
}

// Deliver fixes a batch, or settles the one under way.
func (m *model) Deliver(t *rapid.T) {
	if m.sent == nil {
		since := number(m.server.HGet(m.record(), "h"))
		bs, _, err := m.q.batches(m.ctx, m.pool, 0, 5)
		require.NoError(t, err)
		if len(bs) == 0 {
			return
		}
		require.Len(t, bs, 1, "one batch of a run at a time")
		for wave, expiry := range m.windows {
			if m.now.Before(expiry) {
				require.NotZero(t, since, "signalled while the window of wave %d is open", wave)
				require.GreaterOrEqual(t, m.now.UnixMilli()-since, int64(2000), "only what was held for two windows is signalled in one")
			}
		}
		m.sent = bs[0]
		return
	}
	switch rapid.IntRange(0, 2).Draw(t, "verdict") {
	case 0:
		require.NoError(t, m.q.retryBatch(m.ctx, m.sent, 0))
		bs, _, err := m.q.batches(m.ctx, m.pool, 0, 5)
		require.NoError(t, err)
		if len(bs) == 1 {
			require.Equal(t, m.sent, bs[0], "a re-send is equal")
		}
	default:
		require.NoError(t, m.q.acked(m.ctx, m.sent))
		m.got(m.sent.Outcomes)
		m.over, m.sent = append(m.over, m.sent), nil
	}
}

// LateWord is what a Deliverer that has lost its slot still says of a batch that is over.
func (m *model) LateWord(t *rapid.T) {
	if len(m.over) == 0 {
		return
	}
	b := rapid.SampledFrom(m.over).Draw(t, "batch")
	if rapid.Bool().Draw(t, "acknowledged") {
		require.NoError(t, m.q.acked(m.ctx, b))
	} else {
		require.NoError(t, m.q.retryBatch(m.ctx, b, time.Second))
	}
}

// TakeOver gives the slot to another leader, which sends what was fixed.
func (m *model) TakeOver(t *rapid.T) {
	for _, e := range []string{"e1", "e2"} {
		require.NoError(t, m.q.resign(m.ctx, m.pool, 0, e))
	}
	leads, err := m.q.home(m.ctx, m.pool, []homeSlot{{0, true}}, rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "leader"), 0, 5*time.Second)
	require.NoError(t, err)
	require.True(t, leads[0])
	if m.sent != nil {
		bs, _, err := m.q.batches(m.ctx, m.pool, 0, 5)
		require.NoError(t, err)
		require.Equal(t, []*Batch{m.sent}, bs, "the new leader sends the same batch")
	}
}

func (m *model) TimePasses(t *rapid.T) {
	m.world.pass(t, time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms"))*time.Millisecond)
	tasks, err := m.q.Tasks(m.ctx, m.pool, run)
	require.NoError(t, err)
	for _, x := range tasks {
		w := m.waits[x.Identity]
		for _, until := range []time.Time{w.start, w.close} {
			if x.State == StateWaiting && !until.IsZero() {
				require.True(t, m.now.Before(until), "task %v waits past its deadline", x.Identity)
			}
		}
	}
}

func (m *model) due(t require.TestingT) {
	for next := time.Duration(0); next == 0; {
		var err error
		next, err = m.q.due(m.ctx, m.pool, 0)
		require.NoError(t, err)
	}
}

// Abandon parks the run, as if Temporal did not know it, until it asks or dispatches.
func (m *model) Abandon(t *rapid.T) {
	require.NoError(t, m.q.abandon(m.ctx, &Batch{Pool: m.pool, Run: run}))
	if m.sent != nil {
		m.over = append(m.over, m.sent)
	}
	m.sent, m.gone = nil, true
	for wave := range m.windows {
		m.windows[wave] = time.Time{} // nobody waits in it any more
	}
	for id, w := range m.waits {
		m.waits[id] = waits{close: w.close} // it waits anew when it comes back
	}
}

// Check holds after every step.
func (m *model) Check(t *rapid.T) {
	for id, n := range m.ended {
		require.Equal(t, 1, n, "outcome %v reached the run %d times", id, n)
	}
	s, err := m.q.Stats(m.ctx, m.pool)
	require.NoError(t, err)
	box, _ := m.server.List(m.q.keys.slot(m.pool, 0) + suffixBox + encodeRun(run))
	require.EqualValues(t, len(box), s.Outbox)
	bytes := 0
	for _, e := range box {
		bytes += len(e)
	}
	require.EqualValues(t, bytes, s.OutboxBytes)
	tasks, err := m.q.Tasks(m.ctx, m.pool, run)
	require.NoError(t, err)
	m.checkPlaces(t, tasks, box)
	m.checkDue(t, tasks)
}

func (m *model) record() string { return m.q.keys.slot(m.pool, 0) + suffixRun + encodeRun(run) }

// checkPlaces holds each outcome to the one place that its task's state names: the box, or
// what was taken, or neither.
func (m *model) checkPlaces(t *rapid.T, tasks []TaskStatus, box []string) {
	inBox := map[Identity]int{}
	for _, e := range box {
		o, err := decodeOutcome(e)
		require.NoError(t, err)
		inBox[Identity{o.Number, o.Fingerprint}]++
	}
	for _, x := range tasks {
		want := 0
		if x.State == StateFinished {
			want = 1
		}
		require.Equal(t, want, inBox[x.Identity], "task %v is %v", x.Identity, x.State)
		taken := m.server.HGet(m.q.keys.slot(m.pool, 0)+suffixTaken+encodeRun(run), strconv.FormatUint(x.Number, 10))
		if x.State == StateTaken && taken != "" { // else its retention is over
			o, err := decodeOutcome(taken)
			require.NoError(t, err)
			id := Identity{o.Number, o.Fingerprint}
			require.Equal(t, x.Identity, id)
		}
	}
}

// checkDue holds the due set to what can still happen: nothing in it for tasks that ended.
func (m *model) checkDue(t *rapid.T, tasks []TaskStatus) {
	open, delayed, chunks := 0, []string{}, map[string]bool{}
	for _, x := range tasks {
		switch x.State {
		case StateDelayed, StateParked:
			delayed = append(delayed, fmt.Sprintf("d%s/%d", encodeRun(run), x.Number))
		case StateWaiting, StateClaimed, StateCanceling, StateFinished, StateTaken, StateAcknowledged:
		}
		switch x.State {
		case StateWaiting, StateClaimed, StateCanceling, StateDelayed, StateFinished:
			open++
		case StateTaken, StateAcknowledged, StateParked:
		}
		chunks[fmt.Sprintf("w%s/%d", encodeRun(run), (x.Number-1)/32)] = true
	}
	require.EqualValues(t, open, number(m.server.HGet(m.record(), "o")), "open tasks")
	members, _ := m.server.SortedSet(m.q.keys.slot(m.pool, 0) + suffixDue)
	timed := []string{}
	for member := range members {
		switch member[0] {
		case 'd':
			timed = append(timed, member)
		case 'w':
			require.Positive(t, open, "%s waits in a run without open tasks", member)
			require.Contains(t, chunks, member)
		}
	}
	require.ElementsMatch(t, delayed, timed, "delayed and parked tasks have a time, and nothing else has")
}

// drain lets everything finish without faults and counts.
func (m *model) drain() {
	m.windows = map[uint64]time.Time{}
	m.Ask(m.t) // it may be abandoned
	for round := 0; ; round++ {
		require.Less(m.t, round, 1000, "does not drain")
		m.world.pass(m.t, 3*time.Second)
		for _, e := range []string{"e1", "e2"} {
			require.NoError(m.t, m.q.dropLease(m.ctx, m.pool, e, 0))
		}
		page, err := m.q.lost(m.ctx, m.pool, 0, 100)
		require.NoError(m.t, err)
		for _, c := range page.claims {
			m.settle(done(c.delivery), false)
		}
		r, err := m.q.claim(m.ctx, m.pool, 0, claimRequest{executor: "e3", types: []string{"A", "B"}, count: 100, bytes: 1 << 20,
			lease: 5 * time.Second, suspects: suspectBudgets{100, 100, 1}, outboxLimit: 1000})
		require.NoError(m.t, err)
		for _, d := range r.deliveries {
			require.Zero(m.t, m.ended[Identity{d.Number, d.Fingerprint}])
			m.checkStep(d)
			m.settle(done(d), false)
		}
		bs, _, err := m.q.batches(m.ctx, m.pool, 0, 5)
		require.NoError(m.t, err)
		for _, b := range bs {
			require.NoError(m.t, m.q.acked(m.ctx, b))
			m.got(b.Outcomes)
		}
		s, err := m.q.Stats(m.ctx, m.pool)
		require.NoError(m.t, err)
		if s.Depth()+s.InFlight()+s.Delayed+s.Outbox == 0 {
			break
		}
	}
	m.Check(m.t)
	for n, f := range m.current {
		require.Equal(m.t, 1, m.ended[Identity{n, f}], "task %d/%d had no outcome (started %d times)", n, f, m.started[Identity{n, f}])
	}
}

func (m *model) checkNothingLeft() {
	require.Empty(m.t, slices.DeleteFunc(m.server.Keys(), func(k string) bool {
		return !slices.ContainsFunc([]string{suffixRun, suffixBox, suffixTaken, suffixClosed}, func(s string) bool {
			return len(k) > 0 && containsKey(m.pool, k, s)
		})
	}), "a run that ended leaves nothing")
}

func containsKey(pool, key, suffix string) bool {
	prefix := fmt.Sprintf("slipstream:{model/%s/0}:%s", pool, suffix)
	return len(key) >= len(prefix) && key[:len(prefix)] == prefix
}
