package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// A run that is folded answers whatever is done to it as one that never was.
func TestFoldedRunsAreAsOthers(t *testing.T) {
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	rapid.Check(t, func(t *rapid.T) {
		server.FlushAll()
		now := time.UnixMilli(1_800_000_000_000)
		server.SetTime(now)
		folded, other := newTwin(t, rdb, "folded"), newTwin(t, rdb, "others")
		other.occupy()
		folded.add(1, 101, false)
		other.add(1, 101, false)
		require.True(t, folded.isFolded())
		require.False(t, other.isFolded())
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n, fingerprint := rapid.Uint64Range(1, 3).Draw(t, "number"), rapid.Uint64Range(101, 102).Draw(t, "fingerprint")
				again := rapid.Bool().Draw(t, "again")
				require.Equal(t, other.add(n, fingerprint, again), folded.add(n, fingerprint, again))
			},
			"claim": func(t *rapid.T) { require.Equal(t, other.claim(), folded.claim()) },
			"settle": func(t *rapid.T) {
				how := rapid.IntRange(0, 3).Draw(t, "how")
				require.Equal(t, other.settle(how), folded.settle(how))
			},
			"cancel": func(t *rapid.T) {
				discard := rapid.Bool().Draw(t, "discard")
				other.cancel(discard)
				folded.cancel(discard)
			},
			"ask":     func(t *rapid.T) { require.Equal(t, other.ask(), folded.ask()) },
			"close":   func(t *rapid.T) { require.Equal(t, other.closeWindow(), folded.closeWindow()) },
			"deliver": func(t *rapid.T) { require.Equal(t, other.deliver(), folded.deliver()) },
			"abandon": func(*rapid.T) { other.abandon(); folded.abandon() },
			"forget":  func(*rapid.T) { other.forget(); folded.forget() },
			"pass": func(t *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "time")
				now = now.Add(d)
				server.SetTime(now)
				server.FastForward(d)
				require.Equal(t, other.due(), folded.due())
			},
			"status": func(t *rapid.T) { require.Equal(t, other.tasks(), folded.tasks()) },
			"":       func(t *rapid.T) { require.Equal(t, other.stats(), folded.stats()) },
		})
	})
}

// twin is a pool with one run. What its verbs return can be compared with its sibling's.
type twin struct {
	t    *rapid.T
	rdb  *redis.Client
	q    *Queue
	pool string
	held []*Delivery
}

func newTwin(t *rapid.T, rdb *redis.Client, pool string) *twin {
	q, err := New(rdb, Options{Namespace: "twins", Slots: 1})
	require.NoError(t, err)
	return &twin{t: t, rdb: rdb, q: q, pool: pool}
}

func (w *twin) ctx() context.Context { return context.Background() }

func (w *twin) isFolded() bool {
	key, field := w.q.keys.fold(w.pool, 0, run)
	exists := w.rdb.Exists(w.ctx(), w.q.keys.slot(w.pool, 0)+suffixRun+encodeRun(run)).Val()
	return w.rdb.HExists(w.ctx(), key, field).Val() && exists == 0
}

// occupy puts another run where this one would be folded, as if their sums began alike.
func (w *twin) occupy() {
	_, err := w.q.Enqueue(w.ctx(), w.pool, &Wave{Run: "neighbour", Tasks: []Task{{Number: 1, Type: "unhandled"}}})
	require.NoError(w.t, err)
	key, field := w.q.keys.fold(w.pool, 0, "neighbour")
	place := w.rdb.HGet(w.ctx(), key, field).Val()
	require.Len(w.t, place, 12)
	key, field = w.q.keys.fold(w.pool, 0, run)
	require.NoError(w.t, w.rdb.HSet(w.ctx(), key, field, place).Err())
}

func (w *twin) add(n, fingerprint uint64, again bool) []Answer {
	x := task(n)
	x.Fingerprint = fingerprint
	out, err := w.q.Enqueue(w.ctx(), w.pool, &Wave{Run: run, ID: n, Common: []byte("common"), Tasks: []Task{x}, Again: again, Retention: time.Minute, OutcomeOverhead: 7})
	require.NoError(w.t, err)
	return out.Answers
}

func (w *twin) claim() []string {
	r, err := w.q.claim(w.ctx(), w.pool, 0, claimRequest{executor: "e", types: []string{"A"}, count: 2, bytes: 1 << 20, lease: time.Hour * 24, suspects: suspectBudgets{9, 9, 9}, outboxLimit: 1000})
	require.NoError(w.t, err)
	w.held = append(w.held, r.deliveries...)
	var out []string
	for _, d := range r.deliveries {
		out = append(out, fmt.Sprint(d.Number, d.Fingerprint, d.Attempt, string(d.Payload), string(d.Common), string(d.LastFailure), d.ScheduledAt))
	}
	return out
}

func (w *twin) settle(how int) []settleReply {
	if len(w.held) == 0 {
		return nil
	}
	d := w.held[0]
	s := done(d)
	switch how {
	case 0:
		s = again(d, time.Second)
	case 1:
		s = release(d)
	case 2:
		s.outcome.Kind = KindFailed
	}
	w.held = w.held[1:]
	out, err := w.q.settle(w.ctx(), w.pool, 0, []settlement{s})
	require.NoError(w.t, err)
	return out
}

func (w *twin) cancel(discard bool) {
	end := w.q.Cancel
	if discard {
		end = w.q.Discard
	}
	require.NoError(w.t, end(w.ctx(), w.pool, 0, run, []Identity{{1, 101}, {2, 101}}))
}

func (w *twin) ask() AskReply {
	r, err := w.q.Ask(w.ctx(), w.pool, 0, AskRequest{Run: run, Open: []Identity{{1, 101}, {2, 102}}, Room: Room{1 << 20, true}})
	require.NoError(w.t, err)
	return r
}

