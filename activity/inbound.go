package activity

import (
	"context"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/slipstream-go/slipstream/workflow"
)

// InterceptActivity is the activity part of the plugin's worker interceptor, which must
// come first in the list of interceptors. The SDK calls it for activity tasks and local
// activities, and an invocation calls it for routed calls.
//
// All of them run in place. Marked activities that arrive as ordinary activity tasks
// will be taken here for the queue, except those that carry the header
// workflow.PlainHeader, session tasks and local activities.
func InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	if catchHost(ctx) {
		i := &hostInbound{}
		i.Next = next
		return i
	}
	if h := ownActivity(ctx); h != nil {
		i := &ownInbound{handler: h}
		i.Next = next
		return i
	}
	return next
}

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
