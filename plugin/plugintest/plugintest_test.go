package plugintest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/plugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func recorded(t testing.TB, name string) *historypb.History {
	t.Helper()
	f, err := os.Open("../../workflow/testdata/histories/protocol-1/" + name + ".json")
	require.NoError(t, err)
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return h
}

func TestReadRoutes(t *testing.T) {
	for name, want := range map[string]Routes{
		"pipeline": {Routed: map[string]int{"Echo": 3}, Plain: map[string]int{}},
		"fan_out":  {Routed: map[string]int{"Echo": 100}, Plain: map[string]int{}},
		"plain":    {Routed: map[string]int{}, Plain: map[string]int{"Echo": 3}},
		"unrouted": {Routed: map[string]int{}, Plain: map[string]int{"Echo": 3}},
	} {
		got, err := ReadRoutes(recorded(t, name), nil)
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

func TestComplaints(t *testing.T) {
	r := Routes{Routed: map[string]int{"A": 2, "B": 1}, Plain: map[string]int{"B": 3}}
	require.Empty(t, r.complaint([]string{"A"}))
	require.Equal(t, `3 calls of "B" were ordinary activities, 1 were routed; "C" was not called (routed: A, B)`, r.complaint([]string{"A", "B", "C"}))
}

// fatal is a test that keeps what it was ended with.
type fatal struct {
	testing.TB
	said string
}

func (f *fatal) Fatal(args ...any)            { f.end(fmt.Sprint(args...)) }
func (f *fatal) Fatalf(s string, args ...any) { f.end(fmt.Sprintf(s, args...)) }

func (f *fatal) end(said string) {
	f.said = said
	runtime.Goexit()
}

// ended runs f as a test of its own and returns what that was ended with.
func ended(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	inner := &fatal{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(inner)
	}()
	<-done
	return inner.said
}

func TestNewRefusesAnotherRedis(t *testing.T) {
	require.Contains(t, ended(t, func(t testing.TB) { New(t, plugin.Options{RedisURL: "redis://localhost"}) }), "leave Options.Redis and Options.RedisURL empty")
	require.Contains(t, ended(t, func(t testing.TB) { New(t, plugin.Options{Slots: -1}) }), "Slots")
}

// pipeline is the workflow of testdata/pipeline.json.
func pipeline(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for range 3 {
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", s+".").Get(ctx, &s); err != nil {
			return "", err
		}
	}
	return s, nil
}

// changed makes another call than the history has.
func changed(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	err := sdkworkflow.ExecuteActivity(ctx, "Other", s).Get(ctx, &s)
	return s, err
}

func TestRequireReplays(t *testing.T) {
	mark := plugin.Mark{Activity: "Echo"}
	register := func(f any) func(worker.WorkflowReplayer) {
		return func(r worker.WorkflowReplayer) {
			r.RegisterWorkflowWithOptions(f, sdkworkflow.RegisterOptions{Name: "Pipeline"})
		}
	}
	for _, name := range []string{"pipeline", "plain"} {
		RequireReplays(t, recorded(t, name), worker.WorkflowReplayerOptions{DisableDeadlockDetection: true}, register(pipeline), mark)
	}
	said := ended(t, func(t testing.TB) {
		RequireReplays(t, recorded(t, "pipeline"), worker.WorkflowReplayerOptions{DisableDeadlockDetection: true}, register(changed), mark)
	})
	require.Contains(t, said, "replay with these marks: ")
	require.Contains(t, said, "[Slipstream] non-determinism")
}

// events is a history as a client gives it.
type events struct{ left []*historypb.HistoryEvent }

func (e *events) HasNext() bool { return len(e.left) > 0 }

func (e *events) Next() (*historypb.HistoryEvent, error) {
	next := e.left[0]
	e.left = e.left[1:]
	return next, nil
}

func TestRequireRouted(t *testing.T) {
	c := &mocks.Client{}
	for _, name := range []string{"pipeline", "plain"} {
		c.On("GetWorkflowHistory", mock.Anything, name, "", false, mock.Anything).Return(func(context.Context, string, string, bool, enumspb.HistoryEventFilterType) client.HistoryEventIterator {
			return &events{recorded(t, name).GetEvents()}
		})
	}
	RequireRouted(t, c, "pipeline", "", "Echo")
	said := ended(t, func(t testing.TB) { RequireRouted(t, c, "plain", "", "Echo") })
	require.Equal(t, `workflow "plain": 3 calls of "Echo" were ordinary activities, 0 were routed (routed: )`, said)
}

// In the SDK's test environment marked calls are plain: mocks work with the plugin as
// they do without it.
func TestMocksOfMarkedActivities(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute, Plugins: []worker.Plugin{New(t, plugin.Options{Marks: []plugin.Mark{{Activity: "Echo"}}})}})
	env.SetTestTimeout(time.Minute)
	env.RegisterActivityWithOptions(func(s string) (string, error) { return s, nil }, sdkactivity.RegisterOptions{Name: "Echo"})
	env.OnActivity("Echo", mock.Anything).Return(func(s string) (string, error) { return s + "!", nil })
	env.ExecuteWorkflow(pipeline, "a")
	require.NoError(t, env.GetWorkflowError())
	var got string
	require.NoError(t, env.GetWorkflowResult(&got))
	require.Equal(t, "a.!.!.!", got)
}
