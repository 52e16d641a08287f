package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
	"github.com/slipstream-go/slipstream/samples/internal/sent"
)

// A fleet that has worked and has nothing to do asks Redis at most five things a second and slot. What a busy machine
// makes it repeat is not of its budget: once over, it is watched again.
func TestAnIdleFleetKeepsToItsBudgetOfCommands(t *testing.T) {
	const (
		workers = 5
		slots   = 4 // the default
		budget  = 5 // commands a second and slot
		watched = 20 * time.Second
	)
	server := redistest.Start(t)
	c, taskQueue := dial(t), freshTaskQueue(t)
	for i := range workers {
		startWorkerProcess(t, workerOptions{
			name: fmt.Sprint("worker ", i), taskQueue: taskQueue, concurrency: 100, fast: true, more: []string{"-redis", server.URL()},
		})
	}
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: taskQueue + "-" + uuid.NewString(), TaskQueue: taskQueue},
		scenario.FanOut, scenario.Fan{Activity: "Double", Count: 100})
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))

	rdb := server.Client()
	q := newQueue(t, rdb)
	require.Eventually(t, func() bool {
		s, err := q.Stats(t.Context(), activity.PoolName(taskQueue, "", ""))
		return err == nil && s.Depth()+s.InFlight()+s.Outbox == 0
	}, time.Minute, 50*time.Millisecond, "nothing is left to do")
	perSlot, counts := commandsWithin(t, rdb, watched, slots)
	if perSlot > budget {
		perSlot, counts = commandsWithin(t, rdb, watched, slots)
	}
	require.LessOrEqual(t, perSlot, float64(budget))
	require.Positive(t, counts["evalsha"], "they live")
}

// commandsWithin counts what is sent to Redis for so long, and how much it is a second and slot.
func commandsWithin(t *testing.T, rdb *redis.Client, watched time.Duration, slots int) (perSlot float64, counts sent.Counts) {
	t.Helper()
	counter, err := sent.Start(t.Context(), rdb)
	require.NoError(t, err)
	began, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	over := time.NewTimer(watched)
	defer over.Stop()
	<-over.C
	ended, err := rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	counts, err = counter.Stop(t.Context())
	require.NoError(t, err)
	perSlot = float64(counts.Total()) / ended.Sub(began).Seconds() / float64(slots)
	t.Logf("%.1f commands a second and slot: %v", perSlot, counts)
	return perSlot, counts
}
