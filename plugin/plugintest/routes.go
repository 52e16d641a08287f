package plugintest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// Routes tells how the activity calls of a run were made: the number of calls by type.
type Routes struct {
	// Routed went through the queue.
	Routed map[string]int
	// Plain are ordinary activities, those that fell back to one included.
	Plain map[string]int
}

// The SDK records a local activity as a marker of this name, with these details.
const (
	localActivityMarker = "LocalActivity"
	markerData          = "data"
	markerResult        = "result"
	dispatchActivity    = "SlipstreamDispatch"
)

// ReadRoutes reads a run's history. dc is the data converter of the workers that made
// it; nil is the SDK's default. The error names the event that could not be read.
func ReadRoutes(h *historypb.History, dc converter.DataConverter) (Routes, error) {
	if dc == nil {
		dc = converter.GetDefaultDataConverter()
	}
	routes := Routes{Routed: map[string]int{}, Plain: map[string]int{}}
	for _, event := range h.GetEvents() {
		switch event.GetEventType() {
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			routes.Plain[event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()]++
		case enumspb.EVENT_TYPE_MARKER_RECORDED:
			if err := routes.addMarker(event.GetMarkerRecordedEventAttributes(), dc); err != nil {
				return Routes{}, fmt.Errorf("event %d: %w", event.GetEventId(), err)
			}
		}
	}
	return routes, nil
}

func (r Routes) addMarker(m *historypb.MarkerRecordedEventAttributes, dc converter.DataConverter) error {
	if m.GetMarkerName() != localActivityMarker {
		return nil
	}
	var data struct{ ActivityType string }
	if err := dc.FromPayloads(m.GetDetails()[markerData], &data); err != nil {
		return fmt.Errorf("name of a local activity: %w", err)
	}
	if data.ActivityType != dispatchActivity || m.GetFailure() != nil {
		return nil
	}
	var encoded []byte
	if err := dc.FromPayloads(m.GetDetails()[markerResult], &encoded); err != nil {
		return fmt.Errorf("marker of a dispatch: %w", err)
	}
	marker, err := wire.DecodeMarker(encoded)
	if err != nil {
		return err
	}
	for i := range marker.Answers {
		switch a := &marker.Answers[i]; a.State {
		case wire.StatePlain, wire.StateRefused, wire.StateWaiting:
			// An ordinary activity, which has an event of its own; or nothing yet.
		default:
			r.Routed[a.Type]++
		}
	}
	return nil
}

// RequireRouted ends the test unless the run has called each of the types, and always
// through the queue. An empty runID means the workflow's current run. The client must
// have the SDK's default data converter; with another one, use ReadRoutes.
func RequireRouted(t testing.TB, c client.Client, workflowID, runID string, types ...string) {
	t.Helper()
	h := &historypb.History{}
	events := c.GetWorkflowHistory(context.Background(), workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			t.Fatalf("history of workflow %q: %v", workflowID, err)
		}
		h.Events = append(h.Events, event)
	}
	routes, err := ReadRoutes(h, nil)
	if err != nil {
		t.Fatalf("history of workflow %q: %v", workflowID, err)
	}
	if complaint := routes.complaint(types); complaint != "" {
		t.Fatalf("workflow %q: %s", workflowID, complaint)
	}
}

// complaint says which of the types were not called, or not routed.
func (r Routes) complaint(types []string) string {
	var wrong []string
	for _, name := range types {
		switch {
		case r.Plain[name] > 0:
			wrong = append(wrong, fmt.Sprintf("%d calls of %q were ordinary activities, %d were routed", r.Plain[name], name, r.Routed[name]))
		case r.Routed[name] == 0:
			wrong = append(wrong, fmt.Sprintf("%q was not called", name))
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (routed: %s)", strings.Join(wrong, "; "), strings.Join(slices.Sorted(maps.Keys(r.Routed)), ", "))
}
