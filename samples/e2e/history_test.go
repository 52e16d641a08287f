package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
)

// history is the whole history of a run as it stands now.
func history(t *testing.T, c client.Client, run client.WorkflowRun) []*historypb.HistoryEvent {
	t.Helper()
	var events []*historypb.HistoryEvent
	next := c.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for next.HasNext() {
		event, err := next.Next()
		require.NoError(t, err)
		events = append(events, event)
	}
	return events
}

// countEvents counts them by type.
func countEvents(events []*historypb.HistoryEvent) map[enumspb.EventType]int {
	counts := make(map[enumspb.EventType]int)
	for _, event := range events {
		counts[event.GetEventType()]++
	}
	return counts
}
