package e2e

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

// hopeless is an activity that never succeeds.
type hopeless struct{ attempts atomic.Int64 }

func (h *hopeless) Hope() error {
	h.attempts.Add(1)
	return temporal.NewApplicationError("always", "Always")
}

// A task that only ever fails has no outcome that could meet "not found". When its run
// is terminated, its attempts end all the same, and nothing of it stays in Redis.
func TestAttemptsEndWithATerminatedRun(t *testing.T) {
	workflow := func(ctx sdkworkflow.Context) error {
		return sdkworkflow.ExecuteActivity(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, BackoffCoefficient: 1},
		}), (*hopeless).Hope).Get(ctx, nil)
	}
	h := &hopeless{}
	b := newBed(t, bedOptions{}, []any{workflow}, h.Hope)
	run := b.start(workflow)
	require.Eventually(t, func() bool { return h.attempts.Load() > 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, b.c.TerminateWorkflow(t.Context(), run.GetID(), run.GetRunID(), "a test"))

	rdb := newRedis(t)
	q := newQueue(t, rdb)
	pool := activity.PoolName(b.taskQueue, "", "")
	require.Eventually(t, func() bool {
		tasks, err := q.Tasks(t.Context(), pool, run.GetRunID())
		return err == nil && len(tasks) == 1 && tasks[0].State == batchqueue.StateParked
	}, 30*time.Second, 10*time.Millisecond)
	attempts := h.attempts.Load()

	// It stays parked for a quarter of an hour, for a reset run that asks; or less, today.
	due, err := rdb.Keys(t.Context(), "*/"+b.taskQueue+"/*}:due").Result()
	require.NoError(t, err)
	require.Len(t, due, 1)
	members, err := rdb.ZRange(t.Context(), due[0], 0, -1).Result()
	require.NoError(t, err)
	require.Len(t, members, 2, "the task and the run")
	for _, member := range members {
		require.NoError(t, rdb.ZAdd(t.Context(), due[0], redis.Z{Member: member}).Err())
	}
	require.Eventually(t, func() bool {
		stats, err := q.Stats(t.Context(), pool)
		require.NoError(t, err)
		runs, err := rdb.Keys(t.Context(), "*/"+b.taskQueue+"/*}:run:*").Result()
		require.NoError(t, err)
		return len(runs) == 0 && stats.Depth()+stats.InFlight()+stats.Delayed == 0
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, attempts, h.attempts.Load())
}

// newQueue is the queue of the stack's workers.
func newQueue(t *testing.T, rdb *redis.Client) *batchqueue.Queue {
	t.Helper()
	q, err := batchqueue.New(rdb, batchqueue.Options{Namespace: stack.Namespace()})
	require.NoError(t, err)
	return q
}

// newRedis connects to the stack's Redis.
func newRedis(t *testing.T) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(stack.RedisURL())
	require.NoError(t, err)
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}
