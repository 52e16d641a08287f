package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/grpc"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

var errSecondClient = errors.New("slipstream: this plugin value already serves a client; make another one with plugin.New for the second client")

var (
	errNoClient = errors.New("slipstream: the plugin has no client yet; give it to client.Options.Plugins and make the client first")
	// errExternalStorage: handlers of the queue would not find the payloads.
	errExternalStorage = errors.New("slipstream: the client has external payload storage, which the queue does not know; use a client without to enqueue")
)

// ConfigureClient implements client.Plugin: our interceptor becomes the first one, and
// the connection gets the gRPC interceptor that obtains host contexts.
func (p *Plugin) ConfigureClient(_ context.Context, o client.PluginConfigureClientOptions) error {
	options := o.ClientOptions
	// Copied, because the slices are the user's, who may make another client from them.
	options.Interceptors = append([]interceptor.ClientInterceptor{p.interceptor}, options.Interceptors...)
	options.ConnectionOptions.DialOptions = append(slices.Clone(options.ConnectionOptions.DialOptions),
		grpc.WithChainUnaryInterceptor(activity.InterceptUnary))
	return nil
}

// NewClient implements client.Plugin: the options are final here, converters and
// propagators included.
func (p *Plugin) NewClient(ctx context.Context, o client.PluginNewClientOptions, next func(context.Context, client.PluginNewClientOptions) error) error {
	s := &served{
		client:          activity.NewClient(&o.ClientOptions),
		externalStorage: len(o.ClientOptions.ExternalStorage.Drivers) > 0,
	}
	queueOptions := p.settings.queueOptions(s.client.Namespace)
	queueOptions.Logger = s.client.Logger
	queue, err := batchqueue.New(p.settings.redis, queueOptions)
	if err != nil {
		return fmt.Errorf("slipstream: %w", err)
	}
	s.runtime = activity.NewRuntime(s.client, activity.RuntimeOptions{
		Queue:           queue,
		Marks:           p.settings.marks,
		Disabled:        p.settings.Disabled,
		Concurrency:     p.settings.Concurrency,
		Window:          p.settings.Window,
		Windows:         activity.Windows(p.settings.Marks, p.settings.Window),
		DrainTimeout:    p.settings.DrainTimeout,
		Divert:          !p.settings.Disabled && !p.settings.ActivityTasksInPlace && !s.externalStorage,
		MaxPayloadBytes: p.settings.MaxPayloadBytes,
		Telemetry: activity.Telemetry{
			TracerProvider: p.settings.TracerProvider,
			MeterProvider:  p.settings.MeterProvider,
			Propagator:     p.settings.TextMapPropagator,
		},
	})
	if !p.served.CompareAndSwap(nil, s) {
		return errSecondClient
	}
	if err := next(ctx, o); err != nil {
		// No client was made: the next try may have this plugin.
		p.served.Store(nil)
		return err
	}
	if s.externalStorage {
		s.client.Logger.Warn("[Slipstream] the client has external payload storage: activity calls are not routed")
	}
	return nil
}
