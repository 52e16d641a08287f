package batchqueue

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// The queue on a cluster: its slots are spread over the masters, a hash slot moves while it
// is in use, and a master dies.
func TestCluster(t *testing.T) {
	checkLeaks(t)
	cluster := redistest.StartCluster(t, 3, "--appendonly", "yes", "--appendfsync", "no", "--cluster-require-full-coverage", "no")
	const slots = 6
	rdb := cluster.Client()

	t.Run("clients that cannot work are refused", func(t *testing.T) {
		alone := cluster.Nodes[0].Client()
		_, err := newQueue(t, alone).Check(t.Context())
		require.ErrorIs(t, err, ErrServer)
		require.ErrorContains(t, err, "?addr=")
		o := cluster.Options()
		o.RouteByLatency = true
		replicas := redis.NewClusterClient(o)
		defer replicas.Close()
		_, err = New(replicas, Options{Namespace: "test"})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "RouteByLatency")
		ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": cluster.Nodes[0].Addr}})
		defer ring.Close()
		_, err = New(ring, Options{Namespace: "test"})
		require.ErrorIs(t, err, ErrInvalid)
	})

	t.Run("slots are spread", func(t *testing.T) {
		r := newClusterRig(t, rdb, slots, longLease)
		report, err := r.q.Check(t.Context())
		require.NoError(t, err)
		require.True(t, report.Cluster)
		nodes := make(map[int]bool)
		for slot := range slots {
			node, _ := cluster.Owner(r.q.keys.slot(r.pool, slot))
			nodes[node] = true
		}
		require.Len(t, nodes, 3)
		a, b := r.start(r.q, ExecutorOptions{}), r.start(r.q, ExecutorOptions{})
		r.ready(a, b)
		for i := range 30 {
			r.enqueue(fmt.Sprintf("run-%d", i), tasks(20)...)
		}
		for i := range 30 {
			r.awaitCount(fmt.Sprintf("run-%d", i), 20)
		}
		require.Empty(t, r.twice)
	})

	t.Run("a hash slot moves", func(t *testing.T) { testMovingHashSlot(t, cluster, rdb) })
	t.Run("a master dies", func(t *testing.T) { testDeadMaster(t, cluster, rdb, slots) })
}

func newClusterRig(t *testing.T, rdb redis.UniversalClient, slots int, lease time.Duration) *rig {
	t.Helper()
	r := newRigWith(t, lease)
	r.pool = t.Name()
	r.q = r.queue(rdb, slots)
	return r
}

