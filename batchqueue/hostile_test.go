package batchqueue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// logBook keeps what a queue logs.
type logBook struct {
	silence

	mu    sync.Mutex
	lines []string // protected by mu: warnings and errors
}

func (l *logBook) note(msg string, keyvals []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, msg+" "+fmt.Sprint(keyvals...))
}

func (l *logBook) Warn(msg string, keyvals ...any)  { l.note(msg, keyvals) }
func (l *logBook) Error(msg string, keyvals ...any) { l.note(msg, keyvals) }

func (l *logBook) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// add puts an entry into the ready stream of type A of slot 0, as somebody who has Redis's
// password might.
func (r *rig) forge(values ...any) {
	r.Helper()
	key := r.q.keys.slot(r.pool, 0) + suffixReady + "A"
	require.NoError(r, r.rdb.XAdd(r.Context(), &redis.XAddArgs{Stream: key, Values: values}).Err())
}

// raw is the entry of a task that is queued as things should be, field by field.
func (r *rig) raw(run string) []any {
	r.Helper()
	key := r.q.keys.slot(r.pool, 0) + suffixReady + "A"
	entries, err := r.rdb.Do(r.Context(), "XREVRANGE", key, "+", "-", "COUNT", 1).Slice()
	require.NoError(r, err)
	fields, ok := entries[0].([]any)[1].([]any)
	require.True(r, ok)
	s := readStored(fields)
	require.Equal(r, encodeRun(run), s.run)
	return fields
}

// Entries that nobody wrote who knows how, among a hundred that are sound: each of the
// forged ones becomes a dead letter, and is said and counted; the sound ones are done, once.
func TestForgedEntriesHarmNobody(t *testing.T) {
	r := newRig(t, 1, longLease)
	book := &logBook{}
	q, err := New(r.rdb, Options{Namespace: "test", Slots: 1, Lease: longLease, Logger: book})
	require.NoError(t, err)
	r.enqueue("sound", tasks(50)...)
	good := string(encodeEntry(7, position{}, []byte("payload")))
	common := string(encodeCommon(commonData{options: []TaskOptions{{}}}))
	name := "@" + "12345678" + encodeRun(run)
	forged := [][]any{
		{"x", "y"},
		{"r", "x", "n", "junk"},
		{"r", encodeRun(run), "w", "12345678", "n", "1"},
		{"r", encodeRun(run), "w", "12345678", "n", "1", "e", "short"},
		{"r", encodeRun(run), "w", "", "n", "1", "e", good},
		{"r", encodeRun(run), "n", "1", "e", good, "c", ""},
		{"r", encodeRun(run), "n", "1", "e", good, "c", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"r", encodeRun(run), "n", "-1", "e", good, "c", common},
		{"r", encodeRun(run), "n", "1e300", "e", good, "c", common},
		{"r", encodeRun(run), "n", "99999999999999999999999", "e", good, "c", common},
		{"r", encodeRun(run), "n", "", "e", good, "c", common},
		{"r", "", "n", "1", "e", good, "c", common},
		{"r", "~!!", "n", "1", "e", good, "c", common},
		{"r", encodeRun(run), "n", "1", "e", good, "c", common, "m", "not:numbers"},
		{"r", encodeRun(run), "n", "1", "e", good[:8] + "\x01\x63", "c", common},
		{"r", encodeRun(run), "n", "1", "e", good[:8] + "\x02\x00\x63\x63", "c", common},
		{"@", "1"}, {"@1234", "1"}, {name, "junk", "e", good},
		{"e", strings.Repeat("\xff", 1<<20)},
		{strings.Repeat("n", 70_000), "1"},
	}
	var wide []any // of more values than a script can hand over
	for n := range 20_000 {
		wide = append(wide, strconv.Itoa(n))
	}
	forged = append(forged, wide)
	for _, values := range forged {
		r.forge(values...)
	}
	var dead, ran atomic.Int64
	e := r.start(q, ExecutorOptions{Observer: Observer{Dead: func(*Delivery, Outcome) { dead.Add(1) }}, Handler: func(ctx context.Context, d *Delivery) Result {
		ran.Add(1)
		return echo(ctx, d)
	}})
	more := tasks(100)[50:]
	r.enqueue("sound", more...)
	r.awaitCount("sound", 100)
	r.eventually("the forged ones are dead letters", func() bool {
		n, err := r.q.DeadLetterCount(t.Context(), r.pool)
		require.NoError(t, err)
		return n == int64(len(forged)) && e.Stats().Held == 0
	})
	for n, o := range r.delivered("sound") {
		require.Equal(t, KindCompleted, o.Kind)
		require.Equal(t, fmt.Sprintf("payload %d", n), string(o.Payload))
	}
	require.EqualValues(t, 100, ran.Load(), "nothing that is forged runs")
	require.EqualValues(t, len(forged), dead.Load(), "counted")
	require.Equal(t, 1, book.count("cannot be decoded"), "a row of failures is one line a minute")
	require.Empty(t, r.twice)
	r.eventually("nothing is left", func() bool {
		s, err := r.q.Stats(t.Context(), r.pool)
		require.NoError(t, err)
		return s.Depth()+s.InFlight()+s.Outbox == 0
	})
}

