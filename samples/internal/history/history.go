// Package history counts what stands in the histories of workflows: the samples' measure of what a run costs Temporal.
package history

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
)

// reading is how many histories are read side by side.
const reading = 16

// Run names one run of a workflow.
type Run struct{ ID, RunID string }

// Counts adds up what stands in the histories of some runs.
type Counts struct {
	Workflows           int `json:"workflows"`
	Events              int `json:"events"`
	Bytes               int `json:"bytes"` // of the events, as protocol buffers
	ActivitiesScheduled int `json:"activities_scheduled"`
	Signals             int `json:"signals"`
	WorkflowTasks       int `json:"workflow_tasks"`
}

// Read counts the events of all runs. It reads every history whole, page by page.
func Read(ctx context.Context, c client.Client, runs []Run) (Counts, error) {
	counts := make([]Counts, len(runs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(reading)
	for i, run := range runs {
		group.Go(func() (err error) {
			counts[i], err = read(ctx, c, run)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Counts{}, err
	}
	var sum Counts
	for _, c := range counts {
		sum.Workflows += c.Workflows
		sum.Events += c.Events
		sum.Bytes += c.Bytes
		sum.ActivitiesScheduled += c.ActivitiesScheduled
		sum.Signals += c.Signals
		sum.WorkflowTasks += c.WorkflowTasks
	}
	return sum, nil
}

func read(ctx context.Context, c client.Client, run Run) (Counts, error) {
	counts := Counts{Workflows: 1}
	events := c.GetWorkflowHistory(ctx, run.ID, run.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return counts, fmt.Errorf("cannot read the history of workflow %s: %w", run.ID, err)
		}
		counts.Events++
		counts.Bytes += proto.Size(event)
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			counts.ActivitiesScheduled++
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
			counts.Signals++
		case enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
			counts.WorkflowTasks++
		}
	}
	return counts, nil
}
