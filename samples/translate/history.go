package main

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"
)

// historyCounts adds up what stands in the histories of a run's workflows.
type historyCounts struct {
	Workflows           int `json:"workflows"`
	Events              int `json:"events"`
	ActivitiesScheduled int `json:"activities_scheduled"`
	Signals             int `json:"signals"`
	WorkflowTasks       int `json:"workflow_tasks"`
}

// readHistories counts the events of all workflows of a run. It reads every history, page by page.
func readHistories(ctx context.Context, c client.Client, runs []workflowRun) (historyCounts, error) {
	counts := make([]historyCounts, len(runs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, w := range runs {
		if w.runID == "" {
			continue
		}
		group.Go(func() (err error) {
			counts[i], err = readHistory(ctx, c, w)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return historyCounts{}, err
	}
	var sum historyCounts
	for _, h := range counts {
		sum.Workflows += h.Workflows
		sum.Events += h.Events
		sum.ActivitiesScheduled += h.ActivitiesScheduled
		sum.Signals += h.Signals
		sum.WorkflowTasks += h.WorkflowTasks
	}
	return sum, nil
}

func readHistory(ctx context.Context, c client.Client, w workflowRun) (historyCounts, error) {
	counts := historyCounts{Workflows: 1}
	events := c.GetWorkflowHistory(ctx, w.id, w.runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return counts, fmt.Errorf("cannot read the history of workflow %s: %w", w.id, err)
		}
		counts.Events++
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
