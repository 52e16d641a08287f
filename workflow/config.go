package workflow

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Config is what the workflow half needs to know about its process. Functions stand
// where a value is only known once the client exists; they are called from workflow
// code, so they must return at once and without I/O. Nil functions mean "none".
type Config struct {
	// Enabled reports whether runs that have not decided yet may be routed: the plugin is
	// not disabled and has a live runtime. Runs that have a route record follow it either
	// way, and replay never asks.
	Enabled func() bool
	// Holds reports whether runs of this task queue that have not decided yet must stay
	// plain: some of its workers could not go on with a routed run.
	Holds func(taskQueue string) bool
	// Marks maps the marked activity types to the pool name of their mark, "" for the
	// default pool. It is read once per run, at the live route decision, by many runs at
	// a time: it must not change.
	Marks map[string]string
	// Dispatcher returns the ordinary half, nil while there is none (a replayer, a test
	// environment, a disabled plugin). Recorded runs then answer their waves "plain".
	Dispatcher func() Dispatcher
	// DataConverter returns the client's final data converter; it decodes failures.
	// Arguments and results need none: they use the workflow's own.
	DataConverter func() converter.DataConverter
	// FailureConverter returns the client's final failure converter.
	FailureConverter func() converter.FailureConverter
}

func (c *Config) enabled(taskQueue string) bool {
	return len(c.Marks) > 0 && c.Enabled != nil && c.Enabled() && (c.Holds == nil || !c.Holds(taskQueue))
}

func (c *Config) dispatcher() Dispatcher {
	if c.Dispatcher != nil {
		if d := c.Dispatcher(); d != nil {
			return d
		}
	}
	return absent{}
}

func (c *Config) dataConverter() converter.DataConverter {
	if c.DataConverter != nil {
		if dc := c.DataConverter(); dc != nil {
			return dc
		}
	}
	return converter.GetDefaultDataConverter()
}

func (c *Config) failureConverter() converter.FailureConverter {
	if c.FailureConverter != nil {
		if fc := c.FailureConverter(); fc != nil {
			return fc
		}
	}
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: c.dataConverter()})
}

// Interceptor makes routers, one per workflow run. It is the workflow part of the
// plugin's worker interceptor and must come first in the list of interceptors: only
// then do all others see the calls before they leave for the queue.
//
// It is immutable and safe for concurrent use.
type Interceptor struct {
	config   Config
	protocol uint64 // of the records that runs make here
}

// NewInterceptor returns an interceptor that routes by config.
func NewInterceptor(config Config) *Interceptor {
	return &Interceptor{config: config, protocol: protocolWritten}
}

// InterceptWorkflow has the form of interceptor.WorkerInterceptor's method.
func (i *Interceptor) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &inbound{router: newRouter(&i.config, i.protocol)}
	in.Next = next
	return in
}
