package plugintest_test

import (
	"context"
	"testing"
	"time"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/plugin/plugintest"
)

func Translate(context.Context, string) (string, error) { return "hola", nil }

func Greet(ctx sdkworkflow.Context, word string) (string, error) {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	err := sdkworkflow.ExecuteActivity(ctx, Translate, word).Get(ctx, &word)
	return word, err
}

// New is a plugin for one test: nothing of it is left when the test ends.
func ExampleNew() {
	_ = func(t *testing.T) {
		slip := plugintest.New(t, plugin.Options{Marks: []plugin.Mark{{Activity: Translate}}})
		c, err := client.Dial(client.Options{Plugins: []client.Plugin{slip}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
	}
	// Output:
}

// A test against a Temporal server, with the queue in the test's own process.
func ExampleRequireRouted() {
	_ = func(t *testing.T) {
		slip := plugintest.New(t, plugin.Options{Marks: []plugin.Mark{{Activity: Translate}}})
		server, err := testsuite.StartDevServer(t.Context(), testsuite.DevServerOptions{
			ClientOptions: &client.Options{Plugins: []client.Plugin{slip}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Stop() })

		w := worker.New(server.Client(), "greetings", worker.Options{})
		w.RegisterWorkflow(Greet)
		w.RegisterActivity(Translate)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		defer w.Stop()

		run, err := server.Client().ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "greetings"}, Greet, "hello")
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := run.Get(t.Context(), &got); err != nil || got != "hola" {
			t.Fatal(got, err)
		}
		plugintest.RequireRouted(t, server.Client(), run.GetID(), run.GetRunID(), "Translate")
	}
	// Output:
}

// A history that was saved from production replays whatever is marked by now.
func ExampleRequireReplays() {
	_ = func(t *testing.T, saved *historypb.History) {
		plugintest.RequireReplays(t, saved, worker.WorkflowReplayerOptions{}, func(r worker.WorkflowReplayer) {
			r.RegisterWorkflow(Greet)
		}, plugin.Mark{Activity: Translate})
	}
	// Output:
}

// What a run called, and how.
func ExampleReadRoutes() {
	_ = func(t *testing.T, h *historypb.History) {
		routes, err := plugintest.ReadRoutes(h, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(routes.Routed["Translate"], "through the queue,", routes.Plain["Translate"], "as ordinary activities")
	}
	// Output:
}
