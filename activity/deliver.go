package activity

import (
	"context"
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// signalTimeout bounds one signal. The server swallows a repeated one.
const signalTimeout = 10 * time.Second

// deliver sends a batch of outcomes to its run, or to whom else they go, as one signal, or
// answers a diverted activity task. It is the executor's batchqueue.DeliverFunc.
//
// The signal is sent past the client's interceptors and converter: the payloads are
// encoded already, and a repeated one must be equal to the byte, request ID included.
func (w *Worker) deliver(ctx context.Context, h *host, b *batchqueue.Batch) (err error) {
	a, err := decodeAddress(b.Common)
	if err != nil {
		return fmt.Errorf("deliver to run %q: %w", b.Run, err)
	}
	if a.Batch != "" && a.Receiver == "" {
		return nil // nobody is told
	}
	way := waySignal
	if a.TaskToken != nil {
		way = wayToken
	}
	span := w.rt.tracing.deliver(b.Pool, b.Slot, way, time.Now(), a.Trace, b.Outcomes, a.attributes()...)
	defer func() { span.finish(err) }()
	switch {
	case a.Batch != "":
		return w.complete(ctx, h, b, a)
	case a.TaskToken != nil:
		return w.respond(ctx, h, a, b)
	}
	return w.signalRun(ctx, h, b, a)
}

// signalRun sends outcomes of a workflow run.
func (w *Worker) signalRun(ctx context.Context, h *host, b *batchqueue.Batch, a *address) error {
	execution := &commonpb.WorkflowExecution{WorkflowId: a.WorkflowID, RunId: a.RunID}
	if b.Redirect != nil {
		to, err := decodeAddress(b.Redirect)
		if err != nil {
			return fmt.Errorf("deliver to run %q: new address: %w", b.Run, err)
		}
		execution = &commonpb.WorkflowExecution{WorkflowId: to.WorkflowID, RunId: to.RunID}
	}
	outcomes := make([]wire.Outcome, len(b.Outcomes))
	for i := range b.Outcomes {
		outcomes[i] = wireOutcome(b.Run, &b.Outcomes[i])
	}
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	_, err := h.client.WorkflowService().SignalWorkflowExecution(ctx, &workflowservice.SignalWorkflowExecutionRequest{
		Namespace:         a.Namespace,
		WorkflowExecution: execution,
		SignalName:        wire.SignalName,
		Input:             wire.EncodeSignal(outcomes),
		Identity:          w.identity,
		RequestId:         b.ID,
		// Strict context propagators fail the workflow task, for ever, for a signal without.
		Header: a.Header,
	})
	if err == nil {
		w.rt.metrics.signalled(b)
		return nil
	}
	return fmt.Errorf("signal run %q of workflow %q: %w", execution.GetRunId(), execution.GetWorkflowId(), deliveryError(err))
}

// deliveryError tells the queue what the server's refusal means. The SDK gives a refusal
// its type.
func deliveryError(err error) error {
	var notFound *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument
	switch {
	case errors.As(err, &notFound):
		return errors.Join(batchqueue.ErrRunGone, err)
	case errors.As(err, &invalid):
		// Too many signals, or one that the server will never take: the run pulls instead.
		return errors.Join(batchqueue.ErrRunDeaf, err)
	}
	return withRetryHint(err)
}
