package batchqueue

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func newQueue(t *testing.T, rdb redis.UniversalClient) *Queue {
	t.Helper()
	q, err := New(rdb, Options{Namespace: "test", Slots: 1})
	require.NoError(t, err)
	return q
}

func TestCheckNamesWhatIsWrongAndTheFix(t *testing.T) {
	t.Run("a good server", func(t *testing.T) {
		r, err := newQueue(t, redistest.Start(t, "--appendonly", "yes", "--maxmemory", "1gb").Client()).Check(t.Context())
		require.NoError(t, err)
		require.Equal(t, "aof", r.Persistence)
		require.Empty(t, r.Warnings)
		require.NotEmpty(t, r.Version)
	})
	t.Run("no persistence, no limit", func(t *testing.T) {
		r, err := newQueue(t, redistest.Start(t).Client()).Check(t.Context())
		require.NoError(t, err)
		require.Len(t, r.Warnings, 2)
		verdicts := map[string]Verdict{}
		for _, f := range r.Findings {
			verdicts[f.Setting] = f.Verdict
			require.Equal(t, f.Verdict == VerdictGood, f.Advice == "", f.Setting)
		}
		require.Equal(t, map[string]Verdict{"answers": VerdictGood, "version": VerdictGood, "maxmemory-policy": VerdictGood,
			"role": VerdictGood, "persistence": VerdictWarning, "maxmemory": VerdictWarning, "writes": VerdictGood}, verdicts)
	})
	t.Run("memory that runs short", func(t *testing.T) {
		for share, want := range map[float64]Verdict{0.75: VerdictGood, 0.9: VerdictWarning, 0.97: VerdictBad} {
			rdb := redistest.Start(t, "--appendonly", "yes").Client()
			// Beside this much it does not matter what the server takes meanwhile.
			require.NoError(t, rdb.SetRange(t.Context(), "ballast", 64<<20, "x").Err())
			used, err := strconv.ParseFloat(parseInfo(rdb.Info(t.Context(), "memory").Val())["used_memory"], 64)
			require.NoError(t, err)
			require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", fmt.Sprintf("%.0f", used/share)).Err())
			r, err := newQueue(t, rdb).Check(t.Context())
			require.NoError(t, err, "a memory that is full prevents no work")
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Setting == "maxmemory" })
			require.Equal(t, want, r.Findings[i].Verdict, "%v: %+v", share, r.Findings[i])
			if want == VerdictGood {
				require.Empty(t, r.Warnings)
				continue
			}
			require.Len(t, r.Warnings, 1)
			require.Contains(t, r.Warnings[0], fmt.Sprintf("has used %.0f %% of its maxmemory", 100*share))
			require.Contains(t, r.Warnings[0], "raise maxmemory")
		}
	})
	t.Run("miniredis", func(t *testing.T) {
		r, err := newQueue(t, redistest.Mini(t)).Check(t.Context())
		require.NoError(t, err)
		require.True(t, r.Embedded)
	})
	t.Run("evicting", func(t *testing.T) {
		_, err := newQueue(t, redistest.Start(t, "--maxmemory-policy", "allkeys-lru").Client()).Check(t.Context())
		require.ErrorIs(t, err, ErrServer)
		require.ErrorContains(t, err, "noeviction")
	})
	t.Run("a replica", func(t *testing.T) {
		_, err := newQueue(t, redistest.Start(t, "--replicaof", "127.0.0.1 1").Client()).Check(t.Context())
		require.ErrorIs(t, err, ErrServer)
		require.ErrorContains(t, err, "primary")
	})
	t.Run("no permission", func(t *testing.T) {
		s := redistest.Start(t)
		require.NoError(t, s.Client().Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+ping", "+info").Err())
		c := redis.NewClient(&redis.Options{Addr: s.Addr, Username: "reader", Password: "pw"})
		t.Cleanup(func() { _ = c.Close() })
		_, err := newQueue(t, c).Check(t.Context())
		require.ErrorIs(t, err, ErrServer)
		require.ErrorContains(t, err, "ACL SETUSER")
	})
	t.Run("unreachable", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		t.Cleanup(func() { _ = c.Close() })
		_, err := newQueue(t, c).Check(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
	})
}

