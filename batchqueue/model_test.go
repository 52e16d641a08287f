package batchqueue

import (
	"context"
	"fmt"
	"slices"
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
// task had exactly one. Time is the server's and is moved by the test.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer m.server.Close()
		t.Repeat(rapid.StateMachineActions(m))
		m.drain()
	})
}

// model is what the test believes. A task is known by number and fingerprint.
type model struct {
	t      *rapid.T
	server *miniredis.Miniredis
	q      *Queue
	ctx    context.Context
	now    time.Time

	next    uint64
	current map[uint64]uint64      // number -> fingerprint that the run wants
	ended   map[Identity]int       // outcomes the run got, and how often
	started map[Identity]int       // claims that were not released
	windows map[uint64]time.Time   // wave -> when its token expires
	held    map[string][]*Delivery // executor -> claims it believes to hold
	sent    *Batch                 // a batch under way
	waits   map[Identity]waits     // of tasks that were not claimed yet, or of their steps
	tasks   map[Identity]Task
	reached map[Identity]int // the step that a task is in
	gone    bool             // the run is abandoned
}

// waits is until when a task may wait; zero is for ever.
type waits struct{ start, close time.Time }

func newModel(t *rapid.T) *model {
	server := miniredis.NewMiniRedis()
	require.NoError(t, server.Start())
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	q, err := New(rdb, Options{Namespace: "model", Slots: 1})
	require.NoError(t, err)
	m := &model{t: t, server: server, q: q, ctx: context.Background(), now: time.UnixMilli(1_800_000_000_000),
		current: map[uint64]uint64{}, ended: map[Identity]int{}, started: map[Identity]int{},
		windows: map[uint64]time.Time{}, held: map[string][]*Delivery{}, waits: map[Identity]waits{},
		tasks: map[Identity]Task{}, reached: map[Identity]int{}}
	server.SetTime(m.now)
	return m
}

