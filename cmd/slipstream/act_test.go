package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
	d.fails(exitFailed, "pool orders is not empty after 3s, 5 tasks left", "drain", "orders", "--within", "3s")
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
		var list taskList
		d.json(&list, "tasks", "list", "orders")
		return len(list.Tasks) == 0
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

// Somebody who reads the exit code alone does not know which letters are gone: the report is printed first.
func TestActsThatFailHalfWayTellWhatTheyDid(t *testing.T) {
	d := scene(t)
	rdb, ctx := d.redis.Client(), t.Context()
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"drop", []string{"dead", "drop"}, "Dropped 1 dead letter of pool orders.\n"},
		{"redrive", []string{"dead", "redrive"}, ": its task waits again.\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &desk{t, d.redis, d.namespace, d.temporal}
			first := d.bury(3)
			slot, entry, err := parseLetterID(first)
			require.NoError(t, err)
			key := func(slot int) string { return fmt.Sprintf("slipstream:{shop/orders/%d}:dead", slot) }
			letter, err := rdb.XRange(ctx, key(slot), entry, entry).Result()
			require.NoError(t, err)
			other, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: key(1 - slot), Values: letter[0].Values}).Result()
			require.NoError(t, err)
			second := fmt.Sprintf("%d/%s", 1-slot, other)
			// Somebody whom the other slot is closed to, but for looking.
			require.NoError(t, rdb.Do(ctx, "ACL", "SETUSER", "half", "reset", "on", ">pw", "+@all", "%R~*", "&*",
				fmt.Sprintf("~slipstream:{shop/orders/%d}:*", slot), "~slipstream:{shop/orders}:*").Err())
			half := "redis://half:pw@" + d.redis.Addr

			args := append(slices.Clone(c.args), "orders", first, second, "--yes", "--redis", half)
			code, stdout, stderr := d.run(args...)
			require.Equal(t, exitUnreachable, code, stderr)
			require.Contains(t, stderr, fmt.Sprintf("of pool \"orders\" slot %d", 1-slot))
			require.Contains(t, stdout, c.says)
			require.NotContains(t, stdout, second)
			d.fails(exitNotFound, "has no dead letter "+first, "dead", "show", "orders", first)
			d.ok("dead", "drop", "orders", second, "--yes")
		})
	}
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
