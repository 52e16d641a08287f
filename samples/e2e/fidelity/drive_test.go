package fidelity

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	slipactivity "github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

// await waits for a condition.
func (p *play) await(what string, condition func() bool) {
	p.t.Helper()
	require.Eventually(p.t, condition, patience, 2*time.Millisecond, "waiting for %s", what)
}

// awaitOpen waits until history says that a call is open.
func (p *play) awaitOpen() {
	p.t.Helper()
	p.await("an open call in history", func() bool {
		scheduled, markers := p.countEvents()
		return scheduled > 0 || markers > 0
	})
}

// awaitBackoff waits until the only call of the workflow is between two attempts, as far as the server or the queue can
// tell.
func (p *play) awaitBackoff() {
	p.t.Helper()
	if p.mode == routed {
		p.await("the queue to delay the task", func() bool { return p.delayed() > 0 })
		return
	}
	p.await("the server to delay the activity", func() bool {
		d, err := p.c.DescribeWorkflowExecution(p.ctx, p.workflowID, "")
		return assert.NoError(p.t, err) && len(d.GetPendingActivities()) == 1 &&
			d.GetPendingActivities()[0].GetState() == enumspb.PENDING_ACTIVITY_STATE_SCHEDULED && d.GetPendingActivities()[0].GetAttempt() == 2
	})
}

// awaitDetails waits until the heartbeat details of the workflow's only call have left the worker. Plainly they travel
// at once; with the plugin with the next extension of the lease.
func (p *play) awaitDetails() {
	p.t.Helper()
	if p.mode == routed {
		rdb := p.redis()
		defer rdb.Close()
		p.await("the details in Redis", func() bool {
			hashes, err := rdb.Keys(p.ctx, "*"+p.taskQueue+"*:heartbeats").Result()
			return assert.NoError(p.t, err) && len(hashes) > 0
		})
		return
	}
	p.await("the details at the server", func() bool {
		d, err := p.c.DescribeWorkflowExecution(p.ctx, p.workflowID, "")
		return assert.NoError(p.t, err) && len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetHeartbeatDetails() != nil
	})
}

// redis is a client of the Redis of all scenarios.
func (p *play) redis() *redis.Client {
	p.t.Helper()
	o, err := redis.ParseURL(stack.RedisURL())
	require.NoError(p.t, err)
	return redis.NewClient(o)
}

// delayed is how many tasks of the play's pool wait for their next attempt.
func (p *play) delayed() int64 {
	p.t.Helper()
	rdb := p.redis()
	defer rdb.Close()
	queue, err := batchqueue.New(rdb, batchqueue.Options{Namespace: stack.Namespace()})
	require.NoError(p.t, err)
	stats, err := queue.Stats(p.ctx, slipactivity.PoolName(p.taskQueue, "", ""))
	require.NoError(p.t, err)
	return stats.Delayed
}

// receive waits for a channel that somebody sends to or closes.
func (p *play) receive(what string, c <-chan struct{}) {
	p.t.Helper()
	select {
	case <-c:
	case <-p.ctx.Done():
		require.FailNow(p.t, "waited in vain for "+what)
	}
}

// signal sends a signal to the workflow.
func (p *play) signal(name string, arg any) {
	p.t.Helper()
	require.NoError(p.t, p.c.SignalWorkflow(p.ctx, p.workflowID, "", name, arg))
}

// cancel requests the cancellation of the workflow.
func (p *play) cancel() {
	p.t.Helper()
	require.NoError(p.t, p.c.CancelWorkflow(p.ctx, p.workflowID, ""))
}

// terminate ends the workflow by force.
func (p *play) terminate() {
	p.t.Helper()
	require.NoError(p.t, p.c.TerminateWorkflow(p.ctx, p.workflowID, "", "the scenario is over"))
}

// query notes what the workflow answers.
func (p *play) query(name string) {
	p.t.Helper()
	answer, err := p.c.QueryWorkflow(p.ctx, p.workflowID, "", name)
	var s string
	if err == nil {
		err = answer.Get(&s)
	}
	p.seen.note("query "+name, fmt.Sprint(s, " ", show(err)))
}

// update notes what becomes of an update.
func (p *play) update(name, arg string) {
	p.t.Helper()
	handle, err := p.c.UpdateWorkflow(p.ctx, client.UpdateWorkflowOptions{
		WorkflowID: p.workflowID, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var s string
	if err == nil {
		err = handle.Get(p.ctx, &s)
	}
	p.seen.note("update "+name, fmt.Sprint(s, " ", show(err)))
}
