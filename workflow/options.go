package workflow

import (
	"cmp"
	"strconv"
	"strings"

	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

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
			Retry:           wire.RetryPolicy(o.RetryPolicy),
		},
		taskQueue:           cmp.Or(o.TaskQueue, info.TaskQueueName),
		activityID:          o.ActivityID,
		waitForCancellation: o.WaitForCancellation,
	}
	valid := validName(activityType) && validName(resolved.taskQueue) &&
		!strings.HasPrefix(resolved.taskQueue, "/_sys/") &&
		(resolved.activityID == "" || validName(resolved.activityID)) &&
		resolved.Validate() == nil
	if !valid {
		return nil, false
	}
	resolved.Complete(info.WorkflowRunTimeout)
	return resolved, true
}

// inSession reports whether ctx belongs to a session, open or not: the SDK sends such
// calls to one host's own task queue.
func (r *router) inSession(ctx sdkworkflow.Context) bool {
	return sdkworkflow.GetSessionInfo(sdkworkflow.WithValue(ctx, silent{}, true)) != nil
}

// maxNameLength is the server's default limit for names in command attributes.
const maxNameLength = 1000

func validName(name string) bool { return name != "" && len(name) <= maxNameLength }
