package workflow

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// options are a call's activity options as the server would have completed them.
type options struct {
	wire.CallOptions
	taskQueue           string
	activityID          string
	waitForCancellation bool
}

func (o *options) activityIDOr(number uint64) string {
	return cmp.Or(o.activityID, strconv.FormatUint(number, 10))
}

// resolve reads the call's options from ctx. It reports false for a call that must go
// plain: one with a feature that the queue does not have (protocol R3), or one that the
// server would refuse. The latter is let through on purpose, so that the author gets the
// server's own message in the server's own way.
func (r *router) resolve(ctx sdkworkflow.Context, activityType string) (*options, bool) {
	info := r.Next.GetInfo(ctx)
	o := sdkworkflow.GetActivityOptions(ctx)
	var none temporal.Priority
	switch {
	case r.inSession(ctx),
		// Activities inherit what they do not set from their workflow.
		o.Priority != none, info.Priority != none:
		return nil, false
	}
	resolved := &options{
		CallOptions: wire.CallOptions{
			ScheduleToClose: o.ScheduleToCloseTimeout,
			ScheduleToStart: o.ScheduleToStartTimeout,
			StartToClose:    o.StartToCloseTimeout,
			Heartbeat:       o.HeartbeatTimeout,
			Retry:           retryPolicy(o.RetryPolicy),
		},
		taskQueue:           cmp.Or(o.TaskQueue, info.TaskQueueName),
		activityID:          o.ActivityID,
		waitForCancellation: o.WaitForCancellation,
	}
	valid := validName(activityType) && validName(resolved.taskQueue) &&
		!strings.HasPrefix(resolved.taskQueue, "/_sys/") &&
		(resolved.activityID == "" || validName(resolved.activityID)) &&
		validTimeouts(&resolved.CallOptions) && validRetry(resolved.Retry)
	if !valid {
		return nil, false
	}
	completeTimeouts(&resolved.CallOptions, info.WorkflowRunTimeout)
	return resolved, true
}

// inSession reports whether ctx belongs to a session, open or not: the SDK sends such
// calls to one host's own task queue.
func (r *router) inSession(ctx sdkworkflow.Context) bool {
	return sdkworkflow.GetSessionInfo(sdkworkflow.WithValue(ctx, silent{}, true)) != nil
}

// The limits below are the server's defaults for command attributes.
const maxNameLength = 1000

func validName(name string) bool { return name != "" && len(name) <= maxNameLength }

func validTimeouts(o *wire.CallOptions) bool {
	if min(o.ScheduleToClose, o.ScheduleToStart, o.StartToClose, o.Heartbeat) < 0 {
		return false
	}
	return o.ScheduleToClose > 0 || o.StartToClose > 0
}

// completeTimeouts does what the server does with a schedule command: time-outs that
// are missing follow from those that are there, and none outlives the run. Handlers see
// the result in activity.GetInfo.
func completeTimeouts(o *wire.CallOptions, run time.Duration) {
	if o.ScheduleToClose > 0 {
		o.ScheduleToStart = min(cmp.Or(o.ScheduleToStart, o.ScheduleToClose), o.ScheduleToClose)
		o.StartToClose = min(cmp.Or(o.StartToClose, o.ScheduleToClose), o.ScheduleToClose)
	} else {
		o.ScheduleToClose = run
		o.ScheduleToStart = cmp.Or(o.ScheduleToStart, run)
	}
	if run > 0 {
		o.ScheduleToClose = min(o.ScheduleToClose, run)
		o.ScheduleToStart = min(o.ScheduleToStart, run)
		o.StartToClose = min(o.StartToClose, run)
	}
	o.Heartbeat = min(o.Heartbeat, o.StartToClose)
}

// The server's default retry policy; namespaces may change it by dynamic configuration,
// which no client can read.
const (
	defaultInitialInterval        = time.Second
	defaultBackoffCoefficient     = 2.0
	defaultMaximumIntervalInitial = 100 // maximum interval, in initial intervals
)

func retryPolicy(p *temporal.RetryPolicy) *commonpb.RetryPolicy {
	if p == nil {
		p = &temporal.RetryPolicy{}
	}
	initial := cmp.Or(p.InitialInterval, defaultInitialInterval)
	maximum := p.MaximumInterval
	if maximum == 0 {
		maximum = defaultMaximumIntervalInitial * initial
		if initial > math.MaxInt64/defaultMaximumIntervalInitial {
			maximum = math.MaxInt64
		}
	}
	return &commonpb.RetryPolicy{
		InitialInterval:        durationpb.New(initial),
		BackoffCoefficient:     cmp.Or(p.BackoffCoefficient, defaultBackoffCoefficient),
		MaximumInterval:        durationpb.New(maximum),
		MaximumAttempts:        p.MaximumAttempts,
		NonRetryableErrorTypes: p.NonRetryableErrorTypes,
	}
}

// timeoutTypePrefix begins the names by which a retry policy excludes time-outs.
const timeoutTypePrefix = "TemporalTimeout:"

func validRetry(p *commonpb.RetryPolicy) bool {
	if p.GetMaximumAttempts() == 1 {
		return true
	}
	initial, maximum := p.GetInitialInterval().AsDuration(), p.GetMaximumInterval().AsDuration()
	if initial < 0 || maximum < initial || p.GetBackoffCoefficient() < 1 || p.GetMaximumAttempts() < 0 {
		return false
	}
	for _, name := range p.GetNonRetryableErrorTypes() {
		if timeout, ok := strings.CutPrefix(name, timeoutTypePrefix); ok {
			kind, err := enumspb.TimeoutTypeFromString(timeout)
			if err != nil || kind == enumspb.TIMEOUT_TYPE_UNSPECIFIED {
				return false
			}
		}
	}
	return true
}
