package activity

import (
	"context"
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// respond answers the token of a diverted activity task with its outcome. It is to
// deliver what a signal is for routed calls: nil means that Temporal has it, or does not
// want it any more; any other error is tried again.
func (w *Worker) respond(ctx context.Context, h *host, a *address, b *batchqueue.Batch) error {
	for i := range b.Outcomes {
		answer, err := w.answer(a, &b.Outcomes[i])
		if err == nil {
			err = send(ctx, h.client.WorkflowService(), answer)
		}
		var invalid *serviceerror.InvalidArgument
		switch {
		case err == nil && answer == nil:
		case err == nil:
			add(w.rt.metrics.tasksAnswered, 1, w.rt.metrics.with(labels{}))
		case isGone(err):
			// It timed out, its workflow closed, or an earlier try arrived after all.
			add(w.rt.metrics.tasksGone, 1, w.rt.metrics.with(labels{}))
		case errors.As(err, &invalid), errors.Is(err, errUnanswerable):
			if n, say := w.rt.unanswered.Failed(time.Now()); say {
				w.logger.Error("[Slipstream] Temporal cannot take the end of an activity task; it will time out",
					"WorkflowID", a.WorkflowID, "RunID", a.RunID, "Run", b.Run, "Tasks", n, "Error", err)
			}
		default:
			return fmt.Errorf("answer activity task %q of workflow %q: %w", b.Run, a.WorkflowID, withRetryHint(err))
		}
	}
	return nil
}

// isGone tells that the server knows nothing of the token any more.
func isGone(err error) bool {
	var notFound *serviceerror.NotFound
	var noNamespace *serviceerror.NamespaceNotFound
	return errors.As(err, &notFound) || errors.As(err, &noNamespace)
}

// errUnanswerable is wrapped by what is wrong with an outcome for good.
var errUnanswerable = errors.New("the outcome is not readable")

// answer makes the request that tells Temporal the outcome; nil where it need not be told.
func (w *Worker) answer(a *address, o *batchqueue.Outcome) (proto.Message, error) {
	switch o.Kind {
	case batchqueue.KindCompleted, batchqueue.KindFailed, batchqueue.KindCanceled:
	case batchqueue.KindScheduleToStart, batchqueue.KindScheduleToClose:
		return nil, nil // Temporal has its own clock
	case batchqueue.KindStartToClose, batchqueue.KindHeartbeat, batchqueue.KindPoison:
		return w.lostAnswer(a, o), nil
	}
	if len(o.Payload) == 0 { // cancelled before it was claimed
		return w.canceledAnswer(a, o, nil), nil
	}
	r, err := decodeReport(o.Payload)
	if err != nil {
		return nil, errors.Join(errUnanswerable, err)
	}
	payloads, err := wire.DecodePayloads(r.Payloads)
	if err != nil {
		return nil, errors.Join(errUnanswerable, err)
	}
	switch {
	case r.Pending:
		return nil, nil
	case o.Kind == batchqueue.KindCanceled:
		return w.canceledAnswer(a, o, payloads), nil
	case o.Kind == batchqueue.KindCompleted:
		return &workflowservice.RespondActivityTaskCompletedRequest{
			TaskToken: a.TaskToken, Result: payloads, Identity: o.Executor, Namespace: a.Namespace, ResourceId: resourceID(a.WorkflowID),
		}, nil
	}
	details, err := wire.DecodePayloads(r.Details)
	if err != nil {
		return nil, errors.Join(errUnanswerable, err)
	}
	failure, err := w.failureOf(a, payloads)
	return w.failedAnswer(a, o, failure, details), err
}

// lostAnswer is for an attempt whose executor is gone: the queue gave it no other limit.
func (w *Worker) lostAnswer(a *address, o *batchqueue.Outcome) proto.Message {
	timeout := enumspb.TIMEOUT_TYPE_START_TO_CLOSE
	if a.Heartbeats {
		timeout = enumspb.TIMEOUT_TYPE_HEARTBEAT
	}
	_, fc := w.rt.client.converters(a.Namespace, a.WorkflowID)
	return w.failedAnswer(a, o, fc.ErrorToFailure(lostError(timeout, a.LossFinal, "its worker died or stopped")), nil)
}

func (w *Worker) failedAnswer(a *address, o *batchqueue.Outcome, failure *failurepb.Failure, details *commonpb.Payloads) proto.Message {
	return &workflowservice.RespondActivityTaskFailedRequest{
		TaskToken: a.TaskToken, Failure: failure, LastHeartbeatDetails: details, Identity: o.Executor, Namespace: a.Namespace, ResourceId: resourceID(a.WorkflowID),
	}
}

func (w *Worker) canceledAnswer(a *address, o *batchqueue.Outcome, details *commonpb.Payloads) proto.Message {
	return &workflowservice.RespondActivityTaskCanceledRequest{
		TaskToken: a.TaskToken, Details: details, Identity: o.Executor, Namespace: a.Namespace, ResourceId: resourceID(a.WorkflowID),
	}
}

// failureOf reads the failure that an invocation stored.
func (w *Worker) failureOf(a *address, payloads *commonpb.Payloads) (*failurepb.Failure, error) {
	if len(payloads.GetPayloads()) != 1 {
		return nil, fmt.Errorf("%w: a failure of %d payloads", errUnanswerable, len(payloads.GetPayloads()))
	}
	dc, _ := w.rt.client.converters(a.Namespace, a.WorkflowID)
	failure, err := wire.DecodeFailure(dc, payloads.GetPayloads()[0])
	if err != nil {
		return nil, errors.Join(errUnanswerable, err)
	}
	return failure, nil
}

// send sends one answer; none is sent for nil.
func send(ctx context.Context, service workflowservice.WorkflowServiceClient, answer proto.Message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	switch r := answer.(type) {
	case *workflowservice.RespondActivityTaskCompletedRequest:
		_, err = service.RespondActivityTaskCompleted(ctx, r)
	case *workflowservice.RespondActivityTaskFailedRequest:
		_, err = service.RespondActivityTaskFailed(ctx, r)
	case *workflowservice.RespondActivityTaskCanceledRequest:
		_, err = service.RespondActivityTaskCanceled(ctx, r)
	}
	return err
}
