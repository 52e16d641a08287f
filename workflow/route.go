package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

const (
	// changeID names the route decision in histories and in the TemporalChangeVersion
	// search attribute.
	changeID = "slipstream"
	// protocolWritten is what new route records say. Everything that decides which commands
	// a run writes (the wave rule, the alarm's intervals, the fallback's limits) belongs to
	// it: to change such a rule, raise it and keep the old rule for old records.
	//
	// While a release is rolled out, workers of the one before take over runs that it has
	// begun. So a new version is known in one release and written from the next one on. (2 is
	// the first that any release writes.)
	protocolWritten = 2
	// protocolKnown is the highest version that this code goes by.
	protocolKnown = 2

	// protocolSuggests is the first version in which a run may be advised to continue as new.
	protocolSuggests = 2
)

// decide returns the run's route, nil if the run is plain. The decision is made at the
// run's first activity call of any type, the one place that no change of marks can move
// (protocol R1).
//
// In replay the history decides: the version marker is there or it is not. Live, the
// marks decide, and version and record are written without yielding in between, so that
// no workflow task can hold one without the other.
func (r *router) decide(ctx sdkworkflow.Context) *wire.Route {
	if r.decided {
		return r.route
	}
	r.decided = true
	// On the workflow's own context: the call's may have another data converter, and who
	// reads the record later does not know it.
	ctx = r.background(ctx)
	if r.Next.IsReplaying(ctx) || r.config.enabled(r.Next.GetInfo(ctx).TaskQueueName) {
		// A worker's PreferredVersionProvider may answer the default version in live code
		// too; the run then stays plain, with a marker that says so.
		if r.Next.GetVersion(ctx, changeID, sdkworkflow.DefaultVersion, 1) != sdkworkflow.DefaultVersion {
			r.route = r.record(ctx)
		}
	}
	if r.route == nil {
		r.early = early{}
		return nil
	}
	r.answerOpenCalls(ctx)
	return r.route
}

func (r *router) record(ctx sdkworkflow.Context) *wire.Route {
	types := slices.Sorted(maps.Keys(r.config.Marks))
	options := sdkworkflow.SideEffectOptions{Summary: clip("Slipstream routes " + strings.Join(types, ", "))}
	value := r.Next.SideEffectWithOptions(ctx, options, func(sdkworkflow.Context) any {
		return wire.EncodeRoute(&wire.Route{Protocol: r.protocol, Pools: r.config.Marks})
	})
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
