package activity

import (
	"context"

	"go.temporal.io/sdk/interceptor"
)

// InterceptActivity is the activity part of the plugin's worker interceptor, which must
// come first in the list of interceptors. The SDK calls it for activity tasks and local
// activities, and an invocation calls it for routed calls.
//
// All of them run in place; marked ones that arrive as ordinary activity tasks, session
// tasks included, when the worker's budget has room. Such tasks will be taken here for
// the queue, except those that carry the header workflow.PlainHeader and session tasks.
func InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	if isRouted(ctx) {
		return next
	}
	if catchHost(ctx) {
		i := &hostInbound{}
		i.Next = next
		return i
	}
	if budget := budgetOf(ctx); budget != nil {
		g := &guest{budget: budget}
		g.Next = next
		return g
	}
	return next
}

// isRouted tells whether an invocation builds the interceptors, and not the SDK.
func isRouted(ctx context.Context) bool {
	_, ok := ctx.Value(outboundKey).(*outbound)
	return ok
}