// A field that this release does not know is the next one's: the task runs, and the field
// stays with it.
func TestUnknownFieldsOfAnEntryAreLeftAlone(t *testing.T) {
	r := newRig(t, 1, longLease)
	r.enqueue("run", task(1))
	fields := append(r.raw("run"), "future", "value")
	stream := r.q.keys.slot(r.pool, 0) + suffixReady + "A"
	id := r.rdb.XRevRangeN(t.Context(), stream, "+", "-", 1).Val()[0].ID
	// In the place of the entry, so that the record knows it: a stream takes no entry twice.
	require.NoError(t, r.rdb.Del(t.Context(), stream).Err())
	require.NoError(t, r.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, ID: id, Values: fields}).Err())
	require.NoError(t, r.rdb.XGroupCreate(t.Context(), stream, group, "0").Err())
	r.start(r.q, ExecutorOptions{})
	require.Equal(t, KindCompleted, r.awaitOutcome("run", 1).Kind)
}

// newerEntry turns the waiting task of the run into one that newer code wrote.
func (r *rig) newerEntry(run string) {
	r.Helper()
	stream := r.q.keys.slot(r.pool, 0) + suffixReady + "A"
	m := r.rdb.XRevRangeN(r.Context(), stream, "+", "-", 1).Val()[0]
	fields := r.raw(run)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "e" {
			e := []byte(fields[i+1].(string))
			e[8] = stepsVersion + 1
			fields[i+1] = string(e)
		}
	}
	require.NoError(r, r.rdb.Del(r.Context(), stream).Err())
	require.NoError(r, r.rdb.XAdd(r.Context(), &redis.XAddArgs{Stream: stream, ID: m.ID, Values: fields}).Err())
	require.NoError(r, r.rdb.XGroupCreate(r.Context(), stream, group, "0").Err())
}

