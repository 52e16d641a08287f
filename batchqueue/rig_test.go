package batchqueue

import (
	"context"
	"fmt"
	"maps"
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
	lease  time.Duration

	mu    sync.Mutex
	mail  map[string]map[uint64]Outcome // protected by mu: by run and number
	taken map[string]bool               // protected by mu: batches
	twice []string                      // protected by mu: outcomes that came in two batches
}

// A lease that tests wait for is short. One that must not be waited for is long, so that
// a slow machine does not look like a slow executor.
const (
	shortLease = time.Second
	longLease  = 30 * time.Second
)

func newRig(t *testing.T, slots int, lease time.Duration) *rig {
	t.Helper()
	checkLeaks(t)
	return newRigOn(t, redistest.Start(t, "--appendonly", "yes", "--appendfsync", "no"), slots, lease)
}

// checkLeaks looks for goroutines that are left when everything that is started later has
// been stopped.
func checkLeaks(t *testing.T) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks, redistest.IgnoreRedials()) })
}

func newRigOn(t *testing.T, server *redistest.Server, slots int, lease time.Duration) *rig {
	t.Helper()
	r := newRigWith(t, lease)
	r.server, r.rdb = server, server.Client()
	r.q = r.queue(r.rdb, slots)
	return r
}

// newRigWith has no server and no queue yet.
func newRigWith(t *testing.T, lease time.Duration) *rig {
	t.Helper()
	return &rig{T: t, pool: "pool", lease: lease, mail: make(map[string]map[uint64]Outcome)}
}

func (r *rig) queue(rdb redis.UniversalClient, slots int) *Queue {
	r.Helper()
	return r.queueWith(rdb, Options{Slots: slots})
}

func (r *rig) queueWith(rdb redis.UniversalClient, o Options) *Queue {
	r.Helper()
	o.Namespace, o.Lease = "test", r.lease
	q, err := New(rdb, o)
	require.NoError(r, err)
	return q
}

// deliver puts a batch into the mailbox, once, as Temporal does, which knows batches by
// their ID.
func (r *rig) deliver(_ context.Context, b *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.ID != "" && r.taken[b.ID] { // what a test was answered with and delivers itself has none
		return nil
	}
	if r.taken == nil {
		r.taken = make(map[string]bool)
	}
	r.taken[b.ID] = true
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
	return maps.Clone(r.mail[run])
}

// awaitOutcome waits until the task's outcome was delivered.
func (r *rig) awaitOutcome(run string, n uint64) Outcome {
	r.Helper()
	r.eventually(fmt.Sprintf("outcome %s/%d", run, n), func() bool {
		_, ok := r.delivered(run)[n]
		return ok
	})
	return r.delivered(run)[n]
}

// eventually waits for the condition, and returns how long that took.
func (r *rig) eventually(what string, condition func() bool) time.Duration {
	r.Helper()
	began := time.Now()
	redistest.Eventually(r, 90*time.Second, what, condition) // longer than a long lease
	return time.Since(began)
}

// ready waits until the executors claim, listen and lead.
func (r *rig) ready(es ...*Executor) {
	r.Helper()
	r.eventually("executors are ready", func() bool {
		leads := 0
		for _, e := range es {
			s := e.Stats()
			if s.Permits == 0 || len(s.Homes) == 0 {
				return false
			}
			leads += len(s.Leads)
		}
		return leads > 0
	})
}

func (r *rig) awaitCount(run string, n int) {
	r.Helper()
	r.eventually(fmt.Sprintf("%d outcomes of %s", n, run), func() bool { return len(r.delivered(run)) >= n })
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
