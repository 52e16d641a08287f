package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/workflow"
)

// What Redis does not show, the run does; and what the run does not say, Redis.
func TestDescribeAsksTheRunToo(t *testing.T) {
	needTemporal(t)
	d := newDesk(t)
	d.namespace, d.temporal = server.namespace, server.address
	taskQueue := fmt.Sprintf("orders-%d", time.Now().UnixNano())
	p, err := shopPlugin(d.redis.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c, err := shopClient(t.Context(), p, server.address, server.namespace)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w := worker.New(c, taskQueue, worker.Options{})
	release := make(chan struct{})
	w.RegisterActivityWithOptions(func(ctx context.Context, id string) (string, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return id, nil
	}, activityName("Pack"))
	w.RegisterActivityWithOptions(func(context.Context, string) (string, error) { return "shipped", nil }, activityName("Ship"))
	w.RegisterWorkflowWithOptions(order, sdkworkflow.RegisterOptions{Name: "order"})
	require.NoError(t, w.Start())
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			close(release)
			w.Stop()
		}
	})
	redistest.Eventually(t, time.Minute, "the pool is served", func() bool {
		var rows []poolRow
		d.json(&rows, "pools")
		return len(rows) == 1 && rows[0].Executors == 1
	})
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: taskQueue, TaskQueue: taskQueue}, "order", "books")
	require.NoError(t, err)
	describe := func() (out describeJSON, human string) {
		d.json(&out, "describe", taskQueue)
		return out, d.ok("describe", taskQueue)
	}

	// Both know it.
	redistest.Eventually(t, time.Minute, "the call runs", func() bool {
		out, _ := describe()
		return len(out.Calls) == 1 && out.Calls[0].State == "claimed" && len(out.Hints) == 0
	})
	out, _ := describe()
	require.Equal(t, 1, out.CallsInAll)
	require.Equal(t, []any{"Pack", run.GetRunID(), uint64(1), new(true)}, []any{out.Calls[0].Type, out.Calls[0].Run, out.Calls[0].Number, out.Calls[0].InQueue})

	// Redis is away: the run still says what it waits for.
	d.redis.Kill()
	out, human := describe()
	require.Equal(t, "Running", out.Status)
	require.Len(t, out.Calls, 1)
	require.Equal(t, []any{"Pack", run.GetRunID(), uint64(1), taskQueue, "queued"}, []any{out.Calls[0].Type, out.Calls[0].Run, out.Calls[0].Number, out.Calls[0].Pool, out.Calls[0].State})
	require.Nil(t, out.Calls[0].InQueue)
	require.Len(t, out.Hints, 1)
	require.Contains(t, out.Hints[0], "could not be asked")
	require.Contains(t, settle(human), "1  Pack  queued")

	// It comes back empty. The run asks fifteen seconds after its call at the earliest.
	d.redis.Restart()
	out, human = describe()
	require.Len(t, out.Calls, 1)
	require.Equal(t, []any{"Pack", run.GetRunID(), uint64(1), "queued", new(false)}, []any{out.Calls[0].Type, out.Calls[0].Run, out.Calls[0].Number, out.Calls[0].State, out.Calls[0].InQueue})
	require.Equal(t, []string{"Redis has lost 1 call: the run finds out when it asks for them, and sends them again."}, out.Hints)
	require.Contains(t, settle(human), "1  Pack  lost by Redis")

	// No worker can answer for the run.
	close(release)
	w.Stop()
	stopped = true
	out, human = describe()
	require.Empty(t, out.Calls)
	require.Len(t, out.Hints, 1)
	require.Contains(t, out.Hints[0], "No worker said")
	require.Contains(t, human, "No open calls in the queue.")
}

// A run that does not know the query has nothing to say, and that is no hint.
func TestDescribeOfAPlainRun(t *testing.T) {
	needTemporal(t)
	d := newDesk(t)
	d.namespace, d.temporal = server.namespace, server.address
	taskQueue := fmt.Sprintf("plain-%d", time.Now().UnixNano())
	c, err := client.DialContext(t.Context(), client.Options{HostPort: server.address, Namespace: server.namespace})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w := worker.New(c, taskQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx sdkworkflow.Context) error { return sdkworkflow.Sleep(ctx, time.Hour) }, sdkworkflow.RegisterOptions{Name: "wait"})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: taskQueue, TaskQueue: taskQueue}, "wait")
	require.NoError(t, err)
	var out describeJSON
	d.json(&out, "describe", taskQueue)
	require.Empty(t, out.Hints)
	require.Empty(t, out.Calls)
}

// The command reads what package workflow writes, and may not import it.
func TestOpenCallsAreThoseOfWorkflows(t *testing.T) {
	require.Equal(t, workflow.QueryOpenCalls, queryOpenCalls)
	raw, err := json.Marshal(workflow.OpenCall{Number: 1, ActivityID: "id", ActivityType: "type", State: "queued", Run: "run", Pool: "pool", Slot: 2, CancelRequested: true})
	require.NoError(t, err)
	var c openCall
	require.NoError(t, json.Unmarshal(raw, &c))
	require.Equal(t, openCall{Number: 1, ActivityType: "type", State: callQueued, Run: "run", Pool: "pool", Slot: 2}, c)
}

func TestCallsThatTheQueueDoesNotKnow(t *testing.T) {
	waited := []openCall{
		{Number: 1, State: callQueued, Run: "before", Pool: "orders", Slot: 3},
		{Number: 1, State: callBuffered, Slot: -1},
		{Number: 2, State: callQueued, Run: "now", Pool: "orders"},
		{Number: 3, State: callDispatching, Slot: -1},
		{Number: 4, State: callUnsure, Slot: -1},
		{Number: 5, State: callWaiting, Run: "now", Pool: "orders"},
		{Number: 6, State: callWaiting, Run: "now", Pool: "orders"},
	}
	d := &describeJSON{Run: "now", CallsInAll: 1}
	d.addOthers(waited, map[callName]bool{{"now", 3}: true, {"before", 1}: true}, 4)
	states := make([]string, len(d.Calls))
	for i, c := range d.Calls {
		states[i] = fmt.Sprintf("%s/%d %s", c.Run, c.Number, c.where())
	}
	require.Equal(t, []string{"now/1 not sent yet", "now/2 lost by Redis", "now/4 perhaps sent", "now/5 waits for Redis"}, states)
	require.Equal(t, 6, d.CallsInAll, "those beyond the limit as well")
	require.Contains(t, strings.Join(d.Hints, "\n"), "Redis has lost 1 call")
	require.Contains(t, strings.Join(d.Hints, "\n"), "2 calls wait")
	require.Nil(t, d.Calls[0].Slot)
	require.Equal(t, 0, *d.Calls[1].Slot)
}
