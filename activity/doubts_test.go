package activity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// hopeless is a site with a worker and a task that fails for ever, every few
// milliseconds, and raises a doubt from its third attempt on.
type hopeless struct {
	*site
	attempts atomic.Int64
}

func newHopeless(t *testing.T, every time.Duration, describe func(run string) (enumspb.WorkflowExecutionStatus, error)) *hopeless {
	t.Helper()
	h := &hopeless{site: newSite(t, client.Options{})}
	h.frontend.describeBy(describe)
	h.plugin.rt.doubts.attempts, h.plugin.rt.doubts.every = 3, every
	w := worker.New(h.client, "queue", worker.Options{})
	w.RegisterActivityWithOptions(func() error {
		h.attempts.Add(1)
		return errors.New("always")
	}, sdkactivity.RegisterOptions{Name: "noContext"})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)
	common, err := encodeAddress(&address{Namespace: "namespace", WorkflowID: "workflow", RunID: "run"})
	require.NoError(t, err)
	_, err = h.queue.Enqueue(context.Background(), "queue", &batchqueue.Wave{
		Run: "run", ID: 1, Common: common, Slot: unknownSlot,
		Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 9, Type: "noContext", Payload: encodeCall(&call{}), Options: batchqueue.TaskOptions{
			StartToClose: time.Minute,
			Retry:        batchqueue.RetryPolicy{InitialInterval: 5 * time.Millisecond, BackoffCoefficient: 1},
		}}},
	})
	require.NoError(t, err)
	return h
}

func (h *hopeless) state(t *testing.T) batchqueue.TaskState {
	t.Helper()
	s, err := h.queue.Status(context.Background(), "queue", "run", 1)
	require.NoError(t, err)
	return s.State
}

// goesOn waits for further attempts.
func (h *hopeless) goesOn(t *testing.T) {
	t.Helper()
	enough := h.attempts.Load() + 5
	require.Eventually(t, func() bool { return h.attempts.Load() >= enough }, 10*time.Second, time.Millisecond)
}

func TestTasksOfAnEndedRunAreAbandoned(t *testing.T) {
	for name, answer := range map[string]func() (enumspb.WorkflowExecutionStatus, error){
		"terminated": func() (enumspb.WorkflowExecutionStatus, error) {
			return enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, nil
		},
		"timed out": func() (enumspb.WorkflowExecutionStatus, error) {
			return enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, nil
		},
		"unknown": func() (enumspb.WorkflowExecutionStatus, error) {
			return 0, serviceerror.ToStatus(serviceerror.NewNotFound("workflow not found")).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHopeless(t, time.Hour, func(string) (enumspb.WorkflowExecutionStatus, error) { return answer() })
			require.Eventually(t, func() bool { return h.state(t) == batchqueue.StateParked }, 10*time.Second, time.Millisecond)
			attempts := h.attempts.Load()
			require.GreaterOrEqual(t, attempts, int64(3), "no doubt before the third attempt")
			require.Equal(t, []string{"run"}, h.frontend.described())
			stats, err := h.queue.Stats(context.Background(), "queue")
			require.NoError(t, err)
			require.Zero(t, stats.Depth()+stats.InFlight())
		})
	}
}

func TestTasksOfALivingRunGoOn(t *testing.T) {
	for name, status := range map[string]enumspb.WorkflowExecutionStatus{
		"running": enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
		"paused":  enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHopeless(t, time.Hour, func(string) (enumspb.WorkflowExecutionStatus, error) { return status, nil })
			require.Eventually(t, func() bool { return len(h.frontend.described()) > 0 }, 10*time.Second, time.Millisecond)
			h.goesOn(t)
			require.Len(t, h.frontend.described(), 1, "once per run and interval")
		})
	}
}

// What Temporal does not answer says nothing about the run, and delays nothing.
func TestDoubtsWhileTemporalIsAway(t *testing.T) {
	h := newHopeless(t, time.Millisecond, func(string) (enumspb.WorkflowExecutionStatus, error) {
		return 0, serviceerror.ToStatus(serviceerror.NewPermissionDenied("not for you", "")).Err()
	})
	require.Eventually(t, func() bool { return len(h.frontend.described()) > 2 }, 10*time.Second, time.Millisecond)
	h.goesOn(t)
	h.frontend.describeBy(func(string) (enumspb.WorkflowExecutionStatus, error) {
		return enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, nil
	})
	require.Eventually(t, func() bool { return h.state(t) == batchqueue.StateParked }, 10*time.Second, time.Millisecond)
}

// After a reset the run that dispatched has ended, but the new run wants its tasks.
func TestARedirectedRunIsNotDoubtedByItsOldAddress(t *testing.T) {
	h := newHopeless(t, time.Hour, func(run string) (enumspb.WorkflowExecutionStatus, error) {
		if run == "run" {
			return enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, nil
		}
		return enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
	})
	require.Eventually(t, func() bool { return h.state(t) == batchqueue.StateParked }, 10*time.Second, time.Millisecond)
	redirect, err := encodeAddress(&address{Namespace: "namespace", WorkflowID: "workflow", RunID: "new run"})
	require.NoError(t, err)
	slot, err := h.plugin.rt.slotOf(context.Background(), "queue", "run")
	require.NoError(t, err)
	h.plugin.rt.doubts.forget(residence{"queue", slot, "run"})
	_, err = h.queue.Ask(context.Background(), "queue", slot, batchqueue.AskRequest{
		Run: "run", Redirect: redirect, Open: []batchqueue.Identity{{Number: 1, Fingerprint: 9}},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(h.frontend.described()) == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, []string{"run", "new run"}, h.frontend.described())
	h.goesOn(t)
}

// An old task that runs for the first time has waited, not failed: no doubt.
func TestDoubtsByAge(t *testing.T) {
	s := newDoubts()
	now := time.Now()
	raised := func(attempt int, age time.Duration) bool {
		s.consider(&batchqueue.Delivery{Pool: "p", Run: "r", Attempt: attempt, ScheduledAt: now.Add(-age), AttemptScheduledAt: now}, &address{WorkflowID: "workflow"}, nil)
		defer s.forget(residence{pool: "p", run: "r"})
		select {
		case <-s.waiting:
			return true
		default:
			return false
		}
	}
	require.False(t, raised(1, 0))
	require.False(t, raised(9, 4*time.Minute))
	require.True(t, raised(10, time.Second))
	require.True(t, raised(2, 5*time.Minute))
}

func TestDoubtsAreBounded(t *testing.T) {
	s := newDoubts()
	for i := range 2 * maxAsked {
		s.consider(&batchqueue.Delivery{Pool: "p", Run: fmt.Sprint(i), Attempt: 10}, &address{WorkflowID: "workflow"}, nil)
		if i%2 == 0 && len(s.waiting) == maxDoubts {
			<-s.waiting
		}
	}
	require.Len(t, s.waiting, maxDoubts)
	require.LessOrEqual(t, len(s.asked), maxAsked)
}
