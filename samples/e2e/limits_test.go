package e2e

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
)

// crowd counts what runs side by side.
type crowd struct{ running, most, ran, beside atomic.Int64 }

func (c *crowd) in() {
	n := c.running.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	c.ran.Add(1)
}

// hold takes long enough for the worker to fill up.
func (c *crowd) hold(ctx context.Context) error {
	c.in()
	defer c.running.Add(-1)
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *crowd) Common(ctx context.Context) error { return c.hold(ctx) }
func (c *crowd) Apart(ctx context.Context) error  { return c.hold(ctx) }

// Unmarked has the worker's limit, too, but for itself.
func (c *crowd) Unmarked(context.Context) error {
	c.beside.Add(1)
	return nil
}

// The worker's limit is one budget: for both of its pools, for plain calls of marked
// types, and for those of a session.
func TestAWorkersLimitIsOneBudget(t *testing.T) {
	const limit, each = 3, 10
	workflow := func(ctx sdkworkflow.Context) error {
		ctx = withOptions(ctx)
		plain := withOptions(ctx)
		plain = sdkworkflow.WithPriority(plain, temporal.Priority{PriorityKey: 1}) // such calls are not routed
		session, err := sdkworkflow.CreateSession(ctx, &sdkworkflow.SessionOptions{CreationTimeout: time.Minute, ExecutionTimeout: time.Minute})
		if err != nil {
			return err
		}
		defer sdkworkflow.CompleteSession(session)
		var calls []sdkworkflow.Future
		for range each {
			for _, ctx := range []sdkworkflow.Context{ctx, plain, session} {
				calls = append(calls, sdkworkflow.ExecuteActivity(ctx, (*crowd).Common), sdkworkflow.ExecuteActivity(ctx, (*crowd).Apart))
			}
			calls = append(calls, sdkworkflow.ExecuteActivity(ctx, (*crowd).Unmarked))
		}
		for _, call := range calls {
			if err := call.Get(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	}
	c := &crowd{}
	b := newBed(t, bedOptions{
		plugin: plugin.Options{Marks: []activity.Mark{{Activity: c.Common}, {Activity: c.Apart, Pool: "apart"}}},
		worker: worker.Options{MaxConcurrentActivityExecutionSize: limit, EnableSessionWorker: true},
	}, []any{workflow}, c.Common, c.Apart, c.Unmarked)
	run := b.start(workflow)
	require.NoError(t, run.Get(t.Context(), nil))
	require.EqualValues(t, limit, c.most.Load())
	require.EqualValues(t, 6*each, c.ran.Load())
	require.EqualValues(t, each, c.beside.Load())
	const sessionsOwn = 2
	require.Equal(t, 5*each+sessionsOwn, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED), "the others were routed")
}
