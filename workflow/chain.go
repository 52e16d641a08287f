package workflow

import (
	"fmt"
	"reflect"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Step is one step of a chain.
type Step struct {
	// Activity is the activity function, or the name of its type: what ExecuteActivity
	// takes.
	Activity any
	// Options are the step's own, as for workflow.WithActivityOptions. Default: those of
	// the context that the chain is called with.
	Options *sdkworkflow.ActivityOptions
}

// MaxSteps is the most steps that a chain may have.
const MaxSteps = 100

// ChainError says in which step a chain failed. What it wraps is the error that
// ExecuteActivity would have given for that step: errors.As finds the *temporal.ActivityError
// and its cause.
type ChainError struct {
	// Step is the index of the step that failed, from 0.
	Step int
	// ActivityType is its type.
	ActivityType string

	err error
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("step %d of the chain (%s): %v", e.Step+1, e.ActivityType, e.err)
}

// Unwrap returns the error of the step.
func (e *ChainError) Unwrap() error { return e.err }

// Chain executes activities one after the other: the first gets input as its argument, each
// of the others the result of the one before. The future gives the result of the last.
//
//	err := workflow.Chain(ctx, url, workflow.Step{Activity: Fetch}, workflow.Step{Activity: Translate}).Get(ctx, &text)
//
// Where all steps are marked and in one pool, the chain is a single call: the queue goes from
// step to step by itself, and the workflow hears of the end only. Results pass from handler
// to handler as they were encoded. Everywhere else (in a run that is not routed, a test
// environment, without the plugin) the steps are ordinary calls of ExecuteActivity, and what
// comes out is the same.
//
// Each step has its own attempts, time-outs and heartbeats, as its options say. The first that
// fails ends the chain with a *ChainError. Cancelling ctx ends it as it ends an activity call,
// with a *temporal.CanceledError that names no step: no further step starts. Interceptors and
// tracers see a chain that is one call as a call of its first activity; all its handlers get
// that call's header.
//
// A chain that Redis has lost begins again with its first step; where a step has
// MaximumAttempts 1, it fails instead.
func Chain(ctx sdkworkflow.Context, input any, steps ...Step) sdkworkflow.Future {
	return begin(ctx, input, steps, false)
}

// ChainResults is Chain with a future that gives the results of all steps, as a []Result with
// one element per step. Together they must be within the server's limit for one result.
//
//	var results []workflow.Result
//	if err := workflow.ChainResults(ctx, url, steps...).Get(ctx, &results); err != nil {
//		return err
//	}
//	err := results[0].Get(ctx, &page)
func ChainResults(ctx sdkworkflow.Context, input any, steps ...Step) sdkworkflow.Future {
	return begin(ctx, input, steps, true)
}

// chain is what Chain was called with. It goes to the router on the context of the call of
// the first step, so that interceptors on the way see an activity call like any other.
type chain struct {
	ctx     sdkworkflow.Context
	steps   []Step
	results bool
	// taken: the router has taken all steps as one call. It does so again if an interceptor
	// repeats the call.
	taken bool
	// walks: it has not, and the steps are called one by one. An interceptor that passes
	// the first call on later must not make the router take all of them then.
	walks bool
}

type chainKey struct{}

func begin(ctx sdkworkflow.Context, input any, steps []Step, results bool) sdkworkflow.Future {
	future, settable := sdkworkflow.NewFuture(ctx)
	if err := validSteps(steps); err != nil {
		settable.SetError(err)
		return future
	}
	c := &chain{ctx: ctx, steps: ownSteps(steps), results: results}
	first := sdkworkflow.ExecuteActivity(sdkworkflow.WithValue(c.contextOf(0), chainKey{}, c), steps[0].Activity, input)
	if c.taken {
		return first
	}
	c.walks = true
	sdkworkflow.GoNamed(ctx, "slipstream chain", func(ctx sdkworkflow.Context) {
		c.walk(ctx, first, settable, walker{
			ctx: c.ctx,
			execute: func(step int, args []any) sdkworkflow.Future {
				return sdkworkflow.ExecuteActivity(c.contextOf(step), c.steps[step].Activity, args...)
			},
			encode: c.encode,
		})
	})
	return future
}

// encode makes a payload as workflow code's converter does. With the plugin this does not
// pass the user's interceptors.
func (c *chain) encode(value any) (*commonpb.Payloads, error) {
	ctx := c.ctx
	if r, ok := ctx.Value(routerKey{}).(*router); ok {
		ctx = sdkworkflow.WithValue(ctx, outboundKey, r.Next)
	}
	encoded, _, err := encodedBy(sdkworkflow.NewContinueAsNewError(ctx, "slipstream", value))
	return encoded, err
}

// ownSteps copies steps: a chain that walks reads them long after the caller may have
// changed its own.
func ownSteps(steps []Step) []Step {
	steps = slices.Clone(steps)
	for i := range steps {
		if given := steps[i].Options; given != nil {
			o := *given
			if o.RetryPolicy != nil {
				policy := *o.RetryPolicy
				o.RetryPolicy = &policy
			}
			steps[i].Options = &o
		}
	}
	return steps
}

func validSteps(steps []Step) error {
	if len(steps) == 0 || len(steps) > MaxSteps {
		return fmt.Errorf("slipstream: a chain of %d steps: give it 1 to %d", len(steps), MaxSteps)
	}
	for i, s := range steps {
		if s.Activity == nil {
			return fmt.Errorf("slipstream: Step.Activity of step %d is nil: give the activity function or its name", i)
		}
	}
	return nil
}

// contextOf is the context that a step is called with.
func (c *chain) contextOf(step int) sdkworkflow.Context {
	if o := c.steps[step].Options; o != nil {
		return sdkworkflow.WithActivityOptions(c.ctx, *o)
	}
	return c.ctx
}

// typeOf is the name of a step's activity type.
func (c *chain) typeOf(step int) string { return typeName(c.ctx, c.steps[step].Activity) }

// walker is how the steps of a chain that is not one call are called.
type walker struct {
	ctx     sdkworkflow.Context // its end ends the chain
	execute func(step int, args []any) sdkworkflow.Future
	// encode makes a payload for the chain's future, which decodes as the workflow's own.
	encode func(value any) (*commonpb.Payloads, error)
}

// walk takes the chain through its steps, one activity call after the other. The first was
// made already.
func (c *chain) walk(ctx sdkworkflow.Context, call sdkworkflow.Future, settable sdkworkflow.Settable, w walker) {
	results := make([]Result, 0, len(c.steps))
	for step := 0; ; step++ {
		if err := call.Get(ctx, nil); err != nil {
			settable.SetError(c.failed(w.ctx, step, err))
			return
		}
		results = append(results, Result{future: call})
		if step == len(c.steps)-1 {
			break
		}
		if err := w.ctx.Err(); err != nil {
			settable.SetError(err)
			return
		}
		args, err := argument(ctx, call, c.steps[step+1].Activity)
		if err != nil {
			settable.SetError(c.failed(w.ctx, step+1, err))
			return
		}
		call = w.execute(step+1, args)
	}
	if c.results {
		settable.Set(results, nil)
		return
	}
	passOn(ctx, call, settable, w.encode)
}

// failed is the chain's error for the error of a step.
func (c *chain) failed(ctx sdkworkflow.Context, step int, err error) error {
	if ctx.Err() != nil && temporal.IsCanceledError(err) {
		return err
	}
	return &ChainError{Step: step, ActivityType: c.typeOf(step), err: err}
}

// argument makes the argument of a step of the result of the step before: as it is, or for
// a converter that knows no raw values as what the next activity takes.
func argument(ctx sdkworkflow.Context, result sdkworkflow.Future, next any) ([]any, error) {
	var raw converter.RawValue
	if err := result.Get(ctx, &raw); err == nil {
		if raw.Payload() == nil {
			return nil, nil
		}
		return []any{raw}, nil
	}
	value := reflect.New(reflect.TypeFor[any]())
	if f := reflect.TypeOf(next); f.Kind() == reflect.Func && f.NumIn() > 0 {
		value = reflect.New(f.In(f.NumIn() - 1))
	}
	if err := result.Get(ctx, value.Interface()); err != nil {
		return nil, fmt.Errorf("the result of the step before: %w", err)
	}
	return []any{value.Elem().Interface()}, nil
}

// passOn settles a call's future with the result of a plain activity. Chaining the futures
// looks simpler, but the plain result was encoded under the activity's serialization
// context, and the call's future decodes under the workflow's.
func passOn(ctx sdkworkflow.Context, result sdkworkflow.Future, settable sdkworkflow.Settable, encode func(any) (*commonpb.Payloads, error)) {
	if err := result.Get(ctx, nil); err != nil {
		settable.SetError(err)
		return
	}
	var raw converter.RawValue
	if err := result.Get(ctx, &raw); err != nil {
		settable.Chain(result) // a converter that knows no raw values, hence no codec of ours to undo
		return
	}
	if raw.Payload() == nil {
		settable.Set((*commonpb.Payloads)(nil), nil)
		return
	}
	encoded, err := encode(raw)
	settable.Set(encoded, err)
}

// typeName is the name by which the SDK calls an activity. Only the SDK knows the names that
// functions were registered under, so it is made to call the activity by somebody who
// listens and does nothing. It is empty with an SDK that does not ask us.
func typeName(ctx sdkworkflow.Context, activity any) string {
	if name, ok := activity.(string); ok {
		return name
	}
	if outboundKey == (unknownKey{}) {
		return ""
	}
	heard := &listener{}
	sdkworkflow.ExecuteActivity(sdkworkflow.WithValue(ctx, outboundKey, interceptor.WorkflowOutboundInterceptor(heard)), activity)
	return heard.name
}

type listener struct {
	interceptor.WorkflowOutboundInterceptorBase
	name string
}

func (l *listener) ExecuteActivity(_ sdkworkflow.Context, name string, _ ...any) sdkworkflow.Future {
	l.name = name
	return nil
}