// What newer code wrote is left for newer executors: it is not dropped, loses no attempt,
// and who cannot run it does not try all the time.
func TestNewerEntriesAreLeftToNewerExecutors(t *testing.T) {
	r := newRig(t, 1, longLease)
	book := &logBook{}
	calls := &callCounter{script: claimScript}
	rdb := r.server.Client()
	rdb.AddHook(calls)
	q, err := New(rdb, Options{Namespace: "test", Slots: 1, Lease: longLease, Logger: book})
	require.NoError(t, err)
	r.enqueue("run", with(1, TaskOptions{Retry: once}))
	r.newerEntry("run")
	var ran atomic.Int64
	e := r.start(q, ExecutorOptions{Handler: func(ctx context.Context, d *Delivery) Result {
		ran.Add(1)
		return echo(ctx, d)
	}})
	r.ready(e)
	delayed := func() bool {
		s, err := r.q.Stats(t.Context(), r.pool)
		require.NoError(t, err)
		return s.Delayed == 1 && s.InFlight() == 0
	}
	r.eventually("it was put off", delayed)
	began, before := time.Now(), calls.n.Load()
	r.enqueue("sound", tasks(20)...)
	r.awaitCount("sound", 20)
	r.eventually("it was tried again", func() bool {
		return book.count("left to them") > 0 && calls.n.Load() > before && time.Since(began) > 2*time.Second && delayed()
	})
	require.Less(t, float64(calls.n.Load()-before), 60+10*time.Since(began).Seconds(), "claims are not hot")
	require.EqualValues(t, 20, ran.Load())
	require.Zero(t, r.rdb.XLen(t.Context(), r.q.keys.slot(r.pool, 0)+suffixDead).Val())
	require.Equal(t, 1, book.count("left to them"))

	// The newer executor finds it whole, in its first attempt.
	tasks, err := r.q.Tasks(t.Context(), r.pool, "run")
	require.NoError(t, err)
	require.Equal(t, StateDelayed, tasks[0].State)
	r.stop(e)
	r.eventually("it waits", func() bool {
		_, err := r.q.due(t.Context(), r.pool, 0)
		require.NoError(t, err)
		return r.rdb.XLen(t.Context(), r.q.keys.slot(r.pool, 0)+suffixFront+"A").Val() == 1
	})
	m := r.rdb.XRangeN(t.Context(), r.q.keys.slot(r.pool, 0)+suffixFront+"A", "-", "+", 1).Val()[0]
	meta, err := parseMetadata(m.Values["m"].(string))
	require.NoError(t, err)
	require.Equal(t, 1, meta.attempt)
	require.NotZero(t, meta.scheduledMS, "its deadlines count from when it was enqueued")
}

// A newer executor that died with what only it could read: an older leader cannot know
// whether the task may start again, so it leaves that to a newer one.
func TestALostNewerEntryIsLeftToANewerLeader(t *testing.T) {
	r := newRig(t, 1, shortLease)
	r.enqueue("run", with(1, TaskOptions{Retry: once}))
	r.newerEntry("run")
	stream := r.q.keys.slot(r.pool, 0) + suffixReady + "A"
	require.NoError(t, r.rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: "newer", Streams: []string{stream, ">"}}).Err())
	var ran atomic.Int64
	e := r.start(r.q, ExecutorOptions{Handler: func(ctx context.Context, d *Delivery) Result {
		ran.Add(1)
		return echo(ctx, d)
	}})
	r.ready(e)
	// The rest of the pool goes on.
	r.enqueue("sound", task(1))
	r.awaitCount("sound", 1)
	looks := &callCounter{script: lostScript}
	r.rdb.AddHook(looks)
	r.eventually("the leader looked some times", func() bool { return looks.n.Load() > 5 })
	s, err := r.q.Stats(t.Context(), r.pool)
	require.NoError(t, err)
	require.EqualValues(t, 1, s.InFlight(), "it is where it was")
	require.EqualValues(t, 1, ran.Load())
}

// callCounter is a go-redis hook that counts calls of a script, or all commands.
type callCounter struct {
	lossy

	script *script
	n      atomic.Int64
}

func (h *callCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.count(cmd)
		return next(ctx, cmd)
	}
}

func (h *callCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			h.count(c)
		}
		return next(ctx, cmds)
	}
}

func (h *callCounter) count(c redis.Cmder) {
	if h.script == nil || runs(h.script)(c) {
		h.n.Add(1)
	}
}

