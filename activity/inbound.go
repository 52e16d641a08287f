package activity

import (
	"context"

	"go.temporal.io/sdk/interceptor"
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
	return next
}
