package workflow

import (
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// take returns the chain that a call of an activity begins, if it is one that can be a
// single call, and its steps after the first. It can where each step could be a routed call
// of its own, in the same pool: only then are they in one slot of the queue.
func (r *router) take(ctx sdkworkflow.Context, activityType, pool string, first *options) (*chain, []wire.Step) {
	c, _ := ctx.Value(chainKey{}).(*chain)
	// Interceptors may make calls of their own with the context of ours.
	if c == nil || c.walks || activityType != c.typeOf(0) {
		return nil, nil
	}
	own := optionsOf(ctx)
	var then []wire.Step
	for i := 1; i < len(c.steps); i++ {
		name := c.typeOf(i)
		itsPool, routed := r.poolOf(own, name)
		if !routed || itsPool != pool {
			return nil, nil
		}
		o, ok := r.resolve(c.contextOf(i), name)
		if !ok || o.taskQueue != first.taskQueue || o.waitForCancellation != first.waitForCancellation {
			return nil, nil
		}
		then = append(then, wire.Step{Type: name, ActivityID: o.activityID, Options: o.CallOptions})
	}
	c.taken = true
	if !slices.EqualFunc(then, r.then, equalStep) {
		r.then = then
	}
	return c, r.then
}

func equalStep(a, b wire.Step) bool {
	x, y := a.Options, b.Options
	same := proto.Equal(x.Retry, y.Retry)
	x.Retry, y.Retry = nil, nil
	return same && x == y && a.Type == b.Type && a.ActivityID == b.ActivityID
}

// inStep is the error of a chain for the error of a step; a call that is no chain has its
// error as it is.
func (c *call) inStep(step int, err error) error {
	if c.chain == nil {
		return err
	}
	return &ChainError{Step: step, ActivityType: c.typeIn(step), err: err}
}

// typeIn, optionsIn and activityIDIn tell of a step what the call itself tells of the first.
func (c *call) typeIn(step int) string {
	if step == 0 || step > len(c.Then) {
		return c.Type
	}
	return c.Then[step-1].Type
}

func (c *call) optionsIn(step int) *wire.CallOptions {
	if step == 0 || step > len(c.Then) {
		return &c.Options
	}
	return &c.Then[step-1].Options
}

func (c *call) activityIDIn(step int) string {
	if step == 0 || step > len(c.Then) {
		return c.ActivityID
	}
	if id := c.Then[step-1].ActivityID; id != "" {
		return id
	}
	return wire.ActivityID(c.Number, step)
}

// value is what the future of a call that completed gives.
func (c *call) value(payloads []*commonpb.Payload) any {
	if !c.Results {
		return payloadsOrNil(payloads)
	}
	results := make([]Result, len(payloads))
	for i, p := range payloads {
		if !proto.Equal(p, &commonpb.Payload{}) { // which stands for none
			results[i].payloads = []*commonpb.Payload{p}
		}
	}
	return results
}

// goOnPlain takes a chain whose first step was called as an ordinary activity through the
// others.
func (r *router) goOnPlain(ctx, callCtx sdkworkflow.Context, c *chain, types []string, first sdkworkflow.Future, settable sdkworkflow.Settable) {
	c.walk(ctx, first, settable, walker{
		ctx: callCtx,
		execute: func(step int, args []any) sdkworkflow.Future {
			// The call's own context has the header that interceptors filled.
			o := sdkworkflow.GetActivityOptions(c.contextOf(step))
			return r.executePlain(sdkworkflow.WithActivityOptions(callCtx, o), types[step], args)
		},
		encode: func(value any) (*commonpb.Payloads, error) {
			encoded, _, err := r.encode(callCtx, []any{value})
			return encoded, err
		},
	})
}
