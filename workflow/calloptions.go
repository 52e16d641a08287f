package workflow

import (
	"fmt"
	"strings"

	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Options say how single calls of marked activities go, against what the marks say for all
// of them. They are part of workflow code. Pool may change under running workflows, as
// activity options may; Plain decides what the run writes into its history, so there it
// wants workflow.GetVersion, like any change of the calls that a workflow makes.
type Options struct {
	// Pool is the pool that the calls go to, one of those that the marks of the plugin
	// name, instead of the one of their activity's mark. Where no worker serves such a pool
	// they run as ordinary activities. Default: the mark's.
	Pool string
	// Plain makes the calls ordinary Temporal activities, whatever is marked.
	Plain bool
}

type optionsKey struct{}

// WithOptions returns a context whose activity calls go by o; o replaces options that ctx
// has from an earlier call. Without the plugin it makes no difference; for activities that
// are not marked none but a header field that says plain.
//
// It panics where o makes no sense, which fails the workflow task until the code is mended.
func WithOptions(ctx sdkworkflow.Context, o Options) sdkworkflow.Context {
	if err := o.validate(); err != nil {
		//nolint:forbidigo // this is how workflow code fails a workflow task
		panic(fmt.Sprintf("[Slipstream] workflow.WithOptions: %v", err))
	}
	return sdkworkflow.WithValue(ctx, optionsKey{}, o)
}

func optionsOf(ctx sdkworkflow.Context) Options {
	o, _ := ctx.Value(optionsKey{}).(Options)
	return o
}

func (o Options) validate() error {
	switch {
	case o.Plain && o.Pool != "":
		return fmt.Errorf("Options.Pool is %q beside Plain: plain calls are in no pool, leave one of them out", o.Pool)
	case len(o.Pool) > maxNameLength:
		return fmt.Errorf("Options.Pool has %d bytes: give at most %d", len(o.Pool), maxNameLength)
	case strings.TrimSpace(o.Pool) != o.Pool:
		return fmt.Errorf("Options.Pool is %q: give it without white space around it", o.Pool)
	}
	return nil
}
