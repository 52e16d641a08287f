package batchqueue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// rig is a pool on a real Redis, with executors and a mailbox for delivered outcomes.
type rig struct {
	*testing.T
	server *redistest.Server
	rdb    *redis.Client
	q      *Queue
	pool   string

	mu    sync.Mutex
	mail  map[string]map[uint64]Outcome // protected by mu: by run and number
	twice []string                      // protected by mu: outcomes that came twice
}

// newRig has leases of a second, the least there is, so that losses are quick.
func newRig(t *testing.T, slots int) *rig {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	server := redistest.Start(t)
	r := &rig{T: t, server: server, rdb: server.Client(), pool: "pool", mail: make(map[string]map[uint64]Outcome)}
	r.q = r.queue(r.rdb, slots)
	return r
}

func (r *rig) queue(rdb redis.UniversalClient, slots int) *Queue {
	r.Helper()
	q, err := New(rdb, Options{Namespace: "test", Slots: slots, Lease: minLease})
	require.NoError(r, err)
	return q
}

// deliver puts a batch into the mailbox.
func (r *rig) deliver(_ context.Context, b *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mail[b.Run] == nil {
		r.mail[b.Run] = make(map[uint64]Outcome)
	}
	for _, o := range b.Outcomes {
		if _, known := r.mail[b.Run][o.Number]; known {
			r.twice = append(r.twice, fmt.Sprintf("%s/%d", b.Run, o.Number))
		}
		r.mail[b.Run][o.Number] = o
	}
	return nil
}

func (r *rig) delivered(run string) map[uint64]Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[uint64]Outcome, len(r.mail[run]))
	for n, o := range r.mail[run] {
		out[n] = o
	}
	return out
}

func (r *rig) outcome(run string, n uint64) (Outcome, bool) {
	o, ok := r.delivered(run)[n]
	return o, ok
}

// awaitOutcome waits until the task's outcome was delivered.
func (r *rig) awaitOutcome(run string, n uint64) Outcome {
	r.Helper()
	redistest.Eventually(r, 20*time.Second, fmt.Sprintf("outcome %s/%d", run, n), func() bool {
		_, ok := r.outcome(run, n)
		return ok
	})
	o, _ := r.outcome(run, n)
	return o
}

func (r *rig) awaitCount(run string, n int) {
	r.Helper()
	redistest.Eventually(r, 60*time.Second, fmt.Sprintf("%d outcomes of %s", n, run), func() bool { return len(r.delivered(run)) >= n })
}

// start starts an executor that is stopped when the test ends.
func (r *rig) start(q *Queue, o ExecutorOptions) *Executor {
	r.Helper()
	o.Pool = r.pool
	if o.Types == nil {
		o.Types = []string{"A"}
	}
	if o.Handler == nil {
		o.Handler = echo
	}
	if o.Deliver == nil {
		o.Deliver = r.deliver
	}
	e, err := q.NewExecutor(o)
	require.NoError(r, err)
	require.NoError(r, e.Start(r.Context()))
	r.Cleanup(func() { r.stop(e) })
	return e
}

func (r *rig) stop(e *Executor) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(r, e.Stop(ctx))
}

func (r *rig) enqueue(run string, tasks ...Task) {
	r.Helper()
	out, err := r.q.Enqueue(r.Context(), r.pool, &Wave{Run: run, ID: tasks[0].Number, Tasks: tasks, Common: []byte("common"), Slot: -1})
	require.NoError(r, err)
	for _, a := range out.Answers {
		require.NoError(r, a.Err)
		require.Equal(r, AnswerQueued, a.State)
	}
}

func tasks(n int) []Task {
	out := make([]Task, n)
	for i := range out {
		out[i] = task(uint64(i + 1))
	}
	return out
}

// echo answers with the payload.
func echo(_ context.Context, d *Delivery) Result {
	return Result{Kind: KindCompleted, Payload: d.Payload}
}

func TestTasksOfAllSlotsAreRunOnceAndDelivered(t *testing.T) {
	r := newRig(t, 4)
	var mu sync.Mutex
	started := make(map[string]int)
	handler := func(ctx context.Context, d *Delivery) Result {
		mu.Lock()
		started[fmt.Sprintf("%s/%d", d.Run, d.Number)]++
		mu.Unlock()
		return echo(ctx, d)
	}
	a := r.start(r.q, ExecutorOptions{Handler: handler, Concurrency: 50})
	b := r.start(r.q, ExecutorOptions{Handler: handler, Concurrency: 50})
	for i := range 8 {
		r.enqueue(fmt.Sprintf("run-%d", i), tasks(500)...)
	}
	for i := range 8 {
		r.awaitCount(fmt.Sprintf("run-%d", i), 500)
	}
	for i := range 8 {
		for n, o := range r.delivered(fmt.Sprintf("run-%d", i)) {
			require.Equal(t, KindCompleted, o.Kind)
			require.Equal(t, fmt.Sprintf("payload %d", n), string(o.Payload))
		}
	}
	require.Len(t, started, 4000)
	for name, n := range started {
		require.Equal(t, 1, n, name)
	}
	require.Empty(t, r.twice)
	require.Equal(t, uint64(4000), a.Stats().Settled+b.Stats().Settled)
}
