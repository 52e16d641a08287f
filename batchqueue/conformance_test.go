package batchqueue

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// The state machine's behaviours, asked of every server the queue supports; of Redis as the
// user that docs/security.md describes.
func TestConformance(t *testing.T) {
	cases := slices.Concat(conformance, conformanceOfSteps)
	ask := func(t *testing.T, rdb, admin *redis.Client) (asked int) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				asked++
				b := newBench(t, rdb)
				b.rdb = admin
				c.test(b)
			})
		}
		return asked
	}
	t.Run("redis", func(t *testing.T) {
		u := documentedUser(t)
		u.live(t)
		if ask(t, u.rdb, u.admin) == len(cases) {
			u.requireUse(t)
		}
		u.requireNoRefusal(t)
	})
	t.Run("miniredis", func(t *testing.T) {
		rdb := redistest.Mini(t)
		ask(t, rdb, rdb)
	})
}

// bench is a pool with one slot of its own, and verbs that read well in tests.
type bench struct {
	*testing.T
	q    *Queue
	rdb  redis.UniversalClient // for looking behind the queue's back
	pool string
	ctx  context.Context
}

func newBench(t *testing.T, rdb redis.UniversalClient) *bench {
	t.Helper()
	q, err := New(rdb, Options{Namespace: "test", Slots: 1})
	require.NoError(t, err)
	return &bench{T: t, q: q, rdb: rdb, pool: t.Name(), ctx: t.Context()}
}

const run = "0190c2a4-5b1e-7c3a-9f00-0123456789ab"

func task(n uint64) Task {
	return Task{Number: n, Fingerprint: 100 + n, Type: "A", Payload: fmt.Appendf(nil, "payload %d", n)}
}

// nextMillisecond waits until Redis's clock has gone on.
func (b *bench) nextMillisecond() {
	now := func() int64 {
		t, err := b.rdb.Time(b.ctx).Result()
		require.NoError(b, err)
		return t.UnixMilli()
	}
	for began := now(); now() == began; {
		runtime.Gosched()
	}
}

func (b *bench) enqueueWave(w Wave) []Answer {
	b.Helper()
	if w.Run == "" {
		w.Run = run
	}
	if w.Common == nil {
		w.Common = []byte("common")
	}
	out, err := b.q.Enqueue(b.ctx, b.pool, &w)
	require.NoError(b, err)
	for _, a := range out.Answers {
		require.NoError(b, a.Err)
	}
	return out.Answers
}

func (b *bench) enqueue(tasks ...Task) []Answer {
	b.Helper()
	return b.enqueueWave(Wave{ID: tasks[0].Number, Tasks: tasks})
}

func (b *bench) claimAs(executor string, count int, types ...string) []*Delivery {
	b.Helper()
	if len(types) == 0 {
		types = []string{"A"}
	}
	r, err := b.q.claim(b.ctx, b.pool, 0, claimRequest{executor: executor, types: types, count: count, bytes: 1 << 20,
		lease: time.Minute, suspects: suspectBudgets{100, 100, 1}, outboxLimit: 1 << 20})
	require.NoError(b, err)
	return r.deliveries
}

func (b *bench) claim(count int) []*Delivery { b.Helper(); return b.claimAs("e1", count) }

func (b *bench) settle(s ...settlement) string {
	b.Helper()
	replies, err := b.q.settle(b.ctx, b.pool, 0, s)
	require.NoError(b, err)
	out := ""
	for _, r := range replies {
		out += string(rune(r))
	}
	return out
}

// done completes what was delivered: the task, or its step where others follow.
func done(d *Delivery) settlement {
	if !d.Last() {
		return advanceOf(d, append([]byte("result of "), d.Payload...), "e1")
	}
	return settlement{d: d, action: actionFinish, outcome: Outcome{Kind: KindCompleted, Attempt: d.Attempt, Payload: append([]byte("result of "), d.Payload...)}}
}

func again(d *Delivery, delay time.Duration) settlement {
	return settlement{d: d, action: actionRetry, attempt: d.Attempt + 1, delay: delay, lastFailure: []byte("why"),
		outcome: Outcome{Kind: KindCanceled, Step: d.Step, Attempt: d.Attempt}}
}

// poison gives a claimed task up and returns its letter.
func (b *bench) poison(d *Delivery) DeadLetter {
	b.Helper()
	b.settle(settlement{d: d, action: actionFinish, outcome: Outcome{Kind: KindPoison}})
	letters, err := b.q.DeadLetters(b.ctx, b.pool, 0, "", 10)
	require.NoError(b, err)
	return letters[len(letters)-1]
}

// deliver acknowledges the batches, without any all that there are.
func (b *bench) deliver(batches ...*Batch) {
	b.Helper()
	if len(batches) == 0 {
		batches = b.batches()
	}
	for _, batch := range batches {
		require.NoError(b, b.q.acked(b.ctx, batch))
	}
}

// open is how many tasks of the run the record counts as open.
func (b *bench) open() int {
	b.Helper()
	n, err := b.rdb.HGet(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+encodeRun(run), "o").Int()
	require.NoError(b, err)
	return n
}

func release(d *Delivery) settlement {
	return settlement{d: d, action: actionRelease, attempt: d.Attempt, losses: d.losses, outcome: Outcome{Kind: KindCanceled}}
}

func (b *bench) batches() []*Batch {
	b.Helper()
	out, _, err := b.q.batches(b.ctx, b.pool, 0, 10)
	require.NoError(b, err)
	return out
}

func (b *bench) close(wave uint64) []Outcome {
	b.Helper()
	out, err := b.q.CloseWindow(b.ctx, b.pool, 0, run, wave, Room{1 << 19, true})
	require.NoError(b, err)
	return out
}

func (b *bench) ask(tasks ...Task) AskReply {
	b.Helper()
	r := AskRequest{Run: run, Room: Room{1 << 19, true}}
	for _, t := range tasks {
		r.Open = append(r.Open, Identity{t.Number, t.Fingerprint})
	}
	out, err := b.q.Ask(b.ctx, b.pool, 0, r)
	require.NoError(b, err)
	return out
}

func (b *bench) stats() Stats {
	b.Helper()
	s, err := b.q.Stats(b.ctx, b.pool)
	require.NoError(b, err)
	return s
}

func (b *bench) due() time.Duration {
	b.Helper()
	next, err := b.q.due(b.ctx, b.pool, 0)
	require.NoError(b, err)
	return next
}

// dueUntil moves what is due until the condition holds.
func (b *bench) dueUntil(what string, condition func() bool) {
	b.Helper()
	redistest.Eventually(b, 30*time.Second, what, func() bool {
		b.due()
		return condition()
	})
}

// dueSet lists what the slot waits for, by kind and number or chunk, windows and purges
// aside.
func (b *bench) dueSet() []string {
	b.Helper()
	members, err := b.rdb.ZRange(b.ctx, b.q.keys.slot(b.pool, 0)+suffixDue, 0, -1).Result()
	require.NoError(b, err)
	out := []string{}
	for _, m := range members {
		if kind, rest := m[:1], m[1:]; kind != "t" && kind != "p" {
			out = append(out, kind+rest[strings.LastIndexByte(rest, '/')+1:])
		}
	}
	return out
}

// allDue makes everything in the due set due, and does it.
func (b *bench) allDue() {
	b.Helper()
	key := b.q.keys.slot(b.pool, 0) + suffixDue
	members, err := b.rdb.ZRange(b.ctx, key, 0, -1).Result()
	require.NoError(b, err)
	for _, m := range members {
		require.NoError(b, b.rdb.ZAdd(b.ctx, key, redis.Z{Score: 1, Member: m}).Err())
	}
	b.due()
}

func (b *bench) ack() {
	b.Helper()
	for _, batch := range b.batches() {
		require.NoError(b, b.q.acked(b.ctx, batch))
	}
}

func numbers(ds []*Delivery) (out []uint64) {
	for _, d := range ds {
		out = append(out, d.Number)
	}
	return out
}

func outcomeNumbers(os []Outcome) (out []uint64) {
	for _, o := range os {
		out = append(out, o.Number)
	}
	return out
}

func states(as []Answer) (out []AnswerState) {
	for _, a := range as {
		out = append(out, a.State)
	}
	return out
}

