package workflow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow" //nolint:importas // as in a user's program

	"github.com/slipstream-go/slipstream/internal/wire"
	slipflow "github.com/slipstream-go/slipstream/workflow"
)

// As in a program: "workflow" is the SDK's package, and this one has a name of its own.

func Translate(_ context.Context, sentence string) (string, error) { return "(" + sentence + ")", nil }

func CountLetters(_ context.Context, sentence string) (int, error) {
	return len(strings.Trim(sentence, "()")), nil
}

type Order struct{ ID string }

type Receipt struct{ Text string }

func Print(_ context.Context, text string) (Receipt, error) {
	if text == "" {
		return Receipt{}, temporal.NewNonRetryableApplicationError("nothing to print", "Empty", nil)
	}
	return Receipt{text}, nil
}

// tryWorkflow runs a workflow in the SDK's test environment.
func tryWorkflow(w any, args ...any) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(nopLogger{})
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(Translate)
	env.RegisterActivity(CountLetters)
	env.RegisterActivity(Print)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow("translated", completionsOf("hola", "adios")) }, 0)
	env.ExecuteWorkflow(w, args...)
	if err := env.GetWorkflowError(); err != nil {
		panic(err)
	}
}

// completionsOf is what the queue sends for the tasks of a batch.
func completionsOf(results ...string) json.RawMessage {
	var completions []wire.Completion
	for i, r := range results {
		payload, err := converter.GetDefaultDataConverter().ToPayload(r)
		if err != nil {
			panic(err)
		}
		completions = append(completions, wire.Completion{
			Batch: "order-17", Index: i, Type: "Translate",
			Outcome: wire.Outcome{Kind: wire.KindCompleted, Payloads: []*commonpb.Payload{payload}},
		})
	}
	encoded, err := json.Marshal(completions)
	if err != nil {
		panic(err)
	}
	return encoded
}

// A pipeline as a chain: the workflow hears of the end only.
func ExampleChain_pipeline() {
	tryWorkflow(func(ctx workflow.Context, sentence string) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		patient := workflow.ActivityOptions{StartToCloseTimeout: time.Hour}
		var letters int
		err := slipflow.Chain(ctx, sentence,
			slipflow.Step{Activity: Translate, Options: &patient}, // time-outs and retries of its own
			slipflow.Step{Activity: CountLetters},
		).Get(ctx, &letters)
		fmt.Println(letters)
		return err
	}, "hello")
	// Output: 5
}

// The callback gets a value of the caller's with the results.
func ExampleOnComplete_order() {
	tryWorkflow(func(ctx workflow.Context, order Order) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		futures := []workflow.Future{
			workflow.ExecuteActivity(ctx, Print, "invoice"),
			workflow.ExecuteActivity(ctx, Print, ""),
		}
		done := slipflow.OnComplete(ctx, order, futures, func(ctx workflow.Context, order Order, results []slipflow.Result) error {
			for _, r := range results {
				var receipt Receipt
				if err := r.Get(ctx, &receipt); err != nil { // as the future's own
					fmt.Println(order.ID, "lacks a receipt")
					continue
				}
				fmt.Println(order.ID, receipt.Text)
			}
			return nil
		})
		return done.Get(ctx, nil)
	}, Order{ID: "order-17"})
	// Output:
	// order-17 invoice
	// order-17 lacks a receipt
}

// A workflow is told of the tasks of a batch, many in one signal. Its worker needs neither
// the plugin nor Redis.
func ExampleCompletion() {
	tryWorkflow(func(ctx workflow.Context) error {
		var completions []slipflow.Completion
		workflow.GetSignalChannel(ctx, "translated").Receive(ctx, &completions)
		for _, c := range completions {
			var spanish string
			if err := c.Get(ctx, &spanish); err != nil {
				return err // the error that ExecuteActivity would have given
			}
			fmt.Println(c.Batch, c.Index, c.ActivityType, c.Outcome, spanish)
		}
		return nil
	})
	// Output:
	// order-17 0 Translate completed hola
	// order-17 1 Translate completed adios
}