func (w *twin) closeWindow() []Outcome {
	out, err := w.q.CloseWindow(w.ctx(), w.pool, 0, run, 1, Room{1 << 20, true})
	require.NoError(w.t, err)
	return out
}

func (w *twin) deliver() [][]Outcome {
	bs, _, err := w.q.batches(w.ctx(), w.pool, 0, 5)
	require.NoError(w.t, err)
	var out [][]Outcome
	for _, b := range bs {
		require.Equal(w.t, "common", string(b.Common))
		out = append(out, b.Outcomes)
		require.NoError(w.t, w.q.acked(w.ctx(), b))
	}
	return out
}

func (w *twin) abandon() {
	require.NoError(w.t, w.q.abandon(w.ctx(), &Batch{Pool: w.pool, Run: run}))
}

func (w *twin) forget() { require.NoError(w.t, w.q.Forget(w.ctx(), w.pool, 0, run)) }

func (w *twin) due() time.Duration {
	next, err := w.q.due(w.ctx(), w.pool, 0)
	require.NoError(w.t, err)
	return next
}

func (w *twin) tasks() []TaskStatus {
	out, err := w.q.Tasks(w.ctx(), w.pool, run)
	require.NoError(w.t, err)
	return out
}

func (w *twin) stats() []int64 {
	s, err := w.q.Stats(w.ctx(), w.pool)
	require.NoError(w.t, err)
	waiting := int64(0)
	for _, x := range s.Types {
		if x.Type == "A" {
			waiting += x.Waiting
		}
	}
	return []int64{waiting, s.InFlight(), s.Delayed, s.Outbox, s.OutboxBytes}
}

// What is folded costs little, and leaves nothing behind.
func TestFoldsGoWithTheirTasks(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	keys := func(suffix string) []string {
		return b.rdb.Keys(b.ctx, b.q.keys.slot(b.pool, 0)+suffix+"*").Val()
	}
	const runs = 100
	for i := range runs {
		b.enqueueWave(Wave{Run: fmt.Sprint("run ", i), Tasks: []Task{task(uint64(40 + i))}})
	}
	require.Empty(t, keys(suffixRun))
	require.NotEmpty(t, keys(suffixFold))
	names, err := b.q.Runs(b.ctx, b.pool)
	require.NoError(t, err)
	require.Len(t, names, runs)
	d := b.claim(runs)
	require.Len(t, d, runs)
	require.Empty(t, keys(suffixRun), "a claim unfolds nothing")
	for _, d := range d {
		require.Equal(t, "s", b.settle(done(d)))
	}
	require.Empty(t, keys(suffixFold))
	require.Len(t, keys(suffixRun), runs)
	for len(keys(suffixBox)) > 0 {
		for _, batch := range b.batches() {
			require.NoError(t, b.q.acked(b.ctx, batch))
		}
	}
	for _, key := range keys(suffixRun) {
		require.Positive(t, b.rdb.PTTL(b.ctx, key).Val())
	}
}

// A stream that was lost takes its folded runs along: the run that asks adds them again.
func TestFoldedTaskIsLostWithItsStream(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	b.enqueue(task(1))
	require.NoError(t, b.rdb.Del(b.ctx, b.q.keys.slot(b.pool, 0)+suffixReady+"A").Err())
	r, err := b.q.Ask(b.ctx, b.pool, 0, AskRequest{Run: run, Open: []Identity{{1, 101}}})
	require.NoError(t, err)
	require.Equal(t, []AnswerState{AnswerNotHere}, states(r.Answers))
	require.Equal(t, []AnswerState{AnswerQueued}, states(b.enqueue(task(1))))
	require.Len(t, b.claim(1), 1)
}

// Waves that are wide enough have their run and digest in the name of a field; narrow ones
// do not. Both are claimed alike.
func TestClaimsOfSharedAndOwnNames(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	var want []uint64
	for _, width := range []int{1, 2, 3, 4, 5, 50} {
		w := Wave{Run: fmt.Sprint("@run/", width), HeldBelow: 1}
		for n := range width {
			w.Tasks = append(w.Tasks, task(uint64(n+1)))
			want = append(want, uint64(n+1))
		}
		b.enqueueWave(w)
	}
	var got []uint64
	for _, d := range b.claim(100) {
		require.Equal(t, task(d.Number).Payload, d.Payload)
		require.Equal(t, "common", string(d.Common))
		got = append(got, d.Number)
	}
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(t, want, got)
}

// A run that was folded under an older slot map is found there.
func TestFoldedRunKeepsItsSlot(t *testing.T) {
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	now := time.Now()
	server.SetTime(now)
	q := newQueue(t, rdb)
	enqueue := func(q *Queue, run string) int {
		out, err := q.Enqueue(t.Context(), "p", &Wave{Run: run, Slot: -1, Tasks: []Task{task(1)}})
		require.NoError(t, err)
		require.NoError(t, out.Answers[0].Err)
		return out.Slot
	}
	const runs = 20
	for i := range runs {
		require.Zero(t, enqueue(q, fmt.Sprint("run ", i)))
	}
	_, err := q.SetConfig(t.Context(), "p", PoolConfig{Slots: 8})
	require.NoError(t, err)
	server.SetTime(now.Add(2 * time.Minute))
	q = newQueue(t, rdb)
	elsewhere := 0
	for i := range runs {
		require.Zero(t, enqueue(q, fmt.Sprint("run ", i)))
		if enqueue(q, fmt.Sprint("new run ", i)) > 0 {
			elsewhere++
		}
	}
	require.Positive(t, elsewhere)
}
