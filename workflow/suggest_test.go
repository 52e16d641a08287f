package workflow_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// A run that nears what Temporal takes is advised to continue as new. The server does so
// too, earlier, but by its own settings, and it counts no signals.
func TestContinueAsNewIsSuggested(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signals, length, bytes int
		byServer, unrouted     bool
		want                   bool
	}{
		"nothing yet": {},
		"almost":      {signals: 7_998, length: 39_999, bytes: 39_999_999}, // one signal more goes on
		"signals":     {signals: 7_999, want: true},
		"events":      {length: 40_000, want: true},
		"bytes":       {bytes: 40_000_000, want: true},
		"the server":  {byServer: true, want: true},
		"a plain run": {signals: 7_999, length: 40_000, bytes: 40_000_000, unrouted: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(config *workflow.Config) {
				if c.unrouted {
					config.Marks = nil
				}
			})
			b.queue.answer = echo
			b.SetContinueAsNewSuggested(c.byServer)
			for left := c.signals; left > 0; left -= 100 { // the environment takes a thousand at a time
				b.RegisterDelayedCallback(func() {
					for range min(left, 100) {
						b.SignalWorkflow(wire.SignalName, map[string]int{"not": 1})
					}
				}, time.Duration(left)*time.Millisecond)
			}
			b.RegisterDelayedCallback(func() {
				b.SetCurrentHistoryLength(c.length)
				b.SetCurrentHistorySize(c.bytes)
				b.SignalWorkflow("go on", nil)
			}, 10*time.Second)
			got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				if err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a").Get(ctx, nil); err != nil {
					return "", err
				}
				sdkworkflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				return fmt.Sprint(sdkworkflow.GetInfo(ctx).GetContinueAsNewSuggested()), nil
			})
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(c.want), got)
		})
	}
}

// Replay suggests it where the run itself did, and never to a run whose record is older.
func TestReplaySuggestsContinueAsNewByTheRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		folder   string
		protocol uint64
		signals  int
		want     bool
	}{
		"enough signals":                  {protocol: 2, signals: 7_997, want: true}, // the history has three
		"too few signals":                 {protocol: 2, signals: 7_996},
		"enough, but an older run's rule": {protocol: 1, signals: 7_997},
		"enough signals, newer record":    {folder: "protocol-3", protocol: 3, signals: 7_997, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := history(t, histories+"/"+cmp.Or(c.folder, "protocol-1")+"/pipeline_signalled.json")
			setProtocol(t, h, c.protocol)
			insertSignals(t, h, c.signals)
			if c.want {
				continueAsNew(t, h)
			}
			for name, release := range releases {
				r := release.replayer(t)
				r.RegisterWorkflowWithOptions(func(ctx sdkworkflow.Context, s string) (string, error) {
					s, err := pipelineWorkflow(ctx, s)
					if sdkworkflow.GetInfo(ctx).GetContinueAsNewSuggested() {
						return "", sdkworkflow.NewContinueAsNewError(ctx, "Pipeline", s)
					}
					return s, err
				}, sdkworkflow.RegisterOptions{Name: "Pipeline"})
				require.NoError(t, r.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), h), name)
			}
		})
	}
}

// A worker that does not know a run's rules leaves the run to those that do.
func TestRecordOfANewerProtocolFailsTheWorkflowTask(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"protocol-1", "protocol-3"} { // a record of two markers, and of one
		h := history(t, histories+"/"+folder+"/pipeline_signalled.json")
		setProtocol(t, h, 1_000)
		r := releases["marks A"].replayer(t)
		r.RegisterWorkflowWithOptions(pipelineWorkflow, sdkworkflow.RegisterOptions{Name: "Pipeline"})
		err := r.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), h)
		require.ErrorContains(t, err, "newer version of Slipstream (protocol 1000", folder)
	}
}

// setProtocol changes the version in a history's route record.
func setProtocol(t *testing.T, h *historypb.History, protocol uint64) {
	t.Helper()
	for _, e := range h.GetEvents() {
		marker := e.GetMarkerRecordedEventAttributes()
		data := marker.GetDetails()["data"]
		switch marker.GetMarkerName() {
		case "SideEffect":
			marker.Details["data"] = withProtocol(t, data, protocol)
			return
		case "MutableSideEffect":
			var id string
			var value commonpb.Payloads
			require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(data, &id, &value))
			changed, err := converter.GetDefaultDataConverter().ToPayloads(id, withProtocol(t, &value, protocol))
			require.NoError(t, err)
			marker.Details["data"] = changed
			return
		}
	}
	require.Fail(t, "the history has no route record")
}

func withProtocol(t *testing.T, record *commonpb.Payloads, protocol uint64) *commonpb.Payloads {
	t.Helper()
	var b []byte
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(record, &b))
	route, err := wire.DecodeRoute(b)
	require.NoError(t, err)
	route.Protocol = protocol
	changed, err := converter.GetDefaultDataConverter().ToPayloads(wire.EncodeRoute(route))
	require.NoError(t, err)
	return changed
}

// insertSignals puts n junk signals before the last signal of a history.
func insertSignals(t *testing.T, h *historypb.History, n int) {
	t.Helper()
	at := 0
	for i, e := range h.GetEvents() {
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED {
			at = i
		}
	}
	require.NotZero(t, at, "the history has no signal")
	junk := proto.CloneOf(h.GetEvents()[at])
	junk.GetWorkflowExecutionSignaledEventAttributes().Input = nil
	events := h.GetEvents()[:at:at]
	for i := range n {
		e := proto.CloneOf(junk)
		e.EventId += int64(i)
		events = append(events, e)
	}
	for _, e := range h.GetEvents()[at:] {
		shiftEventIDs(e.ProtoReflect(), int64(n), int64(at))
		events = append(events, e)
	}
	h.Events = events
}

// shiftEventIDs adds n to all event IDs in an event that are higher than the given one.
func shiftEventIDs(m protoreflect.Message, n, above int64) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		switch {
		case f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap():
			shiftEventIDs(v.Message(), n, above)
		case f.Kind() == protoreflect.Int64Kind && len(name) >= 8 && name[len(name)-8:] == "event_id" && v.Int() > above:
			m.Set(f, protoreflect.ValueOfInt64(v.Int()+n))
		}
		return true
	})
}

// continueAsNew makes a history end as one whose workflow continued as new.
func continueAsNew(t *testing.T, h *historypb.History) {
	t.Helper()
	last := h.GetEvents()[len(h.GetEvents())-1]
	require.Equal(t, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, last.GetEventType())
	last.EventType = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
	started := h.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes()
	last.Attributes = &historypb.HistoryEvent_WorkflowExecutionContinuedAsNewEventAttributes{
		WorkflowExecutionContinuedAsNewEventAttributes: &historypb.WorkflowExecutionContinuedAsNewEventAttributes{
			WorkflowType: started.GetWorkflowType(), TaskQueue: started.GetTaskQueue(), Input: started.GetInput(),
		},
	}
}
