package plugin

import (
	"context"
	"sync/atomic"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/workflow"
)

// Name is the plugin's name among a client's and worker's plugins.
const Name = "slipstream-go.slipstream"

// Plugin is a client plugin and a worker plugin in one. Give it to client.Options.Plugins;
// the workers of that client then have it too. One value serves one client and all its
// workers. Safe for concurrent use.
type Plugin struct {
	clientPluginBase
	workerPluginBase

	settings    *settings
	interceptor *workerInterceptor

	// served is the one client; nil before it is made, and in replayers and test
	// environments: then nothing is routed and nothing is started.
	served atomic.Pointer[served]
}

// served is what the plugin knows of its client.
type served struct {
	client  activity.Client
	runtime *activity.Runtime
	// externalStorage: the client's payloads may stand elsewhere, where handlers of the
	// queue would not find them.
	externalStorage bool
}

// The bases have the same name; only so can both be embedded.
type (
	clientPluginBase = client.PluginBase
	workerPluginBase = worker.PluginBase
)

var (
	_ client.Plugin = (*Plugin)(nil)
	_ worker.Plugin = (*Plugin)(nil)
)

// New checks the options and returns a plugin. It does not talk to Redis: a Redis that
// is away when workers start is a warning, and marked calls run as ordinary activities
// until it is there.
func New(o Options) (*Plugin, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	p := &Plugin{settings: s}
	p.interceptor = &workerInterceptor{router: workflow.NewInterceptor(workflow.Config{
		Enabled:          p.enabled,
		Holds:            p.holds,
		Marks:            s.marks,
		Dispatcher:       p.dispatcher,
		DataConverter:    p.dataConverter,
		FailureConverter: p.failureConverter,
	})}
	return p, nil
}

// Name implements client.Plugin and worker.Plugin.
func (p *Plugin) Name() string { return Name }

// Close ends the connection that New made for Options.RedisURL; call it after the last
// worker has stopped. With Options.Redis it does nothing.
func (p *Plugin) Close() error {
	if !p.settings.owned {
		return nil
	}
	return p.settings.redis.Close()
}

// Queue runs marked activities without a workflow. It may be taken at any time; its methods
// work once the plugin's client was made, in a process with workers or without. Options
// that only stop routing (Disabled) do not stop it.
func (p *Plugin) Queue() *activity.Queue {
	return activity.NewQueue(func() (*activity.Runtime, error) {
		switch s := p.served.Load(); {
		case s == nil:
			return nil, errNoClient
		case s.externalStorage:
			return nil, errExternalStorage
		default:
			return s.runtime, nil
		}
	})
}

// enabled tells whether runs that have not decided yet may be routed.
func (p *Plugin) enabled() bool {
	s := p.served.Load()
	return s != nil && !s.externalStorage && !p.settings.Disabled
}

// holds tells whether new runs of a task queue stay plain for now, because workers poll
// it that could not go on with a routed one.
func (p *Plugin) holds(taskQueue string) bool {
	s := p.served.Load()
	return s != nil && s.runtime.Holds(taskQueue)
}

func (p *Plugin) dispatcher() workflow.Dispatcher {
	if s := p.served.Load(); s != nil {
		return s.runtime
	}
	return nil
}

func (p *Plugin) dataConverter() converter.DataConverter {
	if s := p.served.Load(); s != nil {
		return s.client.DataConverter
	}
	return nil
}

func (p *Plugin) failureConverter() converter.FailureConverter {
	if s := p.served.Load(); s != nil {
		return s.client.FailureConverter
	}
	return nil
}

// workerInterceptor joins the two halves. It is the first of the client's interceptors,
// so that all others see marked calls before they leave for the queue, and handlers
// after they come from it.
type workerInterceptor struct {
	interceptor.InterceptorBase
	router *workflow.Interceptor
}

func (i *workerInterceptor) InterceptWorkflow(ctx sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return i.router.InterceptWorkflow(ctx, next)
}

func (i *workerInterceptor) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return activity.InterceptActivity(ctx, next)
}
