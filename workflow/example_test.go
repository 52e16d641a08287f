package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/workflow"
)

func Fetch(_ context.Context, url string) (string, error) {
	if url == "" {
		return "", temporal.NewNonRetryableApplicationError("no address", "NoAddress", nil)
	}
	return "page of " + url, nil
}

func Shout(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil }

func Count(_ context.Context, text string) (int, error) { return len(text), nil }

// try runs a workflow in the SDK's test environment, where chains go step by step.
func try(f func(ctx sdkworkflow.Context) error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(nopLogger{})
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(Fetch)
	env.RegisterActivity(Shout)
	env.RegisterActivity(Count)
	env.ExecuteWorkflow(func(ctx sdkworkflow.Context) error {
		return f(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute}))
	})
	if err := env.GetWorkflowError(); err != nil {
		panic(err)
	}
}

type nopLogger struct{}

func (nopLogger) Debug(string, ...any) {}
func (nopLogger) Info(string, ...any)  {}
func (nopLogger) Warn(string, ...any)  {}
func (nopLogger) Error(string, ...any) {}

// Any client can ask a run what it waits for; the plugin is not needed for that.
func ExampleOpenCall() {
	_ = func(ctx context.Context, c client.Client, workflowID string) error {
		answer, err := c.QueryWorkflow(ctx, workflowID, "", workflow.QueryOpenCalls)
		if err != nil {
			return err
		}
		var open []workflow.OpenCall
		if err := answer.Get(&open); err != nil {
			return err
		}
		for _, call := range open {
			fmt.Println(call.Number, call.ActivityType, call.State, call.Pool)
		}
		return nil
	}
	// Output:
}

// Each step gets the result of the one before. A step may have options of its own.
func ExampleChain() {
	try(func(ctx sdkworkflow.Context) error {
		patient := &sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Hour, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 3}}
		var length int
		err := workflow.Chain(ctx, "example.com",
			workflow.Step{Activity: Fetch, Options: patient},
			workflow.Step{Activity: Shout},
			workflow.Step{Activity: Count},
		).Get(ctx, &length)
		fmt.Println(length)
		return err
	})
	// Output: 19
}

// The error of a chain names the step; behind it is the error of the activity.
func ExampleChainError() {
	try(func(ctx sdkworkflow.Context) error {
		err := workflow.Chain(ctx, "", workflow.Step{Activity: Fetch}, workflow.Step{Activity: Count}).Get(ctx, nil)
		var failed *workflow.ChainError
		var application *temporal.ApplicationError
		if errors.As(err, &failed) && errors.As(err, &application) {
			fmt.Println(failed.Step, failed.ActivityType, application.Type())
		}
		return nil
	})
	// Output: 0 Fetch NoAddress
}

func ExampleChainResults() {
	try(func(ctx sdkworkflow.Context) error {
		var results []workflow.Result
		err := workflow.ChainResults(ctx, "example.com", workflow.Step{Activity: Fetch}, workflow.Step{Activity: Count}).Get(ctx, &results)
		if err != nil {
			return err
		}
		var page string
		var length int
		err = errors.Join(results[0].Get(ctx, &page), results[1].Get(ctx, &length))
		fmt.Println(page, length)
		return err
	})
	// Output: page of example.com 19
}

// The callback gets all results at once, those that failed among them.
func ExampleOnComplete() {
	try(func(ctx sdkworkflow.Context) error {
		var fetches []sdkworkflow.Future
		for _, url := range []string{"example.com", "", "example.org"} {
			fetches = append(fetches, sdkworkflow.ExecuteActivity(ctx, Fetch, url))
		}
		done := workflow.OnComplete(ctx, "crawl 7", fetches, func(ctx sdkworkflow.Context, name string, results []workflow.Result) error {
			for _, r := range results {
				var page string
				if err := r.Get(ctx, &page); err != nil {
					page = "failed"
				}
				fmt.Println(name, page)
			}
			return nil
		})
		return done.Get(ctx, nil)
	})
	// Output:
	// crawl 7 page of example.com
	// crawl 7 failed
	// crawl 7 page of example.org
}

// One call that is to be seen as an activity in the Temporal UI, though Fetch is marked.
func ExampleWithOptions() {
	try(func(ctx sdkworkflow.Context) error {
		plain := workflow.WithOptions(ctx, workflow.Options{Plain: true})
		var page string
		err := sdkworkflow.ExecuteActivity(plain, Fetch, "example.com").Get(ctx, &page)
		fmt.Println(page)
		return err
	})
	// Output: page of example.com
}