func TestOldServersAreRefused(t *testing.T) {
	for version, ok := range map[string]bool{"6.2.14": false, "7.0.15": true, "10.0.0": true} {
		info := parseInfo("redis_version:" + version + "\r\nrole:master\r\n")
		require.Equal(t, version, info["redis_version"])
		require.Equal(t, ok, versionSuffices(version, 7, 0), version)
	}
}

// A full Redis refuses new tasks, and goes on with those it has.
func TestFullRedisRefusesNewTasksAndFinishesOld(t *testing.T) {
	rdb := redistest.Start(t).Client()
	b := newBench(t, rdb)
	b.enqueue(task(1))
	d := b.claim(1)[0]
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1mb").Err())
	out, err := b.q.Enqueue(b.ctx, b.pool, &Wave{Run: run, Slot: 0, Tasks: []Task{task(2)}})
	require.NoError(t, err)
	require.Equal(t, AnswerUnsure, out.Answers[0].State)
	require.ErrorIs(t, out.Answers[0].Err, ErrFull)
	require.Equal(t, "s", b.settle(done(d)))
	batch := b.batches()[0]
	require.NoError(t, b.q.acked(b.ctx, batch))
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.Equal(t, []AnswerState{AnswerQueued}, states(b.enqueue(task(2))))
}

func TestUnreachableRedisMakesEveryTaskUnsure(t *testing.T) {
	s := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialTimeout: time.Second})
	t.Cleanup(func() { _ = c.Close() })
	q := newQueue(t, c)
	s.Kill()
	out, err := q.Enqueue(t.Context(), "p", &Wave{Run: run, Slot: -1, Tasks: []Task{task(1), task(2)}})
	require.NoError(t, err)
	for _, a := range out.Answers {
		require.Equal(t, AnswerUnsure, a.State)
		require.ErrorIs(t, a.Err, ErrUnavailable)
	}
	_, err = q.CloseWindow(t.Context(), "p", 0, run, 1, Room{1, true})
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = q.Ask(t.Context(), "p", 0, AskRequest{Run: run, Open: []Identity{{1, 1}}})
	require.ErrorIs(t, err, ErrUnavailable)
}

// Scripts are sent by digest; a server that forgot them gets the text.
func TestServerThatLostItsScripts(t *testing.T) {
	rdb := redistest.Start(t).Client()
	b := newBench(t, rdb)
	b.enqueue(task(1))
	require.NoError(t, rdb.ScriptFlush(t.Context()).Err())
	require.Len(t, b.claim(1), 1)
}

// A consumer group that somebody destroyed is made again, and its tasks run again.
func TestLostGroupIsMadeAgain(t *testing.T) {
	rdb := redistest.Start(t).Client()
	b := newBench(t, rdb)
	b.enqueue(task(1), task(2))
	b.claim(1)
	stream := b.q.keys.slot(b.pool, 0) + suffixReady + "A"
	require.NoError(t, rdb.XGroupDestroy(t.Context(), stream, group).Err())
	require.Len(t, b.claim(10), 2)
}

func TestClusterKeysShareTheSlotsTag(t *testing.T) {
	k := newKeys("slipstream", "name{space}/x")
	require.Equal(t, "slipstream:{name%7bspace%7d%2fx/a%3ab/3}:", k.slot("a:b", 3))
	for _, key := range []string{k.config("p"), k.announced("p"), k.executors("p"), k.presence("p", "e"), k.rate("p")} {
		require.Contains(t, key, "slipstream:{name%7bspace%7d%2fx/p}:")
	}
}

func TestRunNamesSurviveTheirShortForm(t *testing.T) {
	for _, name := range []string{run, "order-17", "a/b:{c}%~", "0190C2A4-5B1E-7C3A-9F00-0123456789AB", "x"} {
		short := encodeRun(name)
		back, err := decodeRun(short)
		require.NoError(t, err)
		require.Equal(t, name, back)
	}
	require.Len(t, encodeRun(run), 23)
	_, err := decodeRun("~nonsense")
	require.ErrorIs(t, err, ErrInvalid)
}
