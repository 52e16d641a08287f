package activity

import (
	"context"
	"maps"
	"strconv"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// outbound answers what activity code asks of its context: activity.GetInfo and its
// siblings. It stands where the SDK's own implementation stands for a plain activity,
// under the user's outbound interceptors.
type outbound struct {
	// Next is the SDK's own, of the host task. Only GetClient goes there: its result
	// type cannot be written outside of the SDK.
	interceptor.ActivityOutboundInterceptorBase

	w    *Worker
	h    *host
	info *sdkactivity.Info       // the invocation's
	dc   converter.DataConverter // for what the handler makes, see taskConverters
	// details are those of the attempt before; nil when it left none.
	details *commonpb.Payloads
	// beat takes encoded details of at most limit bytes.
	beat  func(details []byte)
	limit int
	// abort ends the attempt's context, and the attempt with that error.
	abort context.CancelCauseFunc
}

func newOutbound(w *Worker, h *host, info *sdkactivity.Info) *outbound {
	o := &outbound{w: w, h: h, info: info}
	o.Next = h.outbound
	return o
}

func (o *outbound) GetInfo(context.Context) sdkactivity.Info { return *o.info }

func (o *outbound) GetLogger(context.Context) log.Logger {
	if !o.info.IsWorkflowActivity() {
		return log.With(o.w.logger,
			"ActivityID", o.info.ActivityID,
			"ActivityRunID", o.info.ActivityRunID,
			"ActivityType", o.info.ActivityType.Name,
			"Attempt", o.info.Attempt,
		)
	}
	return log.With(o.w.logger,
		"ActivityID", o.info.ActivityID,
		"ActivityType", o.info.ActivityType.Name,
		"Attempt", o.info.Attempt,
		"WorkflowType", o.info.WorkflowType.Name,
		"WorkflowID", o.info.WorkflowExecution.ID,
		"RunID", o.info.WorkflowExecution.RunID,
	)
}

func (o *outbound) GetMetricsHandler(context.Context) client.MetricsHandler {
	workflowType := ""
	if o.info.WorkflowType != nil {
		workflowType = o.info.WorkflowType.Name
	}
	return o.h.metrics.WithTags(map[string]string{
		"workflow_type": workflowType,
		"activity_type": o.info.ActivityType.Name,
		"task_queue":    o.info.TaskQueue,
	})
}

// RecordHeartbeat panics where the details cannot be encoded, as the SDK's does.
func (o *outbound) RecordHeartbeat(ctx context.Context, details ...any) {
	var encoded []byte
	// A single nil means that there is no progress to report.
	if len(details) > 1 || (len(details) == 1 && details[0] != nil) {
		payloads, err := contextAware(ctx, o.dc).ToPayloads(details...)
		if err == nil && wire.PayloadsSize(payloads) > o.limit {
			o.GetLogger(ctx).Warn("RecordActivityHeartbeat with error", "Error", payloadSizeError{})
			o.abort(payloadSizeError{})
			return
		}
		if err == nil {
			encoded, err = wire.EncodePayloads(payloads)
		}
		if err != nil {
			panic(err) //nolint:forbidigo // the SDK's contract; recovered around the handler
		}
	}
	o.beat(encoded)
}

func (o *outbound) HasHeartbeatDetails(context.Context) bool { return o.details != nil }

func (o *outbound) GetHeartbeatDetails(_ context.Context, pointers ...any) error {
	return encodedValues{payloads: o.details, dc: o.dc}.Get(pointers...)
}

func (o *outbound) GetWorkerStopChannel(context.Context) <-chan struct{} { return o.w.stopping }

// contextAware tailors a converter that wants to know its context.
func contextAware(ctx context.Context, dc converter.DataConverter) converter.DataConverter {
	if aware, ok := dc.(sdkworkflow.ContextAware); ok {
		return aware.WithContext(ctx)
	}
	return dc
}

// taskInfo is what activity.GetInfo returns, field by field as for a plain activity, or for
// a standalone one where there is no workflow. The token is good for nothing: a task of the
// queue cannot be completed asynchronously.
func taskInfo(d *batchqueue.Delivery, c *call, a *address, taskQueue string, started time.Time) sdkactivity.Info {
	id := c.ActivityID
	if id == "" {
		id = wire.ActivityID(d.Number, d.Step)
	}
	o := d.Options
	startToClose := o.StartToClose
	if startToClose == 0 {
		startToClose = o.ScheduleToClose // as the server fills it in
	}
	deadline := started.Add(startToClose)
	if o.ScheduleToClose > 0 {
		if last := d.ScheduledAt.Add(o.ScheduleToClose); last.Before(deadline) {
			deadline = last
		}
	}
	info := sdkactivity.Info{
		TaskToken:              []byte("slipstream/" + d.Run + "/" + strconv.FormatUint(d.Number, 10)),
		WorkflowType:           &sdkworkflow.Type{Name: a.WorkflowType},
		WorkflowNamespace:      a.Namespace, //nolint:staticcheck // deprecated, but plain activities have it
		WorkflowExecution:      sdkworkflow.Execution{ID: a.WorkflowID, RunID: a.RunID},
		ActivityID:             id,
		ActivityType:           sdkactivity.Type{Name: d.Type},
		TaskQueue:              taskQueue,
		Namespace:              a.Namespace,
		HeartbeatTimeout:       o.Heartbeat,
		ScheduleToCloseTimeout: o.ScheduleToClose,
		StartToCloseTimeout:    startToClose,
		ScheduledTime:          d.ScheduledAt.UTC(),
		StartedTime:            startedAt(d, started),
		Deadline:               deadline,
		Attempt:                int32(d.Attempt),
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:        o.Retry.InitialInterval,
			BackoffCoefficient:     o.Retry.BackoffCoefficient,
			MaximumInterval:        o.Retry.MaximumInterval,
			MaximumAttempts:        int32(o.Retry.MaximumAttempts),
			NonRetryableErrorTypes: c.NonRetryable,
		},
	}
	if a.Batch != "" {
		info.WorkflowType, info.WorkflowNamespace, info.WorkflowExecution = nil, "", sdkworkflow.Execution{} //nolint:staticcheck // as above
		info.ActivityID, info.ActivityRunID = taskID(a.Batch, d.Number), a.RunID
	}
	return info
}

// startedAt is the start as the server would report it: in UTC, without a monotonic
// reading, and never before the schedule, although that is told by another clock. It counts
// the milliseconds that Redis counts in: told more finely, a step of a chain that takes
// less would seem to start after the next was scheduled.
func startedAt(d *batchqueue.Delivery, started time.Time) time.Time {
	started = started.Truncate(time.Millisecond).UTC()
	if started.Before(d.AttemptScheduledAt) {
		return d.AttemptScheduledAt.UTC()
	}
	return started
}

// headerFields copies, because interceptors may write into what they get and a wave's
// tasks share one header.
func headerFields(h *commonpb.Header) map[string]*commonpb.Payload {
	fields := maps.Clone(h.GetFields())
	if fields == nil {
		fields = map[string]*commonpb.Payload{}
	}
	return fields
}
