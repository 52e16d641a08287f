package workflow

import (
	"go.temporal.io/sdk/interceptor"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// inbound sees what comes into a run: its start and the signals that carry outcomes.
type inbound struct {
	interceptor.WorkflowInboundInterceptorBase
	router *router
	warned bool // of signals that make no sense; there is no clock here that could space the lines
}

func (in *inbound) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	in.router.Next = outbound
	return in.Next.Init(in.router)
}

func (in *inbound) ExecuteWorkflow(ctx sdkworkflow.Context, input *interceptor.ExecuteWorkflowInput) (any, error) {
	in.router.answerOpenCalls(in.router.background(ctx))
	return in.Next.ExecuteWorkflow(sdkworkflow.WithValue(ctx, routerKey{}, in.router), input)
}

// HandleSignal takes the outcomes of completion signals and passes all other signals on.
// It never returns an error for a completion signal, whatever it holds: the workflow
// task would fail, and fail again for ever, for a signal that anybody may send
// (protocol I5).
func (in *inbound) HandleSignal(ctx sdkworkflow.Context, input *interceptor.HandleSignalInput) error {
	in.router.signals++
	if input.SignalName != wire.SignalName {
		return in.Next.HandleSignal(ctx, input)
	}
	outcomes, err := wire.DecodeSignal(input.Arg)
	if err != nil {
		in.router.drop(ctx, droppedJunk)
		if !in.warned {
			in.warned = true
			sdkworkflow.GetLogger(ctx).Warn("[Slipstream] completion signal ignored; more of them are counted only", "Error", err)
		}
		return nil
	}
	for i := range outcomes {
		in.router.receive(ctx, &outcomes[i])
	}
	return nil
}