// A handler that cannot run a task, but knows that others may, declines it: no attempt is
// lost, not even the only one, and nobody is hot about it.
func TestDeclinedTasksGoToOthers(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var declined, ran []time.Time
		old := func(_ context.Context, _ *Delivery) Result {
			l.book.mu.Lock()
			defer l.book.mu.Unlock()
			declined = append(declined, time.Now())
			return Result{Declined: true}
		}
		e := l.start(ExecutorOptions{ID: "old", Handler: old})
		l.enqueue(0, "run", with(1, TaskOptions{Retry: once}))
		l.pass(20 * time.Second)
		require.InDelta(t, 10, len(declined), 2)
		require.EqualValues(t, len(declined), e.Stats().Released)
		require.Zero(t, e.Stats().Retried)
		require.Zero(t, l.book.size())
		l.start(ExecutorOptions{ID: "new", Handler: func(ctx context.Context, d *Delivery) Result {
			l.book.mu.Lock()
			defer l.book.mu.Unlock()
			ran = append(ran, time.Now())
			return echo(ctx, d)
		}})
		l.stop(e)
		l.await(1)
		require.Len(t, ran, 1)
		require.Equal(t, 1, l.one("run", 1).Attempt)
	})
}

// An outcome that is damaged in Redis is a failure of its task. It holds up neither the
// others of its run nor other runs, whichever way they take.
func TestDamagedOutcomesFailTheirTasks(t *testing.T) {
	for _, way := range []string{"delivered", "taken", "asked for", "answered to a repeated enqueue"} {
		t.Run(way, func(t *testing.T) {
			b := newBench(t, redistest.Start(t).Client())
			book := &logBook{}
			b.q.log = book
			b.enqueue(task(1), task(2))
			for _, d := range b.claim(2) {
				require.Equal(b, "s", b.settle(done(d)))
			}
			box := b.q.keys.slot(b.pool, 0) + suffixBox + encodeRun(run)
			e, err := b.q.rdb.LIndex(b.ctx, box, 0).Result()
			require.NoError(t, err)
			require.NoError(t, b.q.rdb.LSet(b.ctx, box, 0, e[:19]+"\x01\xff\xff").Err())
			var got []Outcome
			switch way {
			case "delivered":
				got = b.batches()[0].Outcomes
			case "taken":
				got = b.close(1)
			case "asked for":
				got = b.ask(task(1), task(2)).Taken
			default:
				b.close(1)
				for _, a := range b.enqueue(task(1), task(2)) {
					got = append(got, *a.Outcome)
				}
			}
			kinds := map[uint64]Kind{}
			for _, o := range got {
				kinds[o.Number] = o.Kind
			}
			require.Equal(t, map[uint64]Kind{1: KindPoison, 2: KindCompleted}, kinds)
			require.Equal(t, 1, book.count("outcomes cannot be decoded"))
		})
	}
}

// An outcome of a kind that only newer code knows waits for a newer leader; other runs do
// not wait for it.
func TestOutcomesOfANewerKindHoldUpNobody(t *testing.T) {
	b := newBench(t, redistest.Start(t).Client())
	book := &logBook{}
	b.q.log = book
	for _, name := range []string{"a", "b", "c"} {
		b.enqueueWave(Wave{Run: name, ID: 1, Tasks: []Task{task(1)}})
	}
	for _, d := range b.claim(3) {
		require.Equal(b, "s", b.settle(done(d)))
	}
	box := b.q.keys.slot(b.pool, 0) + suffixBox + encodeRun("b")
	e, err := b.q.rdb.LIndex(b.ctx, box, 0).Result()
	require.NoError(t, err)
	require.NoError(t, b.q.rdb.LSet(b.ctx, box, 0, e[:18]+"\x0f"+e[19:]).Err())
	var names []string
	for _, batch := range b.batches() {
		names = append(names, batch.Run)
	}
	require.ElementsMatch(t, []string{"a", "c"}, names)
	require.Equal(t, 1, book.count("left to them"))
	require.EqualValues(t, 1, b.q.rdb.LLen(b.ctx, box).Val(), "it is kept")
}