// While half of a slot's keys are at one node and half at the other, nothing of it may be
// read or written: a task would seem to be unknown, and would run twice. Everybody waits,
// and goes on where the slot is then.
func testMovingHashSlot(t *testing.T, cluster *redistest.Cluster, rdb redis.UniversalClient) {
	r := newClusterRig(t, rdb, 1, shortLease)
	var mu sync.Mutex
	starts := make(map[string]int)
	g := newGate()
	e := r.start(r.q, ExecutorOptions{Concurrency: 1000, Handler: g.handle, Observer: Observer{Started: func(d *Delivery) {
		mu.Lock()
		defer mu.Unlock()
		starts[fmt.Sprint(d.Run, "/", d.Number)]++
	}}})
	r.ready(e)
	for i := range 20 { // many keys
		r.enqueue(fmt.Sprintf("run-%d", i), tasks(3)...)
	}
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 60 })

	key := r.q.keys.slot(r.pool, 0)
	from, hashSlot := cluster.Owner(key)
	for round := range uint64(2) { // there and back
		to := (from + 1) % 3
		visits := 0
		cluster.Move(hashSlot, from, to, func() {
			visits++
			out, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: "run-0", ID: 1, Slot: 0, Tasks: tasks(3), Common: []byte("common")})
			require.NoError(t, err)
			require.ErrorIs(t, out.Answers[0].Err, ErrUnavailable)
			require.ErrorContains(t, out.Answers[0].Err, "moves to another node")
			g.done(round + 1) // a settlement that has to wait
		})
		require.GreaterOrEqual(t, visits, 2)
		from = to
		out, err := r.q.Enqueue(t.Context(), r.pool, &Wave{Run: "run-0", ID: 1, Slot: 0, Tasks: tasks(3), Common: []byte("common")})
		require.NoError(t, err)
		require.NoError(t, out.Answers[0].Err)
		require.Equal(t, AnswerQueued, out.Answers[2].State, "it is known: nothing was added")
	}
	now, _ := cluster.Owner(key)
	require.Equal(t, from, now)
	// WAIT goes where the key is, too, and is told so where the client knows an older place.
	stale := cluster.Client()
	q := r.queueWith(stale, Options{Slots: 1, Replicas: 1})
	unsafe := func() {
		out, err := q.Enqueue(t.Context(), r.pool, &Wave{Run: "run-0", ID: 1, Slot: 0, Tasks: tasks(3), Common: []byte("common")})
		require.NoError(t, err)
		require.ErrorIs(t, out.Answers[0].Err, ErrNotDurable)
		require.ErrorContains(t, out.Answers[0].Err, "on 0 of 1 replicas")
	}
	unsafe()
	cluster.Move(hashSlot, from, (from+1)%3, func() {})
	r.eventually("the client learns the new place", func() bool {
		out, err := q.Enqueue(t.Context(), r.pool, &Wave{Run: "run-0", ID: 1, Slot: 0, Tasks: tasks(3), Common: []byte("common")})
		return err == nil && errors.Is(out.Answers[0].Err, ErrNotDurable)
	})
	for range 20 {
		g.done(1, 2, 3)
	}
	for i := range 20 {
		r.awaitCount(fmt.Sprintf("run-%d", i), 3)
	}
	r.enqueue("after", tasks(3)...)
	g.done(1, 2, 3)
	r.awaitCount("after", 3)
	mu.Lock()
	defer mu.Unlock()
	for name, n := range starts {
		require.Equal(t, 1, n, name)
	}
	require.Empty(t, r.twice)
	require.Zero(t, e.Stats().Lost)
}

// One of three masters dies. What has its place at the other two goes on, and is delivered;
// the rest goes on when the master is back.
func testDeadMaster(t *testing.T, cluster *redistest.Cluster, rdb redis.UniversalClient, slots int) {
	r := newClusterRig(t, rdb, slots, shortLease)
	g := newGate()
	e := r.start(r.q, ExecutorOptions{Concurrency: 1000, Handler: g.handle})
	r.ready(e)
	r.eventually("all slots are led", func() bool { return len(e.Stats().Leads) == slots })
	// The pool's own keys stay.
	keeper, _ := cluster.Owner(r.q.keys.pool(r.pool))
	dead := (keeper + 1) % 3
	var away, here []string
	for i := range 24 {
		run := fmt.Sprintf("run-%d", i)
		if node, _ := cluster.Owner(r.q.keys.slot(r.pool, r.slotOf(run))); node == dead {
			away = append(away, run)
		} else {
			here = append(here, run)
		}
	}
	require.Greater(t, len(away), 1)
	require.Greater(t, len(here), 7)
	late := here[len(here)-6:]
	here = here[:len(here)-6]
	for _, run := range slices.Concat(away, here) {
		r.enqueue(run, task(1), task(2))
	}
	r.eventually("all run", func() bool { now, _ := g.runs(); return now == 2*len(away)+2*len(here) })

	cluster.Nodes[dead].Kill()
	for range len(away) + len(here) {
		g.done(1, 2)
	}
	for _, run := range here {
		r.awaitCount(run, 2)
	}
	// Longer than a lease: who led the healthy slots leads them still.
	for _, run := range late {
		time.Sleep(shortLease / 3) //nolint:forbidigo // the leases have to end
		g.done(100)
		r.enqueue(run, task(100))
		r.awaitOutcome(run, 100)
	}
	report, err := r.q.Check(t.Context())
	require.NoError(t, err)
	require.Contains(t, report.Warnings[len(report.Warnings)-1], cluster.Nodes[dead].Addr)
	for _, run := range away {
		require.Empty(t, r.delivered(run))
	}
	cluster.Nodes[dead].Restart()
	for _, run := range away {
		r.awaitCount(run, 2)
	}
	require.Equal(t, len(away)+len(here), g.starts(1))
	require.Equal(t, len(away)+len(here), g.starts(2))
	require.Zero(t, e.Stats().Lost)
	require.Empty(t, r.twice)
}
