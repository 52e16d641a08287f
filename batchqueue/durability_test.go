package batchqueue

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestWhatReplicasAndDiskSay(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		d     durability
		reply any
		err   error
		want  string
	}{
		"enough replicas":       {durability{replicas: 2}, int64(3), nil, ""},
		"too few replicas":      {durability{replicas: 2}, int64(1), nil, "on 1 of 2 replicas"},
		"on disk":               {durability{fsync: true}, []any{int64(1), int64(0)}, nil, ""},
		"not on disk":           {durability{fsync: true}, []any{int64(0), int64(0)}, nil, "not on the server's disk"},
		"not on their disks":    {durability{replicas: 1, fsync: true}, []any{int64(1), int64(0)}, nil, "on 0 of 1 replicas"},
		"no answer":             {durability{replicas: 1}, nil, away, "away"},
		"on disk there as well": {durability{replicas: 1, fsync: true}, []any{int64(1), int64(1)}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := redis.NewCmdResult(c.reply, c.err)
			err := c.d.met(cmd)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrNotDurable)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What is asked for and cannot be had is said before anything goes through the queue.
func TestCheckOfDurability(t *testing.T) {
	rdb := redistest.Start(t).Client()
	q, err := New(rdb, Options{Namespace: "test", Replicas: 2})
	require.NoError(t, err)
	r, err := q.Check(t.Context())
	require.NoError(t, err, "replicas may come")
	require.Equal(t, VerdictWarning, verdictOf(r, "replicas"))
	q, err = New(rdb, Options{Namespace: "test", Fsync: true})
	require.NoError(t, err)
	_, err = q.Check(t.Context())
	require.ErrorIs(t, err, ErrServer)
	require.ErrorContains(t, err, "Options.Fsync")

	judge := func(version, aof string) (Report, error) {
		r := Report{Version: version, Persistence: aof}
		return r, r.judgeDurability(nil, Options{Fsync: true})
	}
	_, err = judge("7.0.15", "aof")
	require.ErrorContains(t, err, "7.2 or newer")
	_, err = judge("7.2.0", "rdb")
	require.ErrorContains(t, err, "appendonly yes")
	_, err = judge("8.0.1", "aof")
	require.NoError(t, err)
	_, err = New(rdb, Options{Namespace: "test", Replicas: -1})
	require.ErrorIs(t, err, ErrInvalid)
}

// A server before 7.2 cannot do it, and says so. One that can is waited for, and believed no
// sooner.
func TestWhatIsQueuedWaitsForTheDisk(t *testing.T) {
	r := newRigWith(t, shortLease)
	rdb := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec").Client()
	q := r.queueWith(rdb, Options{Slots: 1, Fsync: true})
	r.q, r.rdb = q, rdb
	report, err := q.Check(t.Context())
	if err != nil {
		require.ErrorContains(t, err, "upgrade the server to 7.2 or newer")
		return
	}
	require.Equal(t, VerdictGood, verdictOf(report, "fsync"))
	e := r.start(q, ExecutorOptions{})
	r.ready(e)
	for n := range uint64(5) {
		out, err := q.Enqueue(t.Context(), r.pool, &Wave{Run: "run", ID: n + 1, Slot: -1, Tasks: tasks(int(n + 1))[n:]})
		require.NoError(t, err)
		require.Equal(t, AnswerQueued, out.Answers[0].State, "%v", out.Answers[0].Err)
	}
	r.awaitCount("run", 5)
	require.Zero(t, e.Stats().Errors, "the disk is awaited patiently")

	require.NoError(t, rdb.ConfigSet(t.Context(), "appendfsync", "no").Err()) // left to the system
	out, err := q.Enqueue(t.Context(), r.pool, &Wave{Run: "run", ID: 6, Slot: -1, Tasks: tasks(6)[5:]})
	require.NoError(t, err)
	require.Equal(t, AnswerUnsure, out.Answers[0].State)
	require.ErrorIs(t, out.Answers[0].Err, ErrNotDurable)
	require.NoError(t, rdb.ConfigSet(t.Context(), "appendfsync", "always").Err())
	r.awaitCount("run", 6)
}
