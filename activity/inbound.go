package activity

import (
	"context"

	"go.temporal.io/sdk/interceptor"
)

// InterceptActivity is the activity part of the plugin's worker interceptor, which must
// come first in the list of interceptors. The SDK calls it for activity tasks and local
// activities, and an invocation calls it for what comes out of the queue.
//
// Marked activities that arrive as ordinary activity tasks are diverted into the queue, or
// run in place when the worker's budget has room. All the rest runs in place.
func InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	if isInvoked(ctx) {
		return next
	}
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
	if budget := budgetOf(ctx); budget != nil {
		g := &guest{budget: budget}
		g.Next = next
		next = g
	}
	if d := diverting(ctx); d != nil {
		d.Next = next
		next = d
	}
	return next
}

// isInvoked tells whether an invocation builds the interceptors, and not the SDK.
func isInvoked(ctx context.Context) bool {
	_, ok := ctx.Value(outboundKey).(*outbound)
	return ok
}
