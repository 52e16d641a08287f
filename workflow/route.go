package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.temporal.io/sdk/converter"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

const (
	// recordID names the route record in histories.
	recordID = "slipstream"
	// protocolWritten is what new route records say. Everything that decides which commands
	// a run writes (the wave rule, the alarm's intervals, the fallback's limits) belongs to
	// it: to change such a rule, raise it and keep the old rule for old records.
	//
	// While a release is rolled out, workers of the one before take over runs that it has
	// begun. So a new version is known in one release and written from the next one on. (3 is
	// the first that any release writes.)
	protocolWritten = 3
	// protocolKnown is the highest version that this code goes by.
	protocolKnown = 3

	// protocolSuggests is the first version in which a run may be advised to continue as new.
	protocolSuggests = 2
)

// decide returns the run's route, nil if the run is plain. The decision is made at the
// run's first activity call of any type, the one place that no change of marks can move
// (protocol R1). Live, the marks decide; in replay, what was recorded.
func (r *router) decide(ctx sdkworkflow.Context) *wire.Route {
	if r.decided {
		return r.route
	}
	r.decided = true
	// On the workflow's own context: the call's may have another data converter, and who
	// reads the record later does not know it.
	ctx = r.background(ctx)
	switch {
	case r.Next.IsReplaying(ctx):
		r.route = r.recall(ctx)
	case r.config.enabled(r.Next.GetInfo(ctx).TaskQueueName):
		r.route = readRecord(r.record(ctx))
	}
	if r.route == nil {
		r.early = early{}
	}
	return r.route
}

// record writes the route record, and reads it in replay. It is a mutable side effect that
// never changes: one marker, which the SDK has at hand before it replays the workflow task.
// Tempting, but twice as dear for the server: GetVersion with a side effect. That is two
// markers and an upsert of a search attribute, a task for the visibility store.
func (r *router) record(ctx sdkworkflow.Context) converter.EncodedValue {
	types := slices.Sorted(maps.Keys(r.config.Marks))
	options := sdkworkflow.MutableSideEffectOptions{Summary: clip("Slipstream routes " + strings.Join(types, ", "))}
	return r.Next.MutableSideEffectWithOptions(ctx, recordID, options, func(sdkworkflow.Context) any {
		return wire.EncodeRoute(&wire.Route{Protocol: r.protocol, Pools: r.config.Marks})
	}, func(any, any) bool { return true })
}

// recall returns the route that a replayed run has recorded, nil if it has none.
func (r *router) recall(ctx sdkworkflow.Context) *wire.Route {
	if value, found := r.recorded(ctx); found {
		return readRecord(value)
	}
	// Up to protocol 2 a version marker said that a side effect follows. To ask adds nothing
	// to a history.
	if r.Next.GetVersion(ctx, recordID, sdkworkflow.DefaultVersion, 1) == sdkworkflow.DefaultVersion {
		return nil
	}
	return readRecord(r.Next.SideEffect(ctx, func(sdkworkflow.Context) any { return nil }))
}

// recorded reads the record in replay, if there is one.
//
// The SDK has no question for that: it panics over a mutable side effect that the history
// does not have, before it has changed anything but a count of calls by this ID.
func (r *router) recorded(ctx sdkworkflow.Context) (value converter.EncodedValue, found bool) {
	defer func() {
		// Only that panic: others, such as an interceptor's, are not ours.
		if p := recover(); p != nil && !isUnrecorded(p) {
			panic(p) //nolint:forbidigo // as it was
		}
	}()
	return r.record(ctx), true
}

// isUnrecorded tells the SDK's panic over a mutable side effect that is not in history: by its
// type, which is not exported, or by its words, so that an SDK that changes one of them is
// still understood.
func isUnrecorded(p any) bool {
	return fmt.Sprintf("%T", p) == "internal.stateMachineIllegalStatePanic" ||
		strings.Contains(fmt.Sprint(p), "MutableSideEffect ID: "+recordID)
}

func readRecord(value converter.EncodedValue) *wire.Route {
	var b []byte
	err := value.Get(&b)
	if err == nil {
		var route *wire.Route
		if route, err = wire.DecodeRoute(b); err == nil && route.Protocol > protocolKnown {
			err = fmt.Errorf("it was written by a newer version of Slipstream (protocol %d, this one knows %d); update this worker", route.Protocol, protocolKnown)
		}
		if err == nil {
			return route
		}
	}
	// Without the record there is no telling which calls went where, nor by which rules.
	// Going on would be a guess; failing the workflow task keeps the run until the right code
	// or key is back.
	//nolint:forbidigo // this is how workflow code fails a workflow task
	panic(fmt.Sprintf("[Slipstream] the route record of this run cannot be read: %v", err))
}

// clip keeps a summary within the length that the server takes.
func clip(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-3], "") + "..."
}
