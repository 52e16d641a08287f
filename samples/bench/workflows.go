package main

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	slipflow "github.com/slipstream-go/slipstream/workflow"
)

// The workflows of all cases. But for those of chains they know nothing of Slipstream: every variant runs them as they
// stand. Each checks every
// result where it arrives, fails if one is wrong, and returns how many were right.

// stepOptions give an attempt that was lost on the way to its worker another chance before the repetition's time is over:
// on an overloaded machine the server starts plain activities that no worker hears of.
var stepOptions = workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second}

// holdOptions are for steps that wait for all others.
var holdOptions = workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Minute}

// stepsPerPipeline is how many steps follow each other in a pipeline.
const stepsPerPipeline = 3

// FanOut runs n steps side by side, numbered from first.
func FanOut(ctx workflow.Context, first, n int, takes time.Duration) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	var steps *Steps
	return fanOut(ctx, first, n, func(i int) workflow.Future { return workflow.ExecuteActivity(ctx, steps.Step, i, takes) })
}

// HoldOut is FanOut with steps that wait to be let go.
func HoldOut(ctx workflow.Context, first, n int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, holdOptions)
	var steps *Steps
	return fanOut(ctx, first, n, func(i int) workflow.Future { return workflow.ExecuteActivity(ctx, steps.Hold, i) })
}

func fanOut(ctx workflow.Context, first, n int, call func(i int) workflow.Future) (int, error) {
	results := make([]workflow.Future, n)
	for k := range results {
		results[k] = call(first + k)
	}
	for k, result := range results {
		if err := expect(ctx, result, first+k+1); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Texts is FanOut with results of so many letters.
func Texts(ctx workflow.Context, first, n, letters int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	var steps *Steps
	results := make([]workflow.Future, n)
	for k := range results {
		results[k] = workflow.ExecuteActivity(ctx, steps.Text, first+k, letters)
	}
	for k, result := range results {
		if err := expect(ctx, result, spelled(first+k, letters)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Pipelines runs n pipelines side by side. Their steps are numbered from first, those of a pipeline one after the other.
func Pipelines(ctx workflow.Context, first, n int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	pipelines := workflow.NewWaitGroup(ctx)
	var failure error
	for k := range n {
		pipelines.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer pipelines.Done()
			if err := pipeline(ctx, first+k*stepsPerPipeline, stepsPerPipeline); err != nil {
				failure = err
			}
		})
	}
	pipelines.Wait(ctx)
	return n * stepsPerPipeline, failure
}

// Pipeline runs steps one after the other, numbered from first.
func Pipeline(ctx workflow.Context, first, steps int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	return steps, pipeline(ctx, first, steps)
}

func pipeline(ctx workflow.Context, first, n int) error {
	var steps *Steps
	for i := first; i < first+n; i++ {
		if err := expect(ctx, workflow.ExecuteActivity(ctx, steps.Step, i, time.Duration(0)), i+1); err != nil {
			return err
		}
	}
	return nil
}

// Chains is Pipelines with each pipeline as a chain.
func Chains(ctx workflow.Context, first, n int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	results := make([]workflow.Future, n)
	for k := range results {
		results[k] = chain(ctx, first+k*stepsPerPipeline, stepsPerPipeline)
	}
	for k, result := range results {
		if err := expect(ctx, result, first+(k+1)*stepsPerPipeline); err != nil {
			return 0, err
		}
	}
	return n * stepsPerPipeline, nil
}

// Chain is Pipeline as a chain.
func Chain(ctx workflow.Context, first, steps int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, stepOptions)
	return steps, expect(ctx, chain(ctx, first, steps), first+steps)
}

func chain(ctx workflow.Context, first, n int) workflow.Future {
	var steps *Steps
	return slipflow.Chain(ctx, first, slices.Repeat([]slipflow.Step{{Activity: steps.Next}}, n)...)
}

// Empty does nothing: what is left is the cost of a workflow.
func Empty(workflow.Context) (int, error) { return 0, nil }

// expect waits for a result, which must be want.
func expect[T comparable](ctx workflow.Context, result workflow.Future, want T) error {
	var got T
	if err := result.Get(ctx, &got); err != nil {
		return err
	}
	if got != want {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("a step answered %v instead of %v", got, want), "WrongResult", nil)
	}
	return nil
}
