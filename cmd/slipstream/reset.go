package main

import (
	"context"
	"crypto/rand"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// workflowReset takes a workflow back to the workflow task that made a call. Not to a later one: from there on the new
// run would keep the call's identity, and the failure, which is a signal, would be applied to it again.
type workflowReset struct {
	workflow, run string
	// dispatched tells for each call of a marker the workflow task that made it.
	dispatched map[dispatchedCall]int64
	unreadable int // markers that could not be decoded

	event   int64 // the workflow task to go back to
	letters []batchqueue.DeadLetter
}

type dispatchedCall struct {
	run    string // that dispatched it
	number uint64
}

// newReset reads the history of the workflow's run. It refuses if the workflow has gone on in another run.
func (a *app) newReset(ctx context.Context, owner activity.Owner) (*workflowReset, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	now, err := c.DescribeWorkflowExecution(ctx, owner.WorkflowID, "")
	if err != nil {
		return nil, fmt.Errorf("describe workflow %s: %w", owner.WorkflowID, err)
	}
	if current := now.GetWorkflowExecutionInfo().GetExecution().GetRunId(); current != owner.RunID {
		return nil, refused("workflow %s has gone on as run %s since; drop the letter", owner.WorkflowID, current)
	}
	o, err := a.flags.temporal.options()
	if err != nil {
		return nil, err
	}
	w := &workflowReset{workflow: owner.WorkflowID, run: owner.RunID, dispatched: map[dispatchedCall]int64{}}
	history := c.GetWorkflowHistory(ctx, owner.WorkflowID, owner.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of workflow %s: %w", owner.WorkflowID, err)
		}
		w.read(event, o.DataConverter)
	}
	return w, nil
}

// read notes the calls of a dispatch marker.
func (w *workflowReset) read(event *historypb.HistoryEvent, decode converter.DataConverter) {
	marker := event.GetMarkerRecordedEventAttributes()
	if marker.GetMarkerName() != "LocalActivity" {
		return
	}
	var raw []byte
	if err := decode.FromPayloads(marker.GetDetails()["result"], &raw); err != nil {
		w.unreadable++
		return
	}
	m, err := wire.DecodeMarker(raw)
	if err != nil {
		return // a local activity of the workflow's own
	}
	for i := range m.Answers {
		call := dispatchedCall{m.RunID, m.Answers[i].Number}
		if _, known := w.dispatched[call]; !known {
			w.dispatched[call] = marker.GetWorkflowTaskCompletedEventId()
		}
	}
}

// add makes the reset go back far enough for a letter's call.
func (w *workflowReset) add(l batchqueue.DeadLetter) error {
	event, ok := w.dispatched[dispatchedCall{l.Run, l.Number}]
	switch {
	case !ok && w.unreadable > 0:
		return refused("the history of workflow %s is encoded by a codec: give --codec-endpoint, or reset it by temporal workflow reset and drop the letter", w.workflow)
	case !ok:
		return refused("the history of workflow %s does not show the call; drop the letter", w.workflow)
	}
	if w.event == 0 || event < w.event {
		w.event = event
	}
	w.letters = append(w.letters, l)
	return nil
}

// reset does it and returns the new run.
func (a *app) reset(ctx context.Context, w *workflowReset) (string, error) {
	c, err := a.client(ctx)
	if err != nil {
		return "", err
	}
	reply, err := c.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:                 a.namespace(),
		WorkflowExecution:         &commonpb.WorkflowExecution{WorkflowId: w.workflow, RunId: w.run},
		Reason:                    "slipstream dead redrive",
		WorkflowTaskFinishEventId: w.event,
		RequestId:                 rand.Text(),
	})
	if err != nil {
		return "", fmt.Errorf("reset workflow %s to event %d: %w", w.workflow, w.event, err)
	}
	return reply.GetRunId(), nil
}
