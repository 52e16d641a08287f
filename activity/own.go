package activity

import (
	"context"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/slipstream-go/slipstream/workflow"
)

// own are Slipstream's local activities, by type name.
var own = func() map[string]*handler {
	all := map[string]*handler{}
	for _, f := range []any{workflow.SlipstreamDispatch, workflow.SlipstreamReconcile, workflow.SlipstreamCancel} {
		all[functionName(f)] = &handler{fn: f}
	}
	return all
}()

// ownActivity returns the function of one of Slipstream's local activities, nil if ctx
// is of another activity.
func ownActivity(ctx context.Context) *handler {
	if !sdkactivity.IsActivity(ctx) {
		return nil
	}
	info := sdkactivity.GetInfo(ctx)
	if !info.IsLocalActivity {
		return nil
	}
	return own[info.ActivityType.Name]
}

// ownInbound runs Slipstream's own local activities. The chain ends here: an interceptor
// of the user's that changes arguments and results, or refuses what it does not know,
// means activities, and would keep calls from ever reaching the queue.
type ownInbound struct {
	interceptor.ActivityInboundInterceptorBase
	handler *handler
}

func (i *ownInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	return i.handler.call(ctx, in.Args)
}
