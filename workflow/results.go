package workflow

import (
	commonpb "go.temporal.io/api/common/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Result is how one of several calls ended: one of those that [OnComplete] waited for, or
// a step of a chain.
type Result struct {
	future   sdkworkflow.Future // ready; nil: payloads is the result
	payloads []*commonpb.Payload
}

// Get decodes the result into valuePtr, which may be nil, or returns the call's error, as
// the Get of its future. It does not block. ctx must be of the coroutine that calls.
func (r Result) Get(ctx sdkworkflow.Context, valuePtr any) error {
	if r.future != nil {
		return r.future.Get(ctx, valuePtr)
	}
	return decodeAll(ctx, r.payloads, valuePtr)
}

// OnComplete calls f once all futures are ready, with their results in the same order and
// the value that the caller gave. Futures may be those of activities, chains, child
// workflows, timers or any others; none of them is left out because another one failed.
//
// f runs in a coroutine of its own and may block. The future that is returned is ready when
// f has returned, with f's error; a workflow that returns before then ends without it. The
// end of ctx does not call f early: calls that are cancelled end, and f sees how.
//
//	done := workflow.OnComplete(ctx, order, futures, func(ctx sdkworkflow.Context, order Order, results []workflow.Result) error {
//		for _, r := range results {
//			var receipt Receipt
//			if err := r.Get(ctx, &receipt); err != nil {
//				return err
//			}
//		}
//		return nil
//	})
func OnComplete[T any](ctx sdkworkflow.Context, value T, futures []sdkworkflow.Future,
	f func(ctx sdkworkflow.Context, value T, results []Result) error,
) sdkworkflow.Future {
	done, settable := sdkworkflow.NewFuture(ctx)
	results := make([]Result, len(futures)) // the caller may change its slice
	for i, future := range futures {
		results[i].future = future
	}
	sdkworkflow.GoNamed(ctx, "slipstream on complete", func(ctx sdkworkflow.Context) {
		for _, r := range results {
			_ = r.future.Get(ctx, nil) // f looks at the errors
		}
		settable.Set(nil, f(ctx, value, results))
	})
	return done
}
