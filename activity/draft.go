package activity

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// drafts is a client of the SDK that is connected to nothing. It has the user's converters,
// propagators and interceptors, so what it would send is what the user's own client would
// send: a standalone activity, a signal, a workflow to start. The queue keeps that, and
// nothing here has to know how the SDK makes it.
//
// Not safe for concurrent use. Close it.
type drafts struct {
	client client.Client
	last   proto.Message
}

// newDrafts is cheap (some 50 µs), so one lives no longer than the call that needs it.
func (c *Client) newDrafts() (*drafts, error) {
	d := &drafts{}
	o := c.options
	// Nothing of what belongs to a connection, least of all the user's counts of requests.
	o.HostPort = "passthrough:///slipstream"
	o.ConnectionOptions = client.ConnectionOptions{
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(d.keep)},
	}
	o.Credentials, o.HeadersProvider, o.TrafficController, o.MetricsHandler = nil, nil, nil, nil
	o.WorkerHeartbeatInterval = -1
	// They have spoken: these are the options with all plugins heard.
	o.Plugins = nil
	var err error
	if d.client, err = client.NewLazyClient(o); err != nil {
		return nil, fmt.Errorf("a client for drafts: %w", err)
	}
	return d, nil
}

func (d *drafts) Close() { d.client.Close() }

// keep is the gRPC interceptor that answers every request itself.
func (d *drafts) keep(_ context.Context, method string, req, _ any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
	switch r := req.(type) {
	case *workflowservice.GetSystemInfoRequest:
		return nil
	case *workflowservice.StartActivityExecutionRequest:
		d.last = r
		return nil
	case *workflowservice.SignalWorkflowExecutionRequest:
		d.last = r
		return nil
	case *workflowservice.SignalWithStartWorkflowExecutionRequest:
		d.last = r
		return nil
	}
	return status.Errorf(codes.Unimplemented, "slipstream: %s cannot be called while a task is enqueued", method)
}

// take returns what the last call would have sent.
func take[T proto.Message](d *drafts, err error) (T, error) {
	var none T
	last, ok := d.last.(T)
	d.last = nil
	switch {
	case err != nil:
		return none, err
	case !ok:
		return none, errors.New("an interceptor of the client kept the call to itself")
	}
	return last, nil
}

func (d *drafts) activity(ctx context.Context, o client.StartActivityOptions, activity any, args []any) (*workflowservice.StartActivityExecutionRequest, error) {
	_, err := d.client.ExecuteActivity(ctx, o, activity, args...)
	return take[*workflowservice.StartActivityExecutionRequest](d, err)
}

func (d *drafts) signal(ctx context.Context, o *OnComplete) (*workflowservice.SignalWorkflowExecutionRequest, error) {
	err := d.client.SignalWorkflow(ctx, o.WorkflowID, o.RunID, o.SignalName, o.Context)
	return take[*workflowservice.SignalWorkflowExecutionRequest](d, err)
}

func (d *drafts) signalWithStart(ctx context.Context, o *OnComplete) (*workflowservice.SignalWithStartWorkflowExecutionRequest, error) {
	_, err := d.client.SignalWithStartWorkflow(ctx, o.WorkflowID, o.SignalName, o.Context, o.Start.Options, o.Start.Workflow, o.Start.Args...)
	return take[*workflowservice.SignalWithStartWorkflowExecutionRequest](d, err)
}
