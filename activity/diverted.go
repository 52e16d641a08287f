package activity

import (
	"context"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// ErrTypeWorkerLost is the type of the failure that Slipstream reports to Temporal for an
// attempt of a diverted activity task whose worker died, or that was cut off at its stop.
// Temporal would find out by a time-out; the failure's cause is that time-out. It is
// retried as the activity's policy says.
const ErrTypeWorkerLost = "slipstream.WorkerLost"

// lostError is what becomes of an attempt that ended without a word of its handler.
func lostError(timeout enumspb.TimeoutType, nonRetryable bool, reason string) error {
	return temporal.NewApplicationErrorWithOptions("activity attempt lost: "+reason, ErrTypeWorkerLost, temporal.ApplicationErrorOptions{
		NonRetryable: nonRetryable, // the server looks at the outermost failure only
		Cause:        temporal.NewTimeoutError(timeout, nil),
	})
}

// diverted is what an invocation knows of a diverted activity task.
type diverted struct {
	task  *activityTask
	pulse *pulse
	// pending: Temporal is told nothing. Somebody else answers the token, or the attempt
	// has timed out.
	pending bool
}

// divertedFrom decodes the task of a diverted call; nil for a routed one.
func divertedFrom(c *call, a *address) (*diverted, error) {
	if c.Task == nil {
		return nil, nil
	}
	t := &activityTask{}
	if err := proto.Unmarshal(c.Task, t); err != nil {
		return nil, fmt.Errorf("decode activity task: %w", err)
	}
	t.TaskToken, t.WorkflowNamespace = a.TaskToken, a.Namespace
	t.WorkflowExecution = &commonpb.WorkflowExecution{WorkflowId: a.WorkflowID, RunId: a.RunID}
	t.WorkflowType = &commonpb.WorkflowType{Name: a.WorkflowType}
	return &diverted{task: t}, nil
}

// info is what activity.GetInfo returns: the task as Temporal handed it out.
func (d *diverted) info(taskQueue string, started time.Time) sdkactivity.Info {
	t := d.task
	info := sdkactivity.Info{
		TaskToken:              t.GetTaskToken(),
		WorkflowType:           &sdkworkflow.Type{Name: t.GetWorkflowType().GetName()},
		WorkflowNamespace:      t.GetWorkflowNamespace(), //nolint:staticcheck // deprecated, but plain activities have it
		WorkflowExecution:      sdkworkflow.Execution{ID: t.GetWorkflowExecution().GetWorkflowId(), RunID: t.GetWorkflowExecution().GetRunId()},
		ActivityID:             t.GetActivityId(),
		ActivityType:           sdkactivity.Type{Name: t.GetActivityType().GetName()},
		TaskQueue:              taskQueue,
		Namespace:              t.GetWorkflowNamespace(),
		HeartbeatTimeout:       t.GetHeartbeatTimeout().AsDuration(),
		ScheduleToCloseTimeout: t.GetScheduleToCloseTimeout().AsDuration(),
		StartToCloseTimeout:    t.GetStartToCloseTimeout().AsDuration(),
		ScheduledTime:          t.GetScheduledTime().AsTime(),
		StartedTime:            t.GetStartedTime().AsTime(),
		Deadline:               started.Add(leftOf(t)),
		Attempt:                t.GetAttempt(),
	}
	if p := t.GetRetryPolicy(); p != nil {
		info.RetryPolicy = &temporal.RetryPolicy{
			InitialInterval:        p.GetInitialInterval().AsDuration(),
			BackoffCoefficient:     p.GetBackoffCoefficient(),
			MaximumInterval:        p.GetMaximumInterval().AsDuration(),
			MaximumAttempts:        p.GetMaximumAttempts(),
			NonRetryableErrorTypes: p.GetNonRetryableErrorTypes(),
		}
	}
	return info
}

// activityConverters are those under the serialization context of a plain activity: its
// payloads stand in the events of the activity.
func (c *Client) activityConverters(t *activityTask, taskQueue string) (converter.DataConverter, converter.FailureConverter) {
	ctx := converter.ActivitySerializationContext{
		Namespace: t.GetWorkflowNamespace(), WorkflowID: t.GetWorkflowExecution().GetWorkflowId(), WorkflowType: t.GetWorkflowType().GetName(),
		ActivityType: t.GetActivityType().GetName(), TaskQueue: taskQueue,
	}
	return converter.WithDataConverterSerializationContext(c.DataConverter, ctx),
		converter.WithFailureConverterSerializationContext(c.FailureConverter, ctx)
}

// details are those of the attempt so far, if another executor released it, else of the
// attempt before.
func (d *diverted) details(own []byte) (*commonpb.Payloads, error) {
	if own == nil {
		return d.task.GetHeartbeatDetails(), nil
	}
	return wire.DecodePayloads(own)
}

// begin starts the attempt's pulse; end ends the handler's context.
func (d *diverted) begin(ctx context.Context, w *Worker, end context.CancelCauseFunc) {
	throttle := w.heartbeatThrottle(d.task.GetHeartbeatTimeout().AsDuration())
	d.pulse = newPulse(ctx, throttle, end, func(ctx context.Context, details []byte) error {
		payloads, err := wire.DecodePayloads(details)
		if err != nil {
			return err
		}
		return w.heartbeat(ctx, d.task, payloads)
	})
}

// linger sends a last heartbeat for an attempt that Temporal is told nothing about now.
// Released: another executor goes on with it, and gets a whole heartbeat time-out to
// claim it. Timed out: details that Temporal has not got may still be in time for the
// next attempt. before are the details with which this executor got the attempt.
func (d *diverted) linger(ctx context.Context, w *Worker, released bool, before []byte) {
	unsent := d.pulse.close()
	if released && d.task.GetHeartbeatTimeout().AsDuration() == 0 || !released && unsent == nil {
		return
	}
	latest := d.pulse.latest
	if latest == nil {
		latest = before
	}
	details, err := d.details(latest)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastHeartbeats)
	defer cancel()
	_ = w.heartbeat(ctx, d.task, details) // it says so itself
}

// report makes the queue's result of an attempt's. The queue tries nothing again.
func (d *diverted) report(result batchqueue.Result) batchqueue.Result {
	r := &report{Payloads: result.Payload, Pending: d.pending}
	if d.pulse != nil {
		r.Details = d.pulse.close()
	}
	return batchqueue.Result{Kind: result.Kind, Payload: encodeReport(r), NonRetryable: true}
}
