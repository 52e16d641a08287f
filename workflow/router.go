package workflow

import (
	"cmp"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// router is the outbound interceptor of one run: it holds the run's calls from
// ExecuteActivity until they are settled. All of it is workflow state, rebuilt by
// replay; it is only touched by the run's coroutines and event handlers, one at a time.
type router struct {
	interceptor.WorkflowOutboundInterceptorBase
	config *Config

	// root is a context that no cancel reaches, for everything the router does itself.
	root sdkworkflow.Context

	decided bool
	route   *wire.Route // nil: the run is plain for its whole life

	last     uint64 // the last number given out
	open     map[uint64]*call
	buffer   []*call // the wave that is forming
	early    early
	held     watermark
	watchers map[sdkworkflow.Channel]*watcher
	cancels  []*call // cancel requests of this workflow task
	orphans  orphans
	fallback fallback
	burden   burden
	alarm    alarm
	then     []wire.Step // of the last chain; equal ones share it
}

func newRouter(config *Config) *router {
	return &router{
		config:   config,
		open:     map[uint64]*call{},
		watchers: map[sdkworkflow.Channel]*watcher{},
	}
}

// background returns the router's own context. It descends from the workflow's root
// context, so that local activities carry what the user's propagators want to see, and
// is disconnected, so that a cancelled workflow still sends and settles. What the router
// calls with it does not pass the user's interceptors: they mean what workflow code does.
func (r *router) background(ctx sdkworkflow.Context) sdkworkflow.Context {
	if r.root == nil {
		r.root, _ = sdkworkflow.NewDisconnectedContext(ctx)
		r.root = sdkworkflow.WithValue(r.root, outboundKey, interceptor.WorkflowOutboundInterceptor(r))
	}
	return r.root
}

// ExecuteActivity puts a routed call into the wave that is forming and returns its
// future; every other call goes to the SDK unchanged. Errors are those of the SDK's own
// ExecuteActivity, by the same way: encoding panics, a propagator's error is the
// future's.
func (r *router) ExecuteActivity(ctx sdkworkflow.Context, activityType string, args ...any) sdkworkflow.Future {
	r.decide(ctx)
	own := optionsOf(ctx)
	if own.Plain {
		return r.executePlain(ctx, activityType, args)
	}
	pool, routed := r.poolOf(own, activityType)
	if !routed {
		return r.Next.ExecuteActivity(ctx, activityType, args...)
	}
	options, ok := r.resolve(ctx, activityType)
	if !ok {
		return r.executePlain(ctx, activityType, args)
	}
	chain, then := r.take(ctx, activityType, pool, options)
	future, settable := sdkworkflow.NewFuture(ctx)
	input, header, err := r.encode(ctx, args)
	if err != nil {
		if chain != nil {
			err = chain.failed(ctx, 0, err)
		}
		settable.SetError(err)
		return future
	}
	if ctx.Err() != nil && !options.waitForCancellation {
		settable.SetError(sdkworkflow.ErrCanceled)
		return future
	}
	r.last++
	c := &call{
		Call: wire.Call{
			Number:     r.last,
			Type:       activityType,
			TaskQueue:  options.taskQueue,
			Pool:       pool,
			ActivityID: options.activityIDOr(r.last),
			Input:      input,
			Canonical:  canonical(args, input),
			Options:    options.CallOptions,
			Then:       then,
			Results:    chain != nil && chain.results,
		},
		chain:               chain,
		header:              header,
		waitForCancellation: options.waitForCancellation,
		made:                r.Next.Now(ctx),
		ctx:                 ctx,
		args:                args,
		settable:            settable,
	}
	r.open[c.Number] = c
	r.watch(c)
	r.join(c)
	return future
}

// poolOf returns the pool of a type's calls, and whether they are routed at all.
func (r *router) poolOf(own Options, activityType string) (pool string, routed bool) {
	if r.route == nil {
		return "", false
	}
	pool, routed = r.route.Pools[activityType]
	return cmp.Or(own.Pool, pool), routed
}

// Why outcomes are dropped; the values are metric tags.
const (
	droppedJunk     = "junk"
	droppedSettled  = "settled"
	droppedMismatch = "mismatch"
	droppedEarly    = "early"
	droppedPlain    = "plain_run"
)

// drop counts outcomes that nobody waits for. The handler keeps silent in replay.
func (r *router) drop(ctx sdkworkflow.Context, reason string) {
	r.Next.GetMetricsHandler(ctx).
		WithTags(map[string]string{"reason": reason}).
		Counter("slipstream_outcomes_dropped").Inc(1)
}

// receive takes an outcome, from wherever it comes: signal, marker or reconcile reply.
// It settles the call with exactly that identity. A number alone is no identity: the
// workflow task that made it may have been lost, and the next attempt may have made
// another call with the same number (protocol I).
func (r *router) receive(ctx sdkworkflow.Context, o *wire.Outcome) {
	if r.decided && r.route == nil {
		r.drop(ctx, droppedPlain)
		return
	}
	c := r.open[o.Number]
	switch {
	case o.Number > r.last, c != nil && !c.identified():
		for range r.early.keep(o) {
			r.drop(ctx, droppedEarly)
		}
	case c == nil:
		r.drop(ctx, droppedSettled)
	case c.identity != o.Identity:
		r.drop(ctx, droppedMismatch)
	default:
		r.finish(ctx, c, o)
	}
}

type silent struct{}

// GetLogger gives the router's own session check a logger that says nothing, because
// the SDK warns on every question about a session that is not there.
func (r *router) GetLogger(ctx sdkworkflow.Context) log.Logger {
	if ctx.Value(silent{}) != nil {
		return nopLogger{}
	}
	return r.Next.GetLogger(ctx)
}

type nopLogger struct{}

func (nopLogger) Debug(string, ...any) {}
func (nopLogger) Info(string, ...any)  {}
func (nopLogger) Warn(string, ...any)  {}
func (nopLogger) Error(string, ...any) {}