func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.server.SetTime(m.now)
	m.server.FastForward(d)
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
		out, err := m.q.Enqueue(m.ctx, "p", &w)
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
	r, err := m.q.claim(m.ctx, "p", 0, claimRequest{executor: executor, types: []string{"A", "B"}, count: rapid.IntRange(1, 4).Draw(t, "count"),
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
	replies, err := m.q.settle(m.ctx, "p", 0, []settlement{s})
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
	require.NoError(t, m.q.dropLease(m.ctx, "p", 0, executor))
	claims, _, err := m.q.lost(m.ctx, "p", 0, 3)
	require.NoError(t, err)
	for _, c := range claims {
		s := again(c.delivery, time.Second)
		s.lostBy, s.losses = c.executor, c.delivery.losses+1
		_, err := m.q.settle(m.ctx, "p", 0, []settlement{s})
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
	os, err := m.q.CloseWindow(m.ctx, "p", 0, run, w, Room{1 << 19, true})
	require.NoError(t, err)
	again, err := m.q.CloseWindow(m.ctx, "p", 0, run, w, Room{1 << 19, true})
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
	reply, err := m.q.Ask(m.ctx, "p", 0, r)
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
	require.NoError(t, m.q.Cancel(m.ctx, "p", 0, run, []Identity{{n, m.current[n]}}))
}

// Deliver fixes a batch, or settles the one under way.
func (m *model) Deliver(t *rapid.T) {
	if m.sent == nil {
		bs, _, err := m.q.batches(m.ctx, "p", 0, 5)
		require.NoError(t, err)
		if len(bs) == 0 {
			return
		}
		require.Len(t, bs, 1, "one batch of a run at a time")
		// After two windows a run is signalled although waves never stop.
		m.sent = bs[0]
		return
	}
	switch rapid.IntRange(0, 2).Draw(t, "verdict") {
	case 0:
		require.NoError(t, m.q.retryBatch(m.ctx, m.sent, 0))
		bs, _, err := m.q.batches(m.ctx, "p", 0, 5)
		require.NoError(t, err)
		if len(bs) == 1 {
			require.Equal(t, m.sent, bs[0], "a re-send is equal")
		}
	default:
		require.NoError(t, m.q.acked(m.ctx, m.sent))
		m.got(m.sent.Outcomes)
		m.sent = nil
	}
}

// TakeOver gives the slot to another leader, which sends what was fixed.
func (m *model) TakeOver(t *rapid.T) {
	for _, e := range []string{"e1", "e2"} {
		require.NoError(t, m.q.resign(m.ctx, "p", 0, e))
	}
	ok, err := m.q.lead(m.ctx, "p", 0, rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "leader"), 5*time.Second)
	require.NoError(t, err)
	require.True(t, ok)
	if m.sent != nil {
		bs, _, err := m.q.batches(m.ctx, "p", 0, 5)
		require.NoError(t, err)
		require.Equal(t, []*Batch{m.sent}, bs, "the new leader sends the same batch")
	}
}

func (m *model) TimePasses(t *rapid.T) {
	m.pass(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
	m.due(t)
	tasks, err := m.q.Tasks(m.ctx, "p", run)
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
		next, err = m.q.due(m.ctx, "p", 0)
		require.NoError(t, err)
	}
}

// Abandon parks the run, as if Temporal did not know it, until it asks or dispatches.
func (m *model) Abandon(t *rapid.T) {
	require.NoError(t, m.q.abandon(m.ctx, &Batch{Pool: "p", Run: run}))
	m.sent, m.gone = nil, true
	for id, w := range m.waits {
		m.waits[id] = waits{close: w.close} // it waits anew when it comes back
	}
}

// Check holds after every step.
func (m *model) Check(t *rapid.T) {
	for id, n := range m.ended {
		require.Equal(t, 1, n, "outcome %v reached the run %d times", id, n)
	}
	s, err := m.q.Stats(m.ctx, "p")
	require.NoError(t, err)
	box, _ := m.server.List(m.q.keys.slot("p", 0) + suffixBox + encodeRun(run))
	require.EqualValues(t, len(box), s.Outbox)
	bytes := 0
	for _, e := range box {
		bytes += len(e)
	}
	require.EqualValues(t, bytes, s.OutboxBytes)
	m.checkDue(t)
}

// checkDue holds the due set to what can still happen: nothing in it for tasks that ended.
func (m *model) checkDue(t *rapid.T) {
	tasks, err := m.q.Tasks(m.ctx, "p", run)
	require.NoError(t, err)
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
	record := m.q.keys.slot("p", 0) + suffixRun + encodeRun(run)
	require.EqualValues(t, open, number(m.server.HGet(record, "o")), "open tasks")
	members, _ := m.server.SortedSet(m.q.keys.slot("p", 0) + suffixDue)
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
		m.pass(3 * time.Second)
		m.due(m.t)
		for _, e := range []string{"e1", "e2"} {
			require.NoError(m.t, m.q.dropLease(m.ctx, "p", 0, e))
		}
		claims, _, err := m.q.lost(m.ctx, "p", 0, 100)
		require.NoError(m.t, err)
		for _, c := range claims {
			m.settle(done(c.delivery), false)
		}
		r, err := m.q.claim(m.ctx, "p", 0, claimRequest{executor: "e3", types: []string{"A", "B"}, count: 100, bytes: 1 << 20,
			lease: 5 * time.Second, suspects: suspectBudgets{100, 100, 1}, outboxLimit: 1000})
		require.NoError(m.t, err)
		for _, d := range r.deliveries {
			require.Zero(m.t, m.ended[Identity{d.Number, d.Fingerprint}])
			m.checkStep(d)
			m.settle(done(d), false)
		}
		bs, _, err := m.q.batches(m.ctx, "p", 0, 5)
		require.NoError(m.t, err)
		for _, b := range bs {
			require.NoError(m.t, m.q.acked(m.ctx, b))
			m.got(b.Outcomes)
		}
		s, err := m.q.Stats(m.ctx, "p")
		require.NoError(m.t, err)
		if s.Depth()+s.InFlight()+s.Delayed+s.Outbox == 0 {
			break
		}
	}
	m.Check(m.t)
	for n, f := range m.current {
		require.Equal(m.t, 1, m.ended[Identity{n, f}], "task %d/%d had no outcome (started %d times)", n, f, m.started[Identity{n, f}])
	}
	m.pass(time.Hour)
	require.Empty(m.t, slices.DeleteFunc(m.server.Keys(), func(k string) bool {
		return !slices.ContainsFunc([]string{suffixRun, suffixBox, suffixTaken, suffixClosed}, func(s string) bool {
			return len(k) > 0 && containsKey(k, s)
		})
	}), "a run that ended leaves nothing")
}

func containsKey(key, suffix string) bool {
	prefix := fmt.Sprintf("slipstream:{model/p/0}:%s", suffix)
	return len(key) >= len(prefix) && key[:len(prefix)] == prefix
}
