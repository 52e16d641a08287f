package activity

import (
	"context"
	"fmt"
	"os"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Client is what the activity half knows of the Temporal client that it serves: the
// options as they were when the client was made, with all plugins heard.
type Client struct {
	Namespace        string
	Identity         string
	Logger           log.Logger
	Metrics          client.MetricsHandler
	DataConverter    converter.DataConverter
	FailureConverter converter.FailureConverter
	Propagators      []sdkworkflow.ContextPropagator
	// Interceptors are the client's that apply to its workers, in the SDK's order.
	Interceptors []interceptor.WorkerInterceptor

	// options are all of them, for drafts.
	options client.Options
}

// NewClient takes the final options of a client, as a plugin's NewClient hook sees them,
// and fills in what the SDK fills in.
func NewClient(o *client.Options) Client {
	c := Client{
		Namespace:        o.Namespace,
		Identity:         o.Identity,
		Logger:           o.Logger,
		Metrics:          o.MetricsHandler,
		DataConverter:    o.DataConverter,
		FailureConverter: o.FailureConverter,
		Propagators:      o.ContextPropagators,
		options:          *o,
	}
	if c.DataConverter == nil {
		c.DataConverter = converter.GetDefaultDataConverter()
	}
	if c.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "Unknown" // as the SDK says
		}
		c.Identity = fmt.Sprintf("%d@%s@", os.Getpid(), host)
	}
	c.DataConverter = converter.MakeTransferAware(c.DataConverter)
	if c.FailureConverter == nil {
		c.FailureConverter = temporal.GetDefaultFailureConverter()
	}
	for _, i := range o.Interceptors {
		if w, ok := i.(interceptor.WorkerInterceptor); ok {
			c.Interceptors = append(c.Interceptors, w)
		}
	}
	return c
}

// converters returns the user's converters under the workflow's serialization context:
// results and failures travel in the workflow's own history, not in an activity's events.
func (c *Client) converters(namespace, workflowID string) (converter.DataConverter, converter.FailureConverter) {
	ctx := converter.WorkflowSerializationContext{Namespace: namespace, WorkflowID: workflowID}
	return converter.WithDataConverterSerializationContext(c.DataConverter, ctx),
		converter.WithFailureConverterSerializationContext(c.FailureConverter, ctx)
}

// taskConverters are those of a task: for its arguments, and for what its handler makes,
// which is results, failures and heartbeat details. Within a workflow both are the
// workflow's. Without one, arguments are those of a standalone activity, and the rest is
// for the workflow that is told, if any.
func (c *Client) taskConverters(a *address, activityType string) (args, dc converter.DataConverter, fc converter.FailureConverter) {
	if a.Batch == "" {
		dc, fc = c.converters(a.Namespace, a.WorkflowID)
		return dc, dc, fc
	}
	standalone := converter.ActivitySerializationContext{Namespace: a.Namespace, ActivityType: activityType, TaskQueue: a.TaskQueue}
	args = converter.WithDataConverterSerializationContext(c.DataConverter, standalone)
	if a.Receiver == "" {
		return args, args, converter.WithFailureConverterSerializationContext(c.FailureConverter, standalone)
	}
	dc, fc = c.converters(a.Namespace, a.Receiver)
	return args, dc, fc
}

// withHeader lets the propagators read the header, then shows it to interceptors.
func (c *Client) withHeader(ctx context.Context, h *commonpb.Header) (context.Context, error) {
	fields := headerFields(h)
	reader := headerReader(fields)
	for _, p := range c.Propagators {
		var err error
		if ctx, err = p.Extract(ctx, reader); err != nil {
			return nil, fmt.Errorf("failed propagating header: %w", err)
		}
	}
	return context.WithValue(ctx, headerKey, fields), nil
}

// headerReader is what a context propagator reads from.
type headerReader map[string]*commonpb.Payload

func (r headerReader) Get(key string) (*commonpb.Payload, bool) {
	p, ok := r[key]
	return p, ok
}

func (r headerReader) ForEachKey(handler func(string, *commonpb.Payload) error) error {
	for key, p := range r {
		if err := handler(key, p); err != nil {
			return err
		}
	}
	return nil
}