var conformance = []struct {
	name string
	test func(b *bench)
}{
	{"a task goes through the queue whole", func(b *bench) {
		t1 := task(1)
		t1.Options = TaskOptions{StartToClose: time.Minute, Retry: RetryPolicy{MaximumAttempts: 3, BackoffCoefficient: 1.5}}
		require.Equal(b, []AnswerState{AnswerQueued}, states(b.enqueue(t1)))
		d := b.claim(10)
		require.Len(b, d, 1)
		require.Equal(b, run, d[0].Run)
		require.Equal(b, t1.Payload, d[0].Payload)
		require.Equal(b, []byte("common"), d[0].Common)
		require.Equal(b, t1.Options, d[0].Options)
		require.Equal(b, t1.Fingerprint, d[0].Fingerprint)
		require.Equal(b, 1, d[0].Attempt)
		require.Equal(b, "s", b.settle(done(d[0])))
		batch := b.batches()
		require.Len(b, batch, 1)
		require.Equal(b, run, batch[0].Run)
		require.Equal(b, []byte("common"), batch[0].Common)
		require.Equal(b, "result of payload 1", string(batch[0].Outcomes[0].Payload))
		require.NoError(b, b.q.acked(b.ctx, batch[0]))
		require.Empty(b, b.batches())
		s := b.stats()
		require.Zero(b, s.Depth()+s.InFlight()+s.Outbox+s.OutboxBytes+s.DeliverableRuns)
		require.EqualValues(b, 1, s.Delivered)
	}},
	{"an empty wave is harmless", func(b *bench) {
		out, err := b.q.Enqueue(b.ctx, b.pool, &Wave{Run: run})
		require.NoError(b, err)
		require.Empty(b, out.Answers)
	}},
	{"a repeated enqueue adds nothing", func(b *bench) {
		for range 3 {
			require.Equal(b, []AnswerState{AnswerQueued, AnswerQueued}, states(b.enqueue(task(1), task(2))))
		}
		require.EqualValues(b, 2, b.stats().Depth())
		d := b.claim(10)
		b.enqueue(task(1), task(2)) // claimed
		require.Empty(b, b.claim(10))
		b.settle(done(d[0]), done(d[1]))
		b.enqueue(task(1), task(2)) // finished
		require.Empty(b, b.claim(10))
	}},
	{"another fingerprint supersedes a waiting task", func(b *bench) {
		b.enqueue(task(1))
		other := task(1)
		other.Fingerprint, other.Payload = 999, []byte("other")
		b.enqueue(other)
		d := b.claim(10)
		require.Len(b, d, 1)
		require.Equal(b, "other", string(d[0].Payload))
		b.settle(done(d[0]))
		require.EqualValues(b, 999, b.batches()[0].Outcomes[0].Fingerprint)
	}},
	{"the outcome of a superseded claim reaches nobody", func(b *bench) {
		b.enqueue(task(1))
		old := b.claim(1)[0]
		other := task(1)
		other.Fingerprint = 999
		b.enqueue(other)
		cancel, err := b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, nil)
		require.NoError(b, err)
		require.Equal(b, []claimRef{old.ref()}, cancel, "its executor is told to stop")
		require.Equal(b, "d", b.settle(done(old)))
		require.Empty(b, b.batches())
		require.Equal(b, "s", b.settle(done(b.claim(1)[0])))
		require.EqualValues(b, 999, b.batches()[0].Outcomes[0].Fingerprint)
	}},
	{"a superseded outcome in the box is not taken", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1)}, Window: time.Minute})
		b.settle(done(b.claim(1)[0]))
		other := task(1)
		other.Fingerprint = 999
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{other}, Window: time.Minute})
		require.Empty(b, b.close(1))
		require.Equal(b, "s", b.settle(done(b.claim(1)[0])))
	}},
	{"a claim is bounded by count and by bytes", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 50; n++ {
			t := task(n)
			t.Payload = make([]byte, 100_000)
			tasks = append(tasks, t)
		}
		b.enqueue(tasks...)
		require.Len(b, b.claim(3), 3)
		// 1 MiB holds ten; the bound is learnt while reading
		got := len(b.claim(50))
		require.GreaterOrEqual(b, got, 1)
		require.LessOrEqual(b, got, 12)
	}},
	{"one type does not starve another", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 200; n++ {
			t := task(n)
			if n > 190 {
				t.Type = "B"
			}
			tasks = append(tasks, t)
		}
		b.enqueue(tasks...)
		types := map[string]int{}
		for _, d := range b.claimAs("e1", 20, "A", "B") {
			types[d.Type]++
		}
		require.Equal(b, map[string]int{"A": 10, "B": 10}, types)
		require.Empty(b, b.claimAs("e2", 20, "B"), "executors get only what they handle")
	}},
	{"two executors never hold the same task", func(b *bench) {
		b.enqueue(task(1), task(2), task(3))
		seen := append(numbers(b.claimAs("e1", 2)), numbers(b.claimAs("e2", 2))...)
		require.ElementsMatch(b, []uint64{1, 2, 3}, seen)
	}},
	{"two executors completing the same task: one outcome", func(b *bench) {
		b.enqueue(task(1))
		stalled := b.claimAs("e1", 1)[0]
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "e1", 0))
		page, err := b.q.lost(b.ctx, b.pool, 0, 10)
		require.NoError(b, err)
		claims := page.claims
		require.Len(b, claims, 1)
		require.Equal(b, "e1", claims[0].executor)
		b.nextMillisecond() // entries of one and the same may have the same ID, in two lanes
		s := release(claims[0].delivery)
		s.lostBy = "e1"
		require.Equal(b, "s", b.settle(s))
		second := b.claimAs("e2", 1)[0]
		require.Equal(b, "l", b.settle(done(stalled)), "late")
		require.Equal(b, "l", b.settle(again(stalled, 0)), "late failure")
		require.Equal(b, "l", b.settle(release(stalled)), "late release")
		require.Equal(b, "s", b.settle(done(second)))
		require.Equal(b, "l", b.settle(done(stalled)), "late after the end")
		require.Len(b, b.batches()[0].Outcomes, 1)
	}},
	{"a settlement that is sent again answers the same", func(b *bench) {
		b.enqueue(task(1), task(2), task(3))
		d := b.claim(3)
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{3, 103}}))
		for range 2 {
			require.Equal(b, "ssc", b.settle(done(d[0]), again(d[1], time.Hour), again(d[2], 0)))
		}
		b.ack()
		require.Equal(b, "ssc", b.settle(done(d[0]), again(d[1], time.Hour), release(d[2])), "delivered")
		require.EqualValues(b, 1, b.stats().Retried)
		require.EqualValues(b, 2, b.stats().Finished)
	}},
	{"what the Reclaimer settled is a loss to who had it", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(2)
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "e1", 0))
		ended, retried := done(d[0]), again(d[1], time.Hour)
		ended.lostBy, retried.lostBy = "e1", "e1"
		require.Equal(b, "ss", b.settle(ended, retried))
		require.Equal(b, "ll", b.settle(done(d[0]), again(d[1], time.Hour)))
		require.Equal(b, "ll", b.settle(ended, retried))
	}},
	{"a lease that is back protects its claims", func(b *bench) {
		b.enqueue(task(1))
		d := b.claimAs("e1", 1)[0]
		s := release(d)
		s.lostBy = "e1"
		require.Equal(b, "g", b.settle(s))
		require.Equal(b, "s", b.settle(done(d)))
	}},
	{"a mixed batch settles each on its own", func(b *bench) {
		b.enqueue(task(1), task(2), task(3))
		d := b.claim(3)
		b.settle(release(d[0]))
		b.claimAs("e2", 1)
		require.Equal(b, "lss", b.settle(done(d[0]), done(d[1]), again(d[2], time.Hour)))
		require.EqualValues(b, 1, b.stats().Delayed)
		require.Positive(b, b.due())
		require.Empty(b, b.claim(1), "not before its time")
	}},
	{"a retry comes back later with everything", func(b *bench) {
		b.enqueue(task(1))
		first := b.claim(1)[0]
		s := again(first, 30*time.Millisecond)
		s.heartbeat, s.losses = []byte("progress"), 1
		require.Equal(b, "s", b.settle(s))
		b.dueUntil("the retry is due", func() bool { return b.stats().Depth() == 1 })
		d := b.claim(1)[0]
		require.Equal(b, 2, d.Attempt)
		require.Equal(b, 1, d.losses)
		require.Equal(b, first.Payload, d.Payload)
		require.Equal(b, "why", string(d.LastFailure))
		require.Equal(b, "progress", string(d.Heartbeat))
		require.Equal(b, first.ScheduledAt, d.ScheduledAt)
		require.Equal(b, "s", b.settle(done(d)))
		require.Zero(b, b.stats().Delayed)
	}},
	{"a release is claimed at once, before newer tasks, by anybody", func(b *bench) {
		b.enqueue(task(1))
		d := b.claimAs("e1", 1)[0]
		b.enqueue(task(2))
		require.Equal(b, "s", b.settle(release(d)))
		got := b.claimAs("e2", 1)
		require.Equal(b, []uint64{1}, numbers(got))
		require.Equal(b, 1, got[0].Attempt, "no attempt is burnt")
	}},
	{"the front lane gives at most half of a claim", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 40; n++ {
			tasks = append(tasks, task(n))
		}
		b.enqueue(tasks[:20]...)
		var s []settlement
		for _, d := range b.claim(20) {
			s = append(s, release(d))
		}
		b.settle(s...)
		b.enqueue(tasks[20:]...)
		front := 0
		for _, d := range b.claim(10) {
			if d.Number <= 20 {
				front++
			}
		}
		require.Equal(b, 5, front)
		require.Len(b, b.claim(100), 30, "nothing is left behind")
	}},
	{"cancel of a waiting task", func(b *bench) {
		b.enqueue(task(1), task(2))
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Equal(b, []uint64{2}, numbers(b.claim(10)))
		o := b.batches()[0].Outcomes
		require.Len(b, o, 1)
		require.Equal(b, KindCanceled, o[0].Kind)
	}},
	{"cancel of a delayed task", func(b *bench) {
		b.enqueue(task(1))
		b.settle(again(b.claim(1)[0], time.Hour))
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Equal(b, KindCanceled, b.batches()[0].Outcomes[0].Kind)
		require.Zero(b, b.stats().Delayed)
		require.EqualValues(b, -1, b.due())
	}},
	{"cancel of a running task stops it and forbids a retry", func(b *bench) {
		b.enqueue(task(1))
		d := b.claim(1)[0]
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		refs, err := b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, nil)
		require.NoError(b, err)
		require.Equal(b, []claimRef{d.ref()}, refs)
		require.Equal(b, "c", b.settle(again(d, 0)))
		require.Equal(b, KindCanceled, b.batches()[0].Outcomes[0].Kind)
		refs, err = b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, nil)
		require.NoError(b, err)
		require.Empty(b, refs)
	}},
	{"a running task that completes in spite of a cancel keeps its result", func(b *bench) {
		b.enqueue(task(1))
		d := b.claim(1)[0]
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Equal(b, "s", b.settle(done(d)))
		require.Equal(b, KindCompleted, b.batches()[0].Outcomes[0].Kind)
	}},
	{"cancel of what ended, or never was, is a no-op", func(b *bench) {
		b.enqueue(task(1))
		b.settle(done(b.claim(1)[0]))
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}, {7, 107}}))
		require.Equal(b, KindCompleted, b.batches()[0].Outcomes[0].Kind)
	}},
	{"a window keeps outcomes from the Deliverer and hands them over", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1), task(2)}, Window: time.Minute})
		d := b.claim(2)
		b.settle(done(d[0]))
		require.Empty(b, b.batches())
		taken := b.close(1)
		require.Equal(b, []uint64{1}, outcomeNumbers(taken))
		require.Equal(b, taken, b.close(1), "a repeated closing answers the same")
		require.Empty(b, b.batches())
		b.settle(done(d[1]))
		require.Equal(b, []uint64{2}, outcomeNumbers(b.batches()[0].Outcomes), "the rest is flipped")
	}},
	{"a closing takes the outcomes of other waves too", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1)}, Window: time.Minute})
		b.enqueueWave(Wave{ID: 2, Tasks: []Task{task(2)}, Window: time.Minute})
		for _, d := range b.claim(2) {
			b.settle(done(d))
		}
		require.ElementsMatch(b, []uint64{1, 2}, outcomeNumbers(b.close(2)))
		require.Empty(b, b.close(1))
		require.Empty(b, b.batches())
	}},
	{"a closing is bounded by bytes, one larger outcome goes alone", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1), task(2)}, Window: time.Minute})
		for _, d := range b.claim(2) {
			s := done(d)
			s.outcome.Payload = make([]byte, 600<<10)
			b.settle(s)
		}
		require.Len(b, b.close(1), 1)
		require.Len(b, b.batches()[0].Outcomes, 1)
	}},
	{"a closing without room for a larger one leaves it to the Deliverer", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1)}, Window: time.Minute})
		b.settle(done(b.claim(1)[0]))
		for _, room := range []Room{{0, false}, {10, false}} {
			got, err := b.q.CloseWindow(b.ctx, b.pool, 0, run, 1, room)
			require.NoError(b, err)
			require.Empty(b, got)
		}
		require.Len(b, b.batches()[0].Outcomes, 1)
	}},
	{"a closed run's open tasks are stopped", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(1)[0]
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		require.Empty(b, b.claim(10))
		refs, err := b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, nil)
		require.NoError(b, err)
		require.Equal(b, []claimRef{d.ref()}, refs, "its executor is told to stop")
		require.Equal(b, "s", b.settle(again(d, 0)), "no retry: it is parked")
		require.EqualValues(b, -1, min(b.due(), -1))
		require.Empty(b, b.claim(10))
	}},
	{"a closed run's parked tasks stay for their time, then nothing is left", func(b *bench) {
		b.enqueue(task(1), task(2))
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run), "nothing is open now, but it may come back")
		require.Equal(b, []AnswerState{AnswerQueued}, states(b.ask(task(1)).Answers))
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		due := b.q.keys.slot(b.pool, 0) + suffixDue
		members, err := b.rdb.ZRange(b.ctx, due, 0, -1).Result()
		require.NoError(b, err)
		for _, member := range members { // the run, and each of its tasks
			require.NoError(b, b.rdb.ZAdd(b.ctx, due, redis.Z{Member: member}).Err())
		}
		b.due()
		require.Zero(b, b.stats().Delayed)
		keys, err := b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+"*"+encodeRun(run)+"*").Result()
		require.NoError(b, err)
		require.Empty(b, keys)
	}},
	{"an ask's address holds for the run", func(b *bench) {
		b.enqueue(task(1))
		address, err := b.q.Redirect(b.ctx, b.pool, 0, run)
		require.NoError(b, err)
		require.Nil(b, address)
		_, err = b.q.Ask(b.ctx, b.pool, 0, AskRequest{Run: run, Redirect: []byte("new address")})
		require.NoError(b, err)
		address, err = b.q.Redirect(b.ctx, b.pool, 0, run)
		require.NoError(b, err)
		require.Equal(b, "new address", string(address))
	}},
	{"a taken outcome is answered again when its workflow task was lost", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1)}, Window: time.Minute})
		b.settle(done(b.claim(1)[0]))
		taken := b.close(1)
		a := b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1), task(2)}, Window: time.Minute})
		require.Equal(b, []AnswerState{AnswerDone, AnswerQueued}, states(a))
		require.Equal(b, taken[0], *a[0].Outcome)
		require.Equal(b, []uint64{2}, numbers(b.claim(10)), "it is not computed again")
		require.Empty(b, b.close(1), "the new window is not answered with the old closing")
	}},
	{"an expired window is swept", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{task(1)}, Window: time.Millisecond})
		b.settle(done(b.claim(1)[0]))
		b.dueUntil("the outcome is before the Deliverer", func() bool { return b.stats().DeliverableRuns == 1 })
		require.Equal(b, []uint64{1}, outcomeNumbers(b.batches()[0].Outcomes))
	}},
	{"a batch is fixed until it is acknowledged", func(b *bench) {
		b.enqueue(task(1), task(2), task(3))
		d := b.claim(3)
		b.settle(done(d[0]), done(d[1]))
		first := b.batches()[0]
		require.Empty(b, b.batches(), "one batch of a run at a time")
		b.settle(done(d[2]))
		require.NoError(b, b.q.retryBatch(b.ctx, first, 0))
		require.Equal(b, first, b.batches()[0], "a re-send is equal")
		require.NoError(b, b.q.acked(b.ctx, first))
		require.NoError(b, b.q.acked(b.ctx, first), "a repeated acknowledgement takes nothing")
		second := b.batches()[0]
		require.Equal(b, []uint64{3}, outcomeNumbers(second.Outcomes))
		require.NotEqual(b, first.ID, second.ID)
	}},
	{"a late word on one batch does not end the next of the same size", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(2)
		b.settle(done(d[0]))
		first := b.batches()[0]
		require.NoError(b, b.q.acked(b.ctx, first))
		b.settle(done(d[1]))
		second := b.batches()[0]
		require.NoError(b, b.q.acked(b.ctx, first))
		require.NoError(b, b.q.retryBatch(b.ctx, second, 0))
		require.Equal(b, second, b.batches()[0])
	}},
	{"a handler that is stopped with its abandoned run gives no outcome", func(b *bench) {
		once := task(3)
		once.Options.Retry.MaximumAttempts = 1
		b.enqueue(task(1), task(2), once)
		d := b.claim(3)
		b.settle(done(d[0]))
		require.NoError(b, b.q.abandon(b.ctx, b.batches()[0]))
		for _, d := range d[1:] {
			s := done(d)
			s.outcome.Kind = KindCanceled
			require.Equal(b, "s", b.settle(s))
		}
		b.ask(task(1), task(2), once)
		require.Equal(b, []uint64{2}, numbers(b.claim(10)), "it runs for the run that asks; what may start once does not")
	}},
	{"status says where each task stands, and all can be canceled", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 1100; n++ {
			tasks = append(tasks, task(n))
		}
		b.enqueue(tasks...)
		d := b.claim(3)
		b.settle(done(d[0]), again(d[1], time.Hour))
		want := map[uint64]TaskState{1: StateFinished, 2: StateDelayed, 3: StateClaimed, 4: StateWaiting, 1100: StateWaiting}
		for n, state := range want {
			s, err := b.q.Status(b.ctx, b.pool, run, n)
			require.NoError(b, err)
			require.Equal(b, state, s.State, n)
			require.Equal(b, state == StateClaimed, s.Executor == "e1", n)
		}
		_, err := b.q.Status(b.ctx, b.pool, run, 2000)
		require.ErrorIs(b, err, ErrNotFound)
		require.NoError(b, b.q.CancelAll(b.ctx, b.pool, run))
		require.Empty(b, b.claim(10))
		s, err := b.q.Status(b.ctx, b.pool, run, 3)
		require.NoError(b, err)
		require.Equal(b, StateCanceling, s.State)
		require.EqualValues(b, 1099, b.stats().Outbox)
		none, err := b.q.Tasks(b.ctx, b.pool, "no such run")
		require.NoError(b, err)
		require.Empty(b, none)
	}},
	{"status says how each task ended, also once that was delivered", func(b *bench) {
		short := task(4)
		short.Type, short.Options.ScheduleToStart = "B", time.Millisecond
		b.enqueue(task(1), task(2), task(3), short, task(5), task(6))
		d := b.claim(4)
		failed := done(d[1])
		failed.outcome.Kind = KindFailed
		b.settle(done(d[0]), failed)
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{6, 106}}))
		require.NoError(b, b.q.Discard(b.ctx, b.pool, 0, run, []Identity{{5, 105}}))
		b.dueUntil("a task ran out", func() bool { return b.stats().Outbox == 4 })
		for _, state := range []TaskState{StateFinished, StateAcknowledged} {
			for n, kind := range map[uint64]Kind{1: KindCompleted, 2: KindFailed, 4: KindScheduleToStart, 6: KindCanceled} {
				s, err := b.q.Status(b.ctx, b.pool, run, n)
				require.NoError(b, err)
				require.Equal(b, state, s.State, n)
				require.Equal(b, kind, s.Kind, n)
				require.Equal(b, n == 4, s.Type == "B")
			}
			for _, n := range []uint64{3, 5} {
				s, err := b.q.Status(b.ctx, b.pool, run, n)
				require.NoError(b, err)
				require.Zero(b, s.Kind, n)
			}
			for _, batch := range b.batches() {
				require.NoError(b, b.q.acked(b.ctx, batch))
			}
		}
	}},
	{"runs with open tasks are listed", func(b *bench) {
		wide := make([]Task, 0, 1200)
		for n := uint64(1); n <= 1200; n++ {
			wide = append(wide, task(n))
		}
		other := task(1)
		other.Type = "B"
		b.enqueueWave(Wave{Run: "wide", Tasks: wide})
		b.enqueueWave(Wave{Run: "b.other/type", Tasks: []Task{other}})
		b.enqueueWave(Wave{Run: "delayed", Tasks: []Task{task(1)}})
		b.enqueueWave(Wave{Run: "ended", Tasks: []Task{task(1)}})
		for _, d := range b.claim(1300) {
			switch d.Run {
			case "delayed":
				b.settle(again(d, time.Hour))
			case "ended":
				b.settle(done(d))
			}
		}
		runs, err := b.q.Runs(b.ctx, b.pool)
		require.NoError(b, err)
		require.ElementsMatch(b, []string{"wide", "b.other/type", "delayed"}, runs, "claimed ones count")
		none, err := b.q.Runs(b.ctx, "no such pool")
		require.NoError(b, err)
		require.Empty(b, none)
	}},
	{"runs are listed page by page", func(b *bench) {
		want := make([]string, runsPage+200)
		for i := range want {
			want[i] = fmt.Sprint("run", i)
			b.enqueueWave(Wave{Run: want[i], Tasks: []Task{task(1)}})
		}
		runs, err := b.q.Runs(b.ctx, b.pool)
		require.NoError(b, err)
		require.ElementsMatch(b, want, runs, "waiting")
		var later []settlement
		for _, d := range b.claim(len(want)) {
			later = append(later, again(d, time.Hour))
		}
		for some := range slices.Chunk(later, 200) {
			b.settle(some...)
		}
		runs, err = b.q.Runs(b.ctx, b.pool)
		require.NoError(b, err)
		require.ElementsMatch(b, want, runs, "delayed")
	}},
	{"batches count what delivery adds to outcomes", func(b *bench) {
		b.enqueueWave(Wave{Tasks: []Task{task(1), task(2), task(3)}, OutcomeOverhead: batchBytes/2 - 100})
		for _, d := range b.claim(3) {
			b.settle(done(d))
		}
		first := b.batches()[0]
		require.Equal(b, []uint64{1, 2}, outcomeNumbers(first.Outcomes))
		require.NoError(b, b.q.acked(b.ctx, first))
		require.Equal(b, []uint64{3}, outcomeNumbers(b.batches()[0].Outcomes))
	}},
	{"discarded tasks have no outcome", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(1)[0]
		require.NoError(b, b.q.Discard(b.ctx, b.pool, 0, run, []Identity{{1, 101}, {2, 102}}))
		require.Equal(b, "d", b.settle(done(d)))
		require.Empty(b, b.claim(10))
		require.Empty(b, b.batches())
		require.Equal(b, []AnswerState{AnswerNotHere, AnswerNotHere}, states(b.ask(task(1), task(2)).Answers))
	}},
	{"a task below the watermark does not hold its run for ever", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 40; n++ {
			tasks = append(tasks, task(n))
		}
		b.enqueue(tasks...)
		d := b.claim(40)
		var s []settlement
		for _, d := range d[1:] {
			s = append(s, done(d))
		}
		b.settle(s...)
		require.NoError(b, b.q.acked(b.ctx, b.batches()[0]))
		b.enqueueWave(Wave{ID: 41, Tasks: []Task{task(41)}, HeldBelow: 41, Common: []byte("new")})
		require.Equal(b, "d", b.settle(done(d[0])), "its run gave it up")
		b.settle(done(b.claim(1)[0]))
		batch := b.batches()[0]
		require.Equal(b, "new", string(batch.Common))
		require.NoError(b, b.q.acked(b.ctx, batch))
		ttl, err := b.rdb.PTTL(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+encodeRun(run)).Result()
		require.NoError(b, err)
		require.Positive(b, ttl)
	}},
	{"a suspect that a full claim left behind is claimed next", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 3; n++ {
			t := task(n)
			t.Payload = make([]byte, 700<<10)
			tasks = append(tasks, t)
		}
		b.enqueue(tasks...)
		for len(b.stats().Types) > 0 && b.stats().Depth() > 0 {
			for _, d := range b.claim(3) {
				s := again(d, 0)
				s.losses = 2
				b.settle(s)
			}
		}
		b.dueUntil("all are due", func() bool { return b.stats().Depth() == 3 })
		var got []uint64
		for range 3 {
			got = append(got, numbers(b.claim(10))...)
		}
		require.ElementsMatch(b, []uint64{1, 2, 3}, got)
	}},
	{"a late heartbeat leaves nothing", func(b *bench) {
		b.enqueue(task(1))
		d := b.claim(1)[0]
		b.settle(done(d))
		_, err := b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, map[claimRef][]byte{d.ref(): []byte("late")})
		require.NoError(b, err)
		n, err := b.rdb.Exists(b.ctx, b.q.keys.slot(b.pool, 0)+suffixHeartbeats).Result()
		require.NoError(b, err)
		require.Zero(b, n)
	}},
	{"a new leader sends what its predecessor fixed", func(b *bench) {
		lead := func(e string) bool {
			leads, err := b.q.home(b.ctx, b.pool, []homeSlot{{0, true}}, e, 0, time.Minute)
			require.NoError(b, err)
			return leads[0]
		}
		require.True(b, lead("e1"))
		require.True(b, lead("e1"))
		require.False(b, lead("e2"))
		b.enqueue(task(1))
		b.settle(done(b.claim(1)[0]))
		first := b.batches()[0]
		require.NoError(b, b.q.resign(b.ctx, b.pool, 0, "e2"))
		require.False(b, lead("e2"), "only the leader resigns")
		require.NoError(b, b.q.resign(b.ctx, b.pool, 0, "e1"))
		require.True(b, lead("e2"))
		require.Equal(b, first, b.batches()[0])
	}},
	{"an early outcome is not computed again", func(b *bench) {
		b.enqueue(task(1))
		b.settle(done(b.claim(1)[0]))
		require.NoError(b, b.q.acked(b.ctx, b.batches()[0]))
		early := task(1)
		early.Early = true
		require.Equal(b, []AnswerState{AnswerEarly}, states(b.enqueue(early)))
		require.Empty(b, b.claim(1))
		b.enqueue(task(1))
		require.Empty(b, b.claim(1), "the delivery may be on its way")
		b.enqueueWave(Wave{ID: 1, Again: true, Tasks: []Task{task(1)}})
		require.Len(b, b.claim(1), 1, "the caller is sure that it is lost")
	}},
	{"ask: open, pulled, not here", func(b *bench) {
		b.enqueue(task(1), task(2))
		b.settle(done(b.claim(1)[0]))
		r := b.ask(task(1), task(2), task(3))
		require.Equal(b, []uint64{1}, outcomeNumbers(r.Taken))
		require.Equal(b, []AnswerState{AnswerDone, AnswerQueued, AnswerNotHere}, states(r.Answers))
		other := task(2)
		other.Fingerprint = 5
		require.Equal(b, []AnswerState{AnswerNotHere}, states(b.ask(other).Answers))
		require.Empty(b, b.batches(), "what was pulled is not pushed")
	}},
	{"ask: deadlines hold without anybody who moves what is due", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToStart = 20 * time.Millisecond
		b.enqueue(t1)
		var r AskReply
		redistest.Eventually(b, 30*time.Second, "its time is over", func() bool { r = b.ask(t1); return len(r.Taken) > 0 })
		require.Equal(b, KindScheduleToStart, r.Taken[0].Kind)
	}},
	{"ask after delivery: not here", func(b *bench) {
		b.enqueue(task(1))
		b.settle(done(b.claim(1)[0]))
		require.NoError(b, b.q.acked(b.ctx, b.batches()[0]))
		require.Equal(b, []AnswerState{AnswerNotHere}, states(b.ask(task(1)).Answers))
	}},
	{"a deaf run is not pushed to, and may ask", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(2)
		b.settle(done(d[0]))
		require.NoError(b, b.q.deafRun(b.ctx, b.batches()[0]))
		b.settle(done(d[1]))
		require.Empty(b, b.batches())
		require.Len(b, b.ask(task(1), task(2)).Taken, 2)
	}},
	{"an abandoned run is parked and comes back by asking", func(b *bench) {
		b.enqueue(task(1), task(2), task(3), task(4))
		d := b.claim(3)
		b.settle(done(d[0]), again(d[1], time.Hour))
		require.NoError(b, b.q.abandon(b.ctx, b.batches()[0]))
		require.Empty(b, b.claim(10))
		refs, err := b.q.extend(b.ctx, b.pool, []int{0}, "e1", time.Minute, nil)
		require.NoError(b, err)
		require.Len(b, refs, 1, "the running one is told to stop")
		b.settle(done(d[2]))
		require.Empty(b, b.batches())
		r := AskRequest{Run: run, Room: Room{1 << 19, true}, Redirect: []byte("new address"), Open: []Identity{{1, 101}, {2, 102}, {3, 103}, {4, 104}}}
		reply, err := b.q.Ask(b.ctx, b.pool, 0, r)
		require.NoError(b, err)
		_ = reply
		reply2, err := b.q.Ask(b.ctx, b.pool, 0, r)
		require.NoError(b, err)
		require.ElementsMatch(b, []uint64{1, 3}, outcomeNumbers(append(reply.Taken, reply2.Taken...)))
		back := b.claim(10)
		require.ElementsMatch(b, []uint64{2, 4}, numbers(back))
		b.settle(done(back[0]))
		require.Equal(b, "new address", string(b.batches()[0].Redirect))
	}},
	{"parked tasks are given up in time, whatever becomes of their run", func(b *bench) {
		for _, revive := range []bool{false, true} {
			b.enqueue(task(1), task(2), task(3))
			b.settle(again(b.claim(1)[0], time.Hour))
			require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
			require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run), "and may be forgotten again")
			require.Equal(b, []string{"d1", "d2", "d3"}, b.dueSet())
			if revive {
				b.ask(task(3))
				require.Equal(b, []string{"d1", "d2"}, b.dueSet())
				b.settle(done(b.claim(1)[0]))
				b.ack()
			}
			b.allDue()
			require.Zero(b, b.stats().Delayed)
			require.Empty(b, b.dueSet())
			require.Empty(b, b.claim(10))
			if revive {
				require.Equal(b, []AnswerState{AnswerNotHere}, states(b.ask(task(1)).Answers))
				require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
			}
			keys, err := b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+"*").Result()
			require.NoError(b, err)
			require.Empty(b, keys)
		}
	}},
	{"a run that is wanted again by a dispatch has its retention", func(b *bench) {
		b.enqueue(task(1))
		b.settle(done(b.claim(1)[0]))
		b.ack()
		require.NoError(b, b.q.abandon(b.ctx, &Batch{Pool: b.pool, Run: run}))
		b.enqueue(task(1))
		require.Empty(b, b.claim(1), "the signal is on its way")
		ttl, err := b.rdb.PTTL(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+encodeRun(run)).Result()
		require.NoError(b, err)
		require.Positive(b, ttl)
	}},
	{"an early call supersedes once", func(b *bench) {
		b.enqueue(task(1), task(2))
		early := task(1)
		early.Fingerprint, early.Early = 999, true
		b.enqueue(early)
		b.enqueue(early)
		open, err := b.rdb.HGet(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+encodeRun(run), "o").Int()
		require.NoError(b, err)
		require.Equal(b, 1, open)
		require.Equal(b, []uint64{2}, numbers(b.claim(10)))
	}},
	{"waiting deadlines", func(b *bench) {
		start, closing, claimed := task(1), task(2), task(3)
		start.Options.ScheduleToStart = 20 * time.Millisecond
		closing.Options.ScheduleToClose = 20 * time.Millisecond
		claimed.Options.ScheduleToStart, claimed.Options.ScheduleToClose = 20*time.Millisecond, 20*time.Millisecond
		claimed.Type = "B"
		b.enqueue(start, closing, claimed)
		d := b.claimAs("e1", 1, "B")[0]
		b.dueUntil("both ran out", func() bool { return b.stats().Outbox == 2 })
		kinds := map[uint64]Kind{}
		for _, o := range b.batches()[0].Outcomes {
			kinds[o.Number] = o.Kind
		}
		require.Equal(b, map[uint64]Kind{1: KindScheduleToStart, 2: KindScheduleToClose}, kinds)
		require.Empty(b, b.claim(10))
		require.Equal(b, "s", b.settle(done(d)), "a claimed task's time is its executor's")
	}},
	{"of two deadlines at one time ScheduleToStart is reported", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToStart, t1.Options.ScheduleToClose = 20*time.Millisecond, 20*time.Millisecond
		b.enqueue(t1)
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		require.Equal(b, KindScheduleToStart, b.batches()[0].Outcomes[0].Kind)
	}},
	{"deadlines of a run leave with its last open task", func(b *bench) {
		limited := func(numbers ...uint64) (out []Task) {
			for _, n := range numbers {
				t := task(n)
				t.Options.ScheduleToStart, t.Options.ScheduleToClose = time.Hour, 2*time.Hour
				out = append(out, t)
			}
			return out
		}
		for how, end := range map[string]func(tasks []Task){
			"acknowledged": func([]Task) {
				for _, d := range b.claim(10) {
					b.settle(done(d))
				}
				b.ack()
			},
			"taken": func(tasks []Task) {
				for _, d := range b.claim(10) {
					b.settle(done(d))
				}
				b.ask(tasks...)
			},
			"canceled": func(tasks []Task) {
				require.NoError(b, b.q.CancelAll(b.ctx, b.pool, run))
				b.ask(tasks...)
			},
			"discarded": func(tasks []Task) {
				for _, t := range tasks {
					require.NoError(b, b.q.Discard(b.ctx, b.pool, 0, run, []Identity{{t.Number, t.Fingerprint}}))
				}
			},
			"closed": func([]Task) { require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run)) },
			"retried, then acknowledged": func([]Task) {
				for _, d := range b.claim(10) {
					b.settle(again(d, 0))
				}
				b.dueUntil("both are due", func() bool { return b.stats().Depth() == 2 })
				require.Equal(b, []string{"w0", "w1"}, b.dueSet(), "no member more for a retry")
				for _, d := range b.claim(10) {
					b.settle(done(d))
				}
				b.ack()
			},
			"superseded, then acknowledged": func(tasks []Task) {
				for i := range tasks {
					tasks[i].Fingerprint++
				}
				b.enqueue(tasks...)
				require.Equal(b, []string{"w0", "w1"}, b.dueSet())
				for _, d := range b.claim(10) {
					b.settle(done(d))
				}
				b.ack()
			},
		} {
			tasks := limited(32, 33)
			b.enqueueWave(Wave{ID: 1, Again: true, Tasks: tasks})
			b.enqueueWave(Wave{ID: 1, Again: true, Tasks: tasks})
			require.Equal(b, []string{"w0", "w1"}, b.dueSet(), how)
			end(tasks)
			for _, m := range b.dueSet() {
				require.Equal(b, byte('d'), m[0], "%s: only what is parked until its purge: %s", how, m)
			}
			require.NoError(b, b.rdb.FlushDB(b.ctx).Err())
		}
	}},
	{"deadlines below the watermark leave", func(b *bench) {
		t1, t100 := task(1), task(100)
		t1.Options.ScheduleToStart, t100.Options.ScheduleToStart = time.Hour, time.Hour
		b.enqueue(t1)
		b.enqueueWave(Wave{ID: 2, Tasks: []Task{t100}, HeldBelow: 100})
		require.Equal(b, []string{"w3"}, b.dueSet())
	}},
	{"a deadline is not that of the task before under its number", func(b *bench) {
		short, long := task(1), task(1)
		short.Options.ScheduleToClose = time.Millisecond
		long.Options.ScheduleToClose, long.Fingerprint = time.Hour, 999
		b.enqueue(short)
		b.enqueue(long)
		b.dueUntil("the short one's time is over", func() bool { return b.due() > time.Minute })
		require.Equal(b, []uint64{1}, numbers(b.claim(10)))
	}},
	{"each task of a chunk has its own deadline", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 3; n++ {
			t := task(n)
			t.Options.ScheduleToClose = []time.Duration{time.Hour, time.Millisecond, 2 * time.Hour}[n-1]
			tasks = append(tasks, t)
		}
		b.enqueue(tasks...)
		b.dueUntil("the second ran out", func() bool { return b.stats().Outbox == 1 })
		require.Equal(b, []uint64{2}, outcomeNumbers(b.batches()[0].Outcomes))
		require.Equal(b, []string{"w0"}, b.dueSet(), "the chunk waits for the next one")
		require.Greater(b, b.due(), 59*time.Minute)
		require.Equal(b, []uint64{1, 3}, numbers(b.claim(10)))
	}},
	{"parked tasks below the watermark are given up", func(b *bench) {
		b.enqueue(task(1), task(2))
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		b.enqueueWave(Wave{ID: 100, Tasks: []Task{task(100)}, HeldBelow: 100})
		require.Empty(b, b.dueSet())
		require.Zero(b, b.stats().Delayed)
	}},
	{"a wide wave runs out in pages", func(b *bench) {
		tasks := make([]Task, 1000)
		for i := range tasks {
			tasks[i] = task(uint64(i + 1))
			tasks[i].Options.ScheduleToStart = time.Millisecond
		}
		b.enqueue(tasks...)
		b.dueUntil("all ran out", func() bool { return b.stats().Outbox == 1000 })
		require.Empty(b, b.dueSet())
		require.Empty(b, b.claim(10))
	}},
	{"a suspect runs out like any other", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToStart = 20 * time.Millisecond
		b.enqueue(t1)
		s := again(b.claim(1)[0], 0)
		s.losses = 3
		b.settle(s)
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		o := b.batches()[0].Outcomes[0]
		require.Equal(b, KindScheduleToStart, o.Kind)
		require.Equal(b, 1, o.Attempt)
		require.Equal(b, "why", string(o.LastFailure))
	}},
	{"a task that comes back from parking has its deadline", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToStart = 20 * time.Millisecond
		b.enqueue(t1)
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		b.ask(t1)
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		require.Equal(b, KindScheduleToStart, b.batches()[0].Outcomes[0].Kind)
	}},
	{"a released task has its deadlines again", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToStart = 50 * time.Millisecond
		b.enqueue(t1)
		b.settle(release(b.claim(1)[0]))
		b.dueUntil("it ran out", func() bool { return b.stats().Outbox == 1 })
		require.Equal(b, KindScheduleToStart, b.batches()[0].Outcomes[0].Kind)
	}},
	{"suspects are claimed within their budgets", func(b *bench) {
		b.enqueue(task(1), task(2), task(3), task(4))
		for i, d := range b.claim(4) {
			s := again(d, 0)
			s.losses = i + 1 // 1: front lane; 2, 3, 4: levels 1, 2, 3
			b.settle(s)
		}
		b.dueUntil("all are due", func() bool { return b.stats().Depth() == 4 })
		budget := func(x suspectBudgets) []uint64 {
			r, err := b.q.claim(b.ctx, b.pool, 0, claimRequest{executor: "e1", types: []string{"A"}, count: 10, bytes: 1 << 20, lease: time.Minute, suspects: x, outboxLimit: 100})
			require.NoError(b, err)
			return numbers(r.deliveries)
		}
		require.Equal(b, []uint64{1}, budget(suspectBudgets{}))
		require.Equal(b, []uint64{4}, budget(suspectBudgets{1, 1, 1}), "the worst comes alone")
		require.ElementsMatch(b, []uint64{2, 3}, budget(suspectBudgets{5, 5, 0}))
	}},
	{"a waiting suspect can be canceled", func(b *bench) {
		b.enqueue(task(1))
		s := again(b.claim(1)[0], 0)
		s.losses = 3
		b.settle(s)
		b.dueUntil("it is due", func() bool { return b.stats().Depth() == 1 })
		require.NoError(b, b.q.Cancel(b.ctx, b.pool, 0, run, []Identity{{1, 101}}))
		require.Equal(b, KindCanceled, b.batches()[0].Outcomes[0].Kind)
		require.Empty(b, b.claim(10))
	}},
	{"poison leaves a dead letter that can be redriven", func(b *bench) {
		b.enqueue(task(1))
		d := b.claim(1)[0]
		l := b.poison(d)
		require.Equal(b, []any{run, uint64(1), "A"}, []any{l.Run, l.Number, l.Type})
		require.Equal(b, d.Payload, l.Payload)
		require.Equal(b, d.Common, l.Common)
		batch := b.batches()[0]
		require.Equal(b, KindPoison, batch.Outcomes[0].Kind)
		require.ErrorIs(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID), ErrDelivering, "the outcome may have been sent")
		b.deliver(batch)
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		require.ErrorIs(b, b.q.DropDeadLetter(b.ctx, b.pool, 0, l.ID), ErrNotFound)
		again := b.claim(1)[0]
		require.Equal(b, d.Payload, again.Payload)
		require.Equal(b, 1, again.Attempt)
		b.settle(done(again))
		batch = b.batches()[0]
		require.Equal(b, KindCompleted, batch.Outcomes[0].Kind)
		b.deliver(batch)
		require.Zero(b, b.open())
	}},
	{"a redriven task whose outcome was not sent has one outcome", func(b *bench) {
		b.enqueue(task(1), task(2))
		ds := b.claim(2)
		l := b.poison(ds[0])
		b.settle(done(ds[1]))
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		b.settle(done(b.claim(1)[0]))
		require.EqualValues(b, 2, b.stats().Outbox)
		batch := b.batches()[0]
		require.Equal(b, []uint64{2, 1}, []uint64{batch.Outcomes[0].Number, batch.Outcomes[1].Number})
		require.Equal(b, KindCompleted, batch.Outcomes[1].Kind)
		b.deliver(batch)
		require.Zero(b, b.open())
		require.Zero(b, b.stats().OutboxBytes)
	}},
	{"a task can be redriven after its run was forgotten", func(b *bench) {
		b.enqueue(task(1))
		l := b.poison(b.claim(1)[0])
		b.deliver()
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		again := b.claim(1)[0]
		require.Equal(b, "common", string(again.Common))
		b.settle(done(again))
		require.Equal(b, "common", string(b.batches()[0].Common))
	}},
	{"a redriven task of a run that was folded has its own wave's data", func(b *bench) {
		fold := func(n uint64, common string) *Delivery {
			b.enqueueWave(Wave{ID: n, Common: []byte(common), Tasks: []Task{task(n)}})
			return b.claim(1)[0]
		}
		l := b.poison(fold(5, "the first"))
		b.deliver()
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		b.settle(done(fold(6, "the second")))
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		again := b.claim(1)[0]
		require.Equal(b, "the first", string(again.Common))
	}},
	{"a task that is redriven after its outcome was taken is open again", func(b *bench) {
		b.enqueue(task(1))
		l := b.poison(b.claim(1)[0])
		_, err := b.q.Ask(b.ctx, b.pool, 0, AskRequest{Run: run, Room: Room{Bytes: 1000}})
		require.NoError(b, err)
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		require.Equal(b, []AnswerState{AnswerQueued}, states(b.enqueue(task(1))))
		require.Len(b, b.claim(10), 1)
	}},
	{"a wave that adds nothing leaves nothing for ever", func(b *bench) {
		early := []Task{task(1), task(2)}
		early[0].Early, early[1].Early = true, true
		for _, w := range []Wave{{Run: "window", Window: time.Second}, {Run: "trimmed", HeldBelow: 100}, {Run: "neither"}} {
			w.Tasks = early
			require.Equal(b, []AnswerState{AnswerEarly, AnswerEarly}, states(b.enqueueWave(w)))
			key := b.q.keys.slot(b.pool, 0) + suffixRun + encodeRun(w.Run)
			require.NotEqual(b, time.Duration(-1), b.rdb.PTTL(b.ctx, key).Val(), w.Run)
		}
	}},
	{"a later wave's default retention and overhead hold", func(b *bench) {
		wave := func(n uint64, w Wave) []string {
			w.ID, w.Tasks = n, []Task{task(n), task(n + 1)}
			b.enqueueWave(w)
			key := b.q.keys.slot(b.pool, 0) + suffixRun + encodeRun(run)
			var said []string
			for _, v := range b.rdb.HMGet(b.ctx, key, "ttl", "V").Val() {
				said = append(said, text(v))
			}
			return said
		}
		require.Equal(b, []string{"60000", "7"}, wave(1, Wave{Retention: time.Minute, OutcomeOverhead: 7}))
		require.Equal(b, []string{"", ""}, wave(3, Wave{}))
	}},
	{"a redriven task of an abandoned run is not given up", func(b *bench) {
		b.enqueue(task(1))
		l := b.poison(b.claim(1)[0])
		b.deliver()
		b.enqueueWave(Wave{ID: 2, Again: true, Tasks: []Task{task(1)}})
		require.NoError(b, b.q.abandon(b.ctx, &Batch{Pool: b.pool, Run: run}))
		require.Empty(b, b.claim(1), "it is parked")
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		require.Equal(b, 1, b.open())
		b.settle(done(b.claim(1)[0]))
		b.deliver()
		require.Zero(b, b.open())
		require.Zero(b, b.stats().Delayed)
	}},
	{"a redriven task below the watermark keeps its wave's data", func(b *bench) {
		b.enqueueWave(Wave{ID: 1, Common: []byte("of the first wave"), Tasks: []Task{task(1), task(2)}})
		l := b.poison(b.claim(1)[0])
		b.settle(done(b.claim(1)[0]))
		b.deliver()
		b.enqueueWave(Wave{ID: 2, HeldBelow: 40, Tasks: []Task{task(40), task(41)}})
		b.claim(2)
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, l.ID))
		b.enqueueWave(Wave{ID: 3, HeldBelow: 40, Tasks: []Task{task(42), task(43)}})
		require.Equal(b, "of the first wave", string(b.claim(1)[0].Common))
	}},
	{"what a run asks anew is not disturbed by a redrive", func(b *bench) {
		b.enqueue(task(1), task(2))
		ds := b.claim(2)
		superseded, again := b.poison(ds[0]), b.poison(ds[1])
		n, err := b.q.DeadLetterCount(b.ctx, b.pool)
		require.NoError(b, err)
		require.EqualValues(b, 2, n)
		b.deliver()
		other := task(1)
		other.Fingerprint = 7
		b.enqueue(other)
		require.ErrorIs(b, b.q.Redrive(b.ctx, b.pool, 0, superseded.ID), ErrSuperseded)
		b.enqueueWave(Wave{ID: 3, Again: true, Tasks: []Task{task(2)}})
		require.NoError(b, b.q.Redrive(b.ctx, b.pool, 0, again.ID), "it is there already")
		require.Len(b, b.claim(10), 2)
		require.NoError(b, b.q.DropDeadLetter(b.ctx, b.pool, 0, superseded.ID))
		letters, err := b.q.DeadLetters(b.ctx, b.pool, 0, "", 10)
		require.NoError(b, err)
		require.Empty(b, letters)
	}},
	{"a letter that cannot be redriven stays", func(b *bench) {
		b.enqueue(task(1))
		require.NoError(b, b.rdb.XAdd(b.ctx, &redis.XAddArgs{Stream: b.q.keys.slot(b.pool, 0) + suffixReady + "A", Values: []any{"r", "x", "n", "junk"}}).Err())
		b.claim(10)
		letters, err := b.q.DeadLetters(b.ctx, b.pool, 0, "", 10)
		require.NoError(b, err)
		require.True(b, letters[0].Undecodable)
		require.ErrorContains(b, b.q.Redrive(b.ctx, b.pool, 0, letters[0].ID), "drop the letter")
		l, err := b.q.DeadLetter(b.ctx, b.pool, 0, letters[0].ID)
		require.NoError(b, err)
		require.Equal(b, letters[0], l)
		_, err = b.q.DeadLetter(b.ctx, b.pool, 0, "1-1")
		require.ErrorIs(b, err, ErrNotFound)
	}},
	{"details tell all about open tasks", func(b *bench) {
		timed := task(1)
		timed.Options = TaskOptions{StartToClose: time.Minute, Retry: RetryPolicy{MaximumAttempts: 5}}
		b.enqueue(timed, task(2), task(3))
		ds := b.claim(2)
		b.settle(again(ds[1], time.Hour), settlement{d: ds[0], action: actionRelease, attempt: 3, losses: 2})
		d, err := b.q.Details(b.ctx, b.pool, run, 1, 2, 3, 99)
		require.NoError(b, err)
		require.Len(b, d, 3, "the unknown one is left out")
		require.Equal(b, []TaskState{StateWaiting, StateDelayed, StateWaiting}, []TaskState{d[0].State, d[1].State, d[2].State})
		require.Equal(b, []int{3, 2, 1}, []int{d[0].Attempt, d[1].Attempt, d[2].Attempt})
		require.Equal(b, 2, d[0].Losses)
		require.Equal(b, timed.Options, d[0].Options)
		require.Equal(b, "common", string(d[0].Common))
		require.Equal(b, "payload 2", string(d[1].Payload))
		require.Equal(b, "why", string(d[1].LastFailure))
		require.WithinDuration(b, d[2].ScheduledAt.Add(time.Hour), d[1].DueAt, time.Minute)
		require.True(b, d[1].AttemptScheduledAt.IsZero())

		b.settle(done(b.claimAs("e2", 2)[0]))
		d, err = b.q.Details(b.ctx, b.pool, run, 1, 3)
		require.NoError(b, err)
		byState := map[TaskState]TaskDetails{d[0].State: d[0], d[1].State: d[1]}
		require.Equal(b, "e2", byState[StateClaimed].Executor)
		require.Equal(b, KindCompleted, byState[StateFinished].Kind)
	}},
	{"one task is cancelled by its number", func(b *bench) {
		b.enqueue(task(1), task(2))
		require.NoError(b, b.q.CancelTask(b.ctx, b.pool, run, 1))
		require.Equal(b, []uint64{2}, numbers(b.claim(10)))
		require.ErrorIs(b, b.q.CancelTask(b.ctx, b.pool, run, 3), ErrNotFound)
	}},
	{"progress tells state and attempt, as far as a task is known", func(b *bench) {
		b.enqueue(task(1), task(2), task(3), task(4))
		d := b.claim(3)
		b.settle(done(d[0]), again(d[1], time.Hour), again(d[2], 0))
		b.dueUntil("it is due again", func() bool { return b.stats().Depth() == 2 })
		taken := b.claimAs("e2", 1)[0] // the front lane first
		require.EqualValues(b, 3, taken.Number)
		numbers := make([]uint64, 2*progressPage)
		for i := range numbers {
			numbers[i] = uint64(i + 1)
		}
		got, err := b.q.Progress(b.ctx, b.pool, 0, run, numbers...)
		require.NoError(b, err)
		require.Len(b, got, 4)
		for i, want := range []Progress{
			{TaskStatus{State: StateFinished, Kind: KindCompleted}, 0},
			{TaskStatus{State: StateDelayed}, 2},
			{TaskStatus{State: StateClaimed, Executor: "e2"}, 2},
			{TaskStatus{State: StateWaiting}, 1},
		} {
			n := uint64(i + 1)
			want.Identity, want.Type = Identity{n, task(n).Fingerprint}, "A"
			if want.State == StateFinished {
				want.Type = got[i].Type
			}
			require.Equal(b, want, got[i])
		}
		got, err = b.q.Progress(b.ctx, b.pool, 0, "stranger", 1)
		require.NoError(b, err)
		require.Empty(b, got)
	}},
	{"a slot is dropped when nothing is in it and nobody attends it", func(b *bench) {
		drop := func() bool {
			dropped, err := b.q.drop(b.ctx, b.pool, 1)
			require.NoError(b, err)
			return dropped
		}
		home := func(permits int) {
			_, err := b.q.home(b.ctx, b.pool, []homeSlot{{0, permits > 0}}, "e1", permits, time.Minute)
			require.NoError(b, err)
		}
		require.True(b, drop(), "nothing was there")
		b.enqueue(task(1), task(2), task(3))
		require.False(b, drop(), "tasks wait")
		d := b.claim(3)
		require.False(b, drop(), "tasks are claimed")
		b.settle(done(d[0]), again(d[1], time.Hour))
		b.poison(d[2])
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "e1", 0))
		require.False(b, drop(), "outcomes wait, and a task is delayed")
		require.NoError(b, b.q.CancelTask(b.ctx, b.pool, run, 2))
		require.NoError(b, b.q.acked(b.ctx, b.batches()[0]))
		require.False(b, drop(), "a letter is dead")
		require.NoError(b, b.rdb.Del(b.ctx, b.q.keys.slot(b.pool, 0)+suffixDead).Err())
		home(1)
		require.False(b, drop(), "somebody is at home")
		home(0)
		require.False(b, drop(), "somebody leads")
		require.NoError(b, b.q.resign(b.ctx, b.pool, 0, "e1"))
		require.True(b, drop())
		left, err := b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+"*").Result()
		require.NoError(b, err)
		for _, key := range left {
			ttl, err := b.rdb.PTTL(b.ctx, key).Result()
			require.NoError(b, err)
			require.Positive(b, ttl, "%s stays for ever", key)
		}
		b.enqueue(task(4))
		require.Equal(b, []uint64{4}, numbers(b.claim(1)))
	}},
	{"executors are listed with what they hold, also those that are gone", func(b *bench) {
		b.enqueue(task(1), task(2), task(3))
		_, _, err := b.q.present(b.ctx, b.pool, presence{Executor: "e1", Worker: "w", Types: []string{"A"}, Concurrency: 7}, time.Minute)
		require.NoError(b, err)
		leads, err := b.q.home(b.ctx, b.pool, []homeSlot{{0, true}}, "e1", 7, time.Minute)
		require.NoError(b, err)
		require.True(b, leads[0])
		b.claimAs("e1", 2)
		b.claimAs("gone", 1)
		executors, err := b.q.Executors(b.ctx, b.pool)
		require.NoError(b, err)
		require.Equal(b, []ExecutorStatus{
			{ID: "gone", Claims: 1},
			{ID: "e1", Worker: "w", Present: true, Types: []string{"A"}, Concurrency: 7, Claims: 2, Leads: []int{0}},
		}, executors)
	}},
	{"pools are listed by announcement and configuration", func(b *bench) {
		workers, err := New(b.q.rdb, Options{Namespace: b.Name(), Slots: 8})
		require.NoError(b, err)
		operator, err := New(b.q.rdb, Options{Namespace: b.Name()})
		require.NoError(b, err)
		pools, err := operator.Pools(b.ctx)
		require.NoError(b, err)
		require.Empty(b, pools)
		require.NoError(b, workers.Announce(b.ctx, "b", []string{"A"}))
		_, err = operator.SetConfig(b.ctx, "a", PoolConfig{Slots: 1})
		require.NoError(b, err)
		key := operator.keys.pools()
		require.NoError(b, b.rdb.HSet(b.ctx, key, "over", "1 4", "junk", "").Err())
		pools, err = operator.Pools(b.ctx)
		require.NoError(b, err)
		require.Equal(b, []ListedPool{{"a", defaultSlots}, {"b", 8}}, pools)
		_, err = workers.Enqueue(b.ctx, "full", &Wave{Run: run, ID: 1, Slot: -1, Tasks: []Task{task(1)}})
		require.NoError(b, err)
		require.NoError(b, b.rdb.HSet(b.ctx, key, "full", "1 8").Err())
		require.NoError(b, workers.Announce(b.ctx, "b", []string{"A"}))
		pools, err = operator.Pools(b.ctx)
		require.NoError(b, err)
		require.Equal(b, []ListedPool{{"a", defaultSlots}, {"b", 8}, {"full", 8}}, pools, "what has tasks stays")
		require.EqualValues(b, 3, b.rdb.HLen(b.ctx, key).Val(), "what is over goes")
		require.NoError(b, workers.CancelAll(b.ctx, "full", run))
		slot, err := workers.slotOf(b.ctx, "full", run)
		require.NoError(b, err)
		batches, _, err := workers.batches(b.ctx, "full", slot, 1)
		require.NoError(b, err)
		require.NoError(b, workers.acked(b.ctx, batches[0]))
		require.NoError(b, b.rdb.HSet(b.ctx, key, "full", "1 8").Err())
		require.NoError(b, workers.Announce(b.ctx, "b", []string{"A"}))
		require.EqualValues(b, 2, b.rdb.HLen(b.ctx, key).Val(), "once it is empty it goes too")
		require.Zero(b, b.rdb.Exists(b.ctx, workers.keys.slot("full", slot)+suffixCounters).Val())
		require.Positive(b, b.rdb.PTTL(b.ctx, key).Val())
	}},
	{"a change of the configuration survives another one", func(b *bench) {
		tries := 0
		c, err := b.q.ChangeConfig(b.ctx, b.pool, func(c *PoolConfig) error {
			if tries++; tries == 1 {
				_, err := b.q.ChangeConfig(b.ctx, b.pool, func(c *PoolConfig) error { c.Paused = true; return nil })
				require.NoError(b, err)
			}
			c.Draining = true
			return nil
		})
		require.NoError(b, err)
		require.Equal(b, 2, tries)
		require.True(b, c.Paused && c.Draining)
		_, err = b.q.ChangeConfig(b.ctx, b.pool, func(*PoolConfig) error { return ErrInvalid })
		require.ErrorIs(b, err, ErrInvalid)
		draining, err := b.q.Draining(b.ctx, b.pool)
		require.NoError(b, err)
		require.True(b, draining)
	}},
	{"an entry that cannot be decoded becomes a dead letter", func(b *bench) {
		b.enqueue(task(1))
		slot := b.q.keys.slot(b.pool, 0)
		require.NoError(b, b.rdb.XAdd(b.ctx, &redis.XAddArgs{Stream: slot + suffixReady + "A", Values: []any{"r", "x", "n", "junk"}}).Err())
		require.Equal(b, []uint64{1}, numbers(b.claim(10)))
		letters, err := b.q.DeadLetters(b.ctx, b.pool, 0, "", 10)
		require.NoError(b, err)
		require.Len(b, letters, 1)
		require.EqualValues(b, 1, b.stats().InFlight(), "it is out of the pending list")
	}},
	{"the outbox bound pauses claiming", func(b *bench) {
		b.enqueue(task(1), task(2))
		b.settle(done(b.claim(1)[0]))
		r, err := b.q.claim(b.ctx, b.pool, 0, claimRequest{executor: "e1", types: []string{"A"}, count: 1, bytes: 1, lease: time.Minute, outboxLimit: 1})
		require.NoError(b, err)
		require.True(b, r.blocked)
		require.Empty(b, r.deliveries)
	}},
	{"an audit shows what a lost reply hid, and adoption returns it", func(b *bench) {
		b.enqueue(task(1), task(2))
		d := b.claim(1)
		hidden := b.claim(1)
		refs, err := b.q.audit(b.ctx, b.pool, 0, "e1")
		require.NoError(b, err)
		require.ElementsMatch(b, []claimRef{d[0].ref(), hidden[0].ref()}, refs)
		got, err := b.q.adopt(b.ctx, b.pool, "e1", []claimRef{hidden[0].ref()})
		require.NoError(b, err)
		require.Equal(b, hidden, got)
		got, err = b.q.adopt(b.ctx, b.pool, "e2", []claimRef{hidden[0].ref()})
		require.NoError(b, err)
		require.Empty(b, got, "only one's own")
	}},
	{"a lost claim says how long it was held, not how long its task waited", func(b *bench) {
		enqueued := time.Now()
		b.enqueue(task(1))
		s := again(b.claim(1)[0], 0)
		s.losses = 4
		b.settle(s)
		b.dueUntil("the suspect has waited", func() bool { return time.Since(enqueued) > 100*time.Millisecond && b.stats().Depth() == 1 })
		claimed := time.Now()
		require.Len(b, b.claimAs("dead", 1), 1)
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "dead", 0))
		page, err := b.q.lost(b.ctx, b.pool, 0, 10)
		require.NoError(b, err)
		claims := page.claims
		require.Len(b, claims, 1)
		require.LessOrEqual(b, claims[0].held, time.Since(claimed)+time.Millisecond)
	}},
	{"lost claims are paged and keep their heartbeats", func(b *bench) {
		var tasks []Task
		for n := uint64(1); n <= 25; n++ {
			tasks = append(tasks, task(n))
		}
		b.enqueue(tasks...)
		d := b.claimAs("dead", 25)
		_, err := b.q.extend(b.ctx, b.pool, []int{0}, "dead", time.Minute, map[claimRef][]byte{d[0].ref(): []byte("half")})
		require.NoError(b, err)
		page, err := b.q.lost(b.ctx, b.pool, 0, 10)
		require.NoError(b, err)
		require.Empty(b, page.claims, "the lease holds")
		require.True(b, page.held)
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "dead", 0))
		seen := 0
		for page.more = true; page.more; {
			page, err = b.q.lost(b.ctx, b.pool, 0, 10)
			require.NoError(b, err)
			require.LessOrEqual(b, len(page.claims), 10)
			require.True(b, page.held)
			for _, c := range page.claims {
				if c.delivery.Number == 1 {
					require.Equal(b, "half", string(c.delivery.Heartbeat))
				}
				s := release(c.delivery)
				s.lostBy = "dead"
				require.Equal(b, "s", b.settle(s))
				seen++
			}
		}
		require.Equal(b, 25, seen)
		page, err = b.q.lost(b.ctx, b.pool, 0, 10)
		require.NoError(b, err)
		require.Empty(b, page.claims)
		require.False(b, page.more || page.held, "nothing is claimed")
		require.Len(b, b.claimAs("e2", 100), 25)
	}},
	{"a heartbeat without details takes back those of the attempt before", func(b *bench) {
		b.enqueue(task(1))
		s := again(b.claim(1)[0], 0)
		s.heartbeat = []byte("half")
		b.settle(s)
		var d *Delivery
		b.dueUntil("it is due again", func() bool {
			if claims := b.claimAs("dead", 1); len(claims) == 1 {
				d = claims[0]
			}
			return d != nil
		})
		require.Equal(b, "half", string(d.Heartbeat))
		_, err := b.q.extend(b.ctx, b.pool, []int{0}, "dead", time.Minute, map[claimRef][]byte{d.ref(): nil})
		require.NoError(b, err)
		require.NoError(b, b.q.dropLease(b.ctx, b.pool, "dead", 0))
		page, err := b.q.lost(b.ctx, b.pool, 0, 10)
		require.NoError(b, err)
		claims := page.claims
		require.Len(b, claims, 1)
		require.Nil(b, claims[0].delivery.Heartbeat)
	}},
	{"a wide wave in many chunks, trimmed below the watermark", func(b *bench) {
		const width = 2500
		var tasks []Task
		for n := uint64(1); n <= width; n++ {
			tasks = append(tasks, task(n))
		}
		b.enqueue(tasks...)
		for got := 0; got < width; {
			ds := b.claim(1000)
			got += len(ds)
			var s []settlement
			for _, d := range ds {
				s = append(s, done(d))
			}
			b.settle(s...)
		}
		total := 0
		for {
			bs := b.batches()
			if len(bs) == 0 {
				break
			}
			require.LessOrEqual(b, len(bs[0].Outcomes), 2000)
			total += len(bs[0].Outcomes)
			require.NoError(b, b.q.acked(b.ctx, bs[0]))
		}
		require.Equal(b, width, total)
		b.enqueueWave(Wave{ID: width + 1, Tasks: []Task{task(width + 1)}, HeldBelow: width + 1, Common: []byte("new")})
		fields, err := b.rdb.HKeys(b.ctx, b.q.keys.slot(b.pool, 0)+suffixRun+encodeRun(run)).Result()
		require.NoError(b, err)
		require.Less(b, len(fields), 15, "%q", fields)
	}},
	{"a run that ended leaves nothing for ever", func(b *bench) {
		t1 := task(1)
		t1.Options.ScheduleToClose = time.Hour
		b.enqueueWave(Wave{ID: 1, Tasks: []Task{t1}, Window: time.Minute})
		b.settle(done(b.claim(1)[0]))
		b.close(1)
		keys, err := b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+"*"+encodeRun(run)+"*").Result()
		require.NoError(b, err)
		require.NotEmpty(b, keys)
		for _, k := range keys {
			ttl, err := b.rdb.PTTL(b.ctx, k).Result()
			require.NoError(b, err)
			require.Positive(b, ttl, k)
		}
		require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, run))
		keys, err = b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+"{run,box,taken}:*").Result()
		require.NoError(b, err)
		require.Empty(b, keys)
		due, err := b.rdb.ZRange(b.ctx, b.q.keys.slot(b.pool, 0)+suffixDue, 0, -1).Result()
		require.NoError(b, err)
		require.Empty(b, due, "not even its window")
	}},
	{"slot maps change while runs go on", func(b *bench) {
		c, err := b.q.Config(b.ctx, b.pool)
		require.NoError(b, err)
		b.enqueue(task(1))
		c.Slots = 8
		c, err = b.q.SetConfig(b.ctx, b.pool, c)
		require.NoError(b, err)
		require.Equal(b, 8, c.MaxSlots())
		require.Equal(b, 1, c.Slots, "in force after a minute")
		_, err = b.q.SetConfig(b.ctx, b.pool, PoolConfig{Slots: 2})
		require.ErrorIs(b, err, ErrConflict)
		_, err = b.q.SetConfig(b.ctx, b.pool, PoolConfig{Slots: 0, Version: 1})
		require.ErrorIs(b, err, ErrInvalid)
		out, err := b.q.Enqueue(b.ctx, b.pool, &Wave{Run: run, Slot: -1, Tasks: []Task{task(2)}})
		require.NoError(b, err)
		require.Zero(b, out.Slot, "the run stays where it is")
	}},
	{"bad input is refused before anything is sent", func(b *bench) {
		for _, w := range []Wave{
			{Tasks: []Task{task(1)}},
			{Run: "r", Tasks: []Task{{Type: "A"}}},
			{Run: "r", Tasks: []Task{{Number: 1}}},
			{Run: "r", Tasks: []Task{{Number: 1, Type: "A", Payload: make([]byte, MaxTaskBytes+1)}}},
		} {
			_, err := b.q.Enqueue(b.ctx, b.pool, &w)
			require.ErrorIs(b, err, ErrInvalid)
		}
	}},
	{"announcements and presence", func(b *bench) {
		none, err := b.q.Announced(b.ctx, b.pool)
		require.NoError(b, err)
		require.Empty(b, none)
		require.NoError(b, b.q.Announce(b.ctx, b.pool, []string{"A", "B"}))
		types, err := b.q.Announced(b.ctx, b.pool)
		require.NoError(b, err)
		require.Equal(b, map[string]bool{"A": true, "B": true}, types)
		p := presence{Executor: "e1", Types: []string{"A"}, Concurrency: 7, StartedAt: time.Now().UTC().Truncate(time.Second)}
		before, err := b.rdb.Time(b.ctx).Result()
		require.NoError(b, err)
		got, now, err := b.q.present(b.ctx, b.pool, p, time.Minute)
		require.NoError(b, err)
		require.Equal(b, []presence{p}, got)
		require.WithinRange(b, now, before, before.Add(time.Minute))
		got, err = b.q.presences(b.ctx, b.pool)
		require.NoError(b, err)
		require.Equal(b, []presence{p}, got)
		gone := presence{Executor: "e0", Types: []string{"A"}}
		_, _, err = b.q.present(b.ctx, b.pool, gone, time.Minute)
		require.NoError(b, err)
		require.NoError(b, b.rdb.Del(b.ctx, b.q.keys.presence(b.pool, "e0")).Err()) // as its expiry does
		got, _, err = b.q.present(b.ctx, b.pool, p, time.Minute)
		require.NoError(b, err)
		require.Equal(b, []presence{p}, got)
		listed, err := b.rdb.ZRange(b.ctx, b.q.keys.executors(b.pool), 0, -1).Result()
		require.NoError(b, err)
		require.Equal(b, []string{"e1"}, listed, "who is gone is not listed for ever")
		require.NoError(b, b.q.absent(b.ctx, b.pool, "e1"))
		got, err = b.q.presences(b.ctx, b.pool)
		require.NoError(b, err)
		require.Empty(b, got)
	}},
	{"permits count for as long as their executor says so", func(b *bench) {
		say := func(executor string, permits int, ttl time.Duration) {
			_, err := b.q.home(b.ctx, b.pool, []homeSlot{{slot: 0}}, executor, permits, ttl)
			require.NoError(b, err)
		}
		bells := b.rdb.Subscribe(b.ctx, b.q.keys.poolBell(b.pool), b.q.keys.slotBell(b.pool, 0))
		defer func() { _ = bells.Close() }()
		for range 2 {
			_, err := bells.Receive(b.ctx)
			require.NoError(b, err)
		}
		next := uint64(0)
		rings := func(depth int) []string {
			var tasks []Task
			for range depth {
				next++
				tasks = append(tasks, task(next))
			}
			b.enqueue(tasks...)
			for _, d := range b.claim(depth) {
				b.settle(done(d))
			}
			// the end of what this enqueue rang
			require.NoError(b, b.rdb.Publish(b.ctx, b.q.keys.slotBell(b.pool, 0), "end").Err())
			var out []string
			for {
				m, err := bells.ReceiveMessage(b.ctx)
				require.NoError(b, err)
				switch {
				case m.Payload == "end":
					return out
				case m.Channel == b.q.keys.poolBell(b.pool):
					out = append(out, m.Payload)
				}
			}
		}
		say("stays", 2, time.Minute)
		say("leaves", 100, time.Minute)
		require.Empty(b, rings(50))
		say("leaves", 0, 0)
		require.Equal(b, []string{"0"}, rings(50))
		say("dies", 100, 50*time.Millisecond)
		redistest.Eventually(b, 10*time.Second, "the dead one's permits do not count", func() bool { return len(rings(3)) == 1 })
		say("stays", 2, time.Minute)
		left, err := b.rdb.HKeys(b.ctx, b.q.keys.slot(b.pool, 0)+suffixPermits).Result()
		require.NoError(b, err)
		require.Equal(b, []string{"stays"}, left)
	}},
	{"a rate is shared", func(b *bench) {
		granted, began := 0, time.Now()
		for range 5 {
			n, _, err := b.q.reserveRate(b.ctx, b.pool, 10, 4)
			require.NoError(b, err)
			granted += n
		}
		require.GreaterOrEqual(b, granted, 10)
		require.LessOrEqual(b, float64(granted), 11+10*time.Since(began).Seconds(), "what comes anew meanwhile")
	}},
}

func TestOptionsAreValidated(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = rdb.Close() })
	for field, o := range map[string]Options{
		"Namespace": {},
		"KeyPrefix": {Namespace: "n", KeyPrefix: "a{b"},
		"Lease":     {Namespace: "n", Lease: time.Millisecond},
		"Slots":     {Namespace: "n", Slots: 5000},
	} {
		_, err := New(rdb, o)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "Options."+field)
	}
	_, err := New(nil, Options{Namespace: "n"})
	require.ErrorIs(t, err, ErrInvalid)
}
