package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestPausingAndResuming(t *testing.T) {
	d := scene(t)
	require.Contains(t, d.ok("pause", "orders"), "Pool orders is paused")
	var config configJSON
	d.json(&config, "config", "get", "orders")
	require.True(t, config.Paused)
	require.Equal(t, 2, config.Slots, "the slots that its workers assume, not this program's")
	var rows []poolRow
	d.json(&rows, "pools")
	require.Equal(t, "paused", rows[1].State)
	d.fails(exitRefused, "slipstream resume orders first", "drain", "orders")
	var resumed configJSON
	d.json(&resumed, "resume", "orders")
	require.False(t, resumed.Paused)
}

func TestDraining(t *testing.T) {
	t.Parallel() // it waits until workers have heard of it
	d := scene(t)
	d.fails(exitFailed, "pool orders is not empty after 1s, 5 tasks left", "drain", "orders", "--within", "1s")
	draining, err := d.queue().Draining(t.Context(), "orders")
	require.NoError(t, err)
	require.True(t, draining)
	began := time.Now()
	var drained drainJSON
	d.json(&drained, "drain", "idle")
	require.Equal(t, drainJSON{"idle", true, 0}, drained)
	require.GreaterOrEqual(t, time.Since(began), closedAfter, "somebody may still have added something")
	d.ok("resume", "orders")
	require.Contains(t, d.ok("drain", "orders", "--no-wait"), "until slipstream resume")
}

func TestCancelling(t *testing.T) {
	d := scene(t)
	d.fails(exitRefused, "give --yes", "tasks", "cancel", "orders", "order-1", "3")
	var out canceledJSON
	d.json(&out, "tasks", "cancel", "orders", "order-1", "3", "--yes")
	require.Equal(t, []uint64{3}, out.Numbers)
	d.fails(exitRefused, "has ended", "tasks", "cancel", "orders", "order-1", "3", "--yes")
	d.fails(exitNotFound, "knows no task 9", "tasks", "cancel", "orders", "order-1", "9", "--yes")
	d.ok("tasks", "cancel", "orders", "order-1", "--all", "--yes")
	redistest.Eventually(t, 10*time.Second, "nothing is left", func() bool {
		var tasks []taskJSON
		d.json(&tasks, "tasks", "list", "orders")
		return len(tasks) == 0
	})
	d.fails(exitNotFound, "has no open tasks", "tasks", "cancel", "orders", "order-1", "--all", "--yes")
}

func TestDroppingDeadLetters(t *testing.T) {
	d := scene(t)
	d.fails(exitNotFound, "has no dead letters", "dead", "drop", "orders", "--all", "--yes")
	id := d.bury(3)
	d.bury(4)
	d.fails(exitRefused, "This removes 1 dead letter", "dead", "drop", "orders", id)
	d.ok("dead", "drop", "orders", id, "--yes")
	d.fails(exitNotFound, "has no dead letter "+id, "dead", "drop", "orders", id, "--yes")
	require.Contains(t, d.ok("dead", "drop", "orders", "--all", "--yes"), "Dropped 1 dead letter")
	require.Contains(t, d.ok("dead", "list"), "There are no dead letters.")
}

// What was not enqueued by the plugin is queued again without questions about workflows.
func TestRedrivingWhatIsNoWorkflows(t *testing.T) {
	d := scene(t)
	id := d.bury(3)
	q := d.queue()
	require.NoError(t, q.CancelTask(t.Context(), "orders", "order-1", 3))
	redistest.Eventually(t, 10*time.Second, "it is over", func() bool {
		s, err := q.Status(t.Context(), "orders", "order-1", 3)
		return err == nil && s.State == batchqueue.StateAcknowledged
	})
	d.fails(exitRefused, "This queues 1 task again", "dead", "redrive", "orders", id)
	var out []redriven
	d.json(&out, "dead", "redrive", "orders", id, id, "--yes")
	require.Equal(t, []redriven{{ID: id, Done: "queued"}, {ID: id, Done: "gone"}}, out)
	var shown taskJSON
	d.json(&shown, "tasks", "show", "orders", "order-1", "3")
	require.Equal(t, "waiting", shown.State)
	require.Equal(t, 1, shown.Attempt)
	require.Contains(t, d.ok("dead", "list"), "There are no dead letters.")
}
