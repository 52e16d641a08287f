package workflow

import (
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// PlainHeader is the header field of activity calls that must run as ordinary Temporal
// activities although their type is marked. The activity half reads it.
const PlainHeader = "slipstream"

// PlainHeaderValue is its content.
const PlainHeaderValue = "plain"

// executePlain makes an ordinary activity call that no worker routes again (protocol R4).
func (r *router) executePlain(ctx sdkworkflow.Context, activityType string, args []any) sdkworkflow.Future {
	if header := interceptor.WorkflowHeader(ctx); header != nil {
		// Written by hand: the user's converter might encrypt it, and the activity
		// half reads it before any converter.
		header[PlainHeader] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingBinary)},
			Data:     []byte(PlainHeaderValue),
		}
	}
	return r.Next.ExecuteActivity(ctx, activityType, args...)
}

// goPlain hands a call over to the SDK. From here on it is the SDK's: cancellation,
// time-outs and errors are exactly those of a plain activity.
func (r *router) goPlain(ctx sdkworkflow.Context, c *call) {
	callCtx, settable := c.ctx, c.settable
	// The arguments are those of the moment of the call: workflow code may have changed
	// what they point to since. Only a converter that cannot give them back in a neutral
	// form gets the originals.
	args, err := bare(callCtx, c.Input)
	if err != nil {
		args = c.args
	}
	if remaining, less := c.remaining(r.Next.Now(ctx)); less {
		callCtx = sdkworkflow.WithScheduleToCloseTimeout(callCtx, min(remaining, c.Options.ScheduleToClose))
	}
	chain, types, weight := c.chain, c.Types(), c.Weight()
	r.close(ctx, c)
	r.fallback.outstanding += weight
	future := r.executePlain(callCtx, types[0], args)
	r.Next.Go(r.root, "slipstream plain", func(ctx sdkworkflow.Context) {
		if chain != nil {
			r.goOnPlain(ctx, callCtx, chain, types, future, settable)
		} else {
			passOn(ctx, future, settable, func(value any) (*commonpb.Payloads, error) {
				encoded, _, err := r.encode(callCtx, []any{value})
				return encoded, err
			})
		}
		r.fallbackEnded(ctx, weight)
	})
}

// The bounds of the fallback (protocol D6): 2,000 pending activities would fail the
// workflow task for ever, 51,200 events end the run.
const (
	maxFallback        = 500
	maxFallbackHistory = 40_000
	eventsPerActivity  = 3
	// fallbackBatch is how many plain calls end before waiting ones are tried again.
	fallbackBatch = 100
)

// fallback counts the activities of calls of the run that went plain. A chain is as many as
// it has steps.
type fallback struct {
	outstanding int // handed over and not ended
	reserved    int // promised to dispatches that are under way
	ended       int // since the last time that waiting calls were dispatched
	// waiting is false when no call waits for certain, which saves looking for them.
	waiting bool
}

// budget is how many more of them there may be at a history of that length.
func (f *fallback) budget(length int) int {
	byHistory := (maxFallbackHistory-length)/eventsPerActivity - f.outstanding - f.reserved
	return max(0, min(maxFallback-f.outstanding-f.reserved, byHistory))
}

// fallbackEnded makes room for waiting calls.
func (r *router) fallbackEnded(ctx sdkworkflow.Context, weight int) {
	r.fallback.outstanding -= weight
	r.fallback.ended += weight
	if r.fallback.ended >= fallbackBatch || r.fallback.outstanding == 0 {
		r.dispatchWaiting(ctx, fallbackBatch)
	}
}

// dispatchWaiting dispatches up to n waiting calls again, the oldest first.
func (r *router) dispatchWaiting(ctx sdkworkflow.Context, n int) {
	r.fallback.ended = 0
	if !r.fallback.waiting {
		return
	}
	calls := r.openCalls(func(c *call) bool { return c.phase == waiting && !c.again })
	r.fallback.waiting = len(calls) > n
	r.dispatch(ctx, calls[:min(n, len(calls))])
}