// A task as large as may be goes through whole, and one that is larger is refused before
// anything is sent.
func TestTheLargestTask(t *testing.T) {
	r := newRig(t, 1, longLease)
	large := task(1)
	large.Payload = []byte(strings.Repeat("x", MaxTaskBytes))
	r.start(r.q, ExecutorOptions{Handler: func(_ context.Context, d *Delivery) Result {
		return Result{Kind: KindCompleted, Payload: fmt.Append(nil, len(d.Payload))}
	}})
	r.enqueue("run", large, task(2))
	r.awaitCount("run", 2)
	require.Equal(t, fmt.Sprint(MaxTaskBytes), string(r.delivered("run")[1].Payload))
	large.Payload = append(large.Payload, 'x')
	_, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: "larger", ID: 1, Tasks: []Task{large}, Slot: 0})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "store the data elsewhere")
}

// A handler that heartbeats as fast as it can costs Redis what one does that heartbeats now
// and then: the last details travel with the lease.
func TestAFloodOfHeartbeatsCostsNothing(t *testing.T) {
	commands := func(isFlood bool) float64 {
		r := newRig(t, 1, shortLease)
		count := &callCounter{}
		rdb := r.server.Client()
		rdb.AddHook(count)
		beats := 0
		e := r.start(r.queue(rdb, 1), ExecutorOptions{Handler: func(ctx context.Context, d *Delivery) Result {
			details := make([]byte, 1000)
			end := time.NewTimer(2 * shortLease)
			defer end.Stop()
			d.RecordHeartbeat(details)
			for isFlood {
				select {
				case <-end.C:
					return echo(ctx, d)
				default:
					d.RecordHeartbeat(details)
					beats++
				}
			}
			<-end.C
			return echo(ctx, d)
		}})
		r.ready(e)
		before := count.n.Load()
		r.enqueue("run", with(1, TaskOptions{Heartbeat: time.Minute}))
		r.awaitCount("run", 1)
		if isFlood {
			require.Greater(t, beats, 10_000)
		}
		return float64(count.n.Load() - before)
	}
	calm, flood := commands(false), commands(true)
	require.Less(t, flood, 1.5*calm+20)
}

// A task that takes its process down, again and again, among others that do not: in the end
// it runs alone, and fails for good. The others are done, and what comes later is too.
func TestATaskThatKillsItsProcessesOnRedis(t *testing.T) {
	r := newRig(t, 1, shortLease)
	_, err := r.q.SetConfig(t.Context(), r.pool, PoolConfig{Slots: 1, PoisonLimit: 1})
	require.NoError(t, err)
	retry := TaskOptions{Retry: RetryPolicy{InitialInterval: 10 * time.Millisecond, BackoffCoefficient: 1}}
	var innocents []Task
	for n := range uint64(20) {
		innocents = append(innocents, with(n+1, retry))
	}
	r.enqueue("innocent", innocents...)
	r.enqueue("poison", with(1, retry))
	deaths := 0
	for ; len(r.delivered("poison")) == 0; deaths++ {
		require.Less(t, deaths, 10)
		m := newMortal(before, nil)
		rdb := redis.NewClient(&redis.Options{Addr: r.server.Addr, MaxRetries: -1})
		rdb.AddHook(m)
		t.Cleanup(func() { _ = rdb.Close() })
		r.start(r.queue(rdb, 1), ExecutorOptions{
			DrainTimeout: time.Millisecond,
			Handler: func(ctx context.Context, d *Delivery) Result {
				if d.Run == "poison" {
					m.die()
					<-ctx.Done()
				}
				return echo(ctx, d)
			},
			Deliver: func(ctx context.Context, b *Batch) error {
				if m.dead() {
					return errDead
				}
				return r.deliver(ctx, b)
			},
		})
		r.eventually("it dies, or has given the task up", func() bool { return m.dead() || len(r.delivered("poison")) > 0 })
	}
	require.Equal(t, 6, deaths, "four losses beside others, one alone, and the process that finds the last")
	require.Equal(t, KindPoison, r.delivered("poison")[1].Kind)
	n, err := r.q.DeadLetterCount(t.Context(), r.pool)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	r.awaitCount("innocent", 20)
	for _, o := range r.delivered("innocent") {
		require.Equal(t, KindCompleted, o.Kind)
	}
	r.enqueue("later", tasks(5)...)
	r.awaitCount("later", 5)
	require.Empty(t, r.twice)
}
