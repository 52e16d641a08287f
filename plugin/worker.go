package plugin

import (
	"context"
	"errors"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/workflow"
)

var errTwice = errors.New("slipstream: the plugin is in client.Options.Plugins and again in worker.Options.Plugins; " +
	"remove it from the worker's, workers have the plugins of their client")

// ConfigureWorker implements worker.Plugin. The SDK makes a panic of an error.
func (p *Plugin) ConfigureWorker(_ context.Context, o worker.PluginConfigureWorkerOptions) error {
	s := p.served.Load()
	if s == nil {
		return nil
	}
	if s.runtime.Worker(o.WorkerInstanceKey) != nil {
		return errTwice
	}
	s.runtime.Configure(o)
	return nil
}

// StartWorker implements worker.Plugin: the worker's executors start with it.
func (p *Plugin) StartWorker(ctx context.Context, o worker.PluginStartWorkerOptions, next func(context.Context, worker.PluginStartWorkerOptions) error) error {
	s := p.served.Load()
	if s == nil {
		return next(ctx, o)
	}
	w := s.runtime.Worker(o.WorkerInstanceKey)
	if w == nil {
		return next(ctx, o)
	}
	register := func(a any, options sdkactivity.RegisterOptions) {
		o.WorkerRegistry.RegisterActivityWithOptions(a, options)
	}
	return w.Start(ctx, register, func(ctx context.Context) error { return next(ctx, o) })
}

// StopWorker implements worker.Plugin: the executors stop, then the worker.
func (p *Plugin) StopWorker(ctx context.Context, o worker.PluginStopWorkerOptions, next func(context.Context, worker.PluginStopWorkerOptions)) {
	stop := func(ctx context.Context) { next(ctx, o) }
	if s := p.served.Load(); s != nil {
		if w := s.runtime.Worker(o.WorkerInstanceKey); w != nil {
			w.Stop(ctx, stop)
			return
		}
	}
	stop(ctx)
}

// ConfigureWorkflowReplayer implements worker.Plugin: a replayer follows the records of
// its histories and talks to nobody.
func (p *Plugin) ConfigureWorkflowReplayer(_ context.Context, o worker.PluginConfigureWorkflowReplayerOptions) error {
	options := o.WorkflowReplayerOptions
	router := workflow.NewInterceptor(workflow.Config{
		Marks: p.settings.marks,
		// Read late: other plugins may set them after this one.
		DataConverter:    func() converter.DataConverter { return options.DataConverter },
		FailureConverter: func() converter.FailureConverter { return options.FailureConverter },
	})
	options.Interceptors = append([]interceptor.WorkerInterceptor{&workerInterceptor{router: router}}, options.Interceptors...)
	return nil
}

// ReplayWorkflow implements worker.Plugin. It runs once per history and adds nothing.
func (p *Plugin) ReplayWorkflow(ctx context.Context, o worker.PluginReplayWorkflowOptions, next func(context.Context, worker.PluginReplayWorkflowOptions) error) error {
	return next(ctx, o)
}
