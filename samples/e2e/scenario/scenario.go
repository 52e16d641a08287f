// Package scenario is the code that end-to-end tests run: workflows and activities that say who did what, for the
// tests and for the worker processes that they start.
package scenario

import (
	"context"
	"errors"
	"os"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	slipflow "github.com/slipstream-go/slipstream/workflow"
)

// The names of Pipelines in versioned workers, by what Temporal does with its runs when another build becomes current.
const (
	PinnedPipelines   = "PinnedPipelines"
	UnpinnedPipelines = "UnpinnedPipelines"
)

// StepsPerPipeline is how many activities a pipeline calls, one after the other.
const StepsPerPipeline = 3

// Input asks for pipelines numbered First to First+Count-1.
type Input struct {
	First, Count int
	// StepTime is how long each step takes.
	StepTime time.Duration
}

// Pipeline is what became of one pipeline.
type Pipeline struct {
	Value int
	// Workers ran its steps, in order.
	Workers []string
	// Error is why it failed, or empty.
	Error string
}

// Want is the value that pipeline number i must come to.
func Want(i int) int { return i << StepsPerPipeline }

// Pipelines runs them side by side, each doubling its number in every step.
func Pipelines(ctx workflow.Context, in Input) ([]Pipeline, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Minute})
	results := make([]Pipeline, in.Count)
	open := workflow.NewWaitGroup(ctx)
	for i := range results {
		open.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer open.Done()
			results[i] = pipeline(ctx, in.First+i, in.StepTime)
		})
	}
	open.Wait(ctx)
	return results, nil
}

func pipeline(ctx workflow.Context, value int, stepTime time.Duration) Pipeline {
	p := Pipeline{Value: value}
	for range StepsPerPipeline {
		var steps *Steps
		var out Doubled
		if err := workflow.ExecuteActivity(ctx, steps.Double, p.Value, stepTime).Get(ctx, &out); err != nil {
			p.Error = err.Error()
			return p
		}
		p.Value, p.Workers = out.Value, append(p.Workers, out.Worker)
	}
	return p
}

// Call is one call, or a chain of calls each fed the result of the one before.
type Call struct {
	Value int
	// Attempts is how often each step may be attempted; 0 is any number.
	Attempts int32
	// Steps is how many the chain has; no chain if it is 1 or less.
	Steps int
}

// OneCall makes the call and returns its result.
func OneCall(ctx workflow.Context, c Call) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumAttempts: c.Attempts},
	})
	var steps *Steps
	var out int
	if c.Steps <= 1 {
		err := workflow.ExecuteActivity(ctx, steps.Attempt, c.Value).Get(ctx, &out)
		return out, err
	}
	chain := make([]slipflow.Step, c.Steps)
	for i := range chain {
		chain[i] = slipflow.Step{Activity: steps.Attempt}
	}
	err := slipflow.Chain(ctx, c.Value, chain...).Get(ctx, &out)
	return out, err
}

// Steps are the activities of one worker.
type Steps struct {
	// Worker names it in results.
	Worker string
	// Started is called when a step starts, from many goroutines.
	Started func()
	// Stuck makes steps that end with their contexts only.
	Stuck bool
	// Failures is how many attempts of Attempt fail.
	Failures int
}

// Doubled is the result of Double.
type Doubled struct {
	Value  int
	Worker string
}

// Double doubles value, and takes its time. It does not survive Poison.
func (s *Steps) Double(ctx context.Context, value int, takes time.Duration) (Doubled, error) {
	s.Started()
	if value == Poison {
		os.Exit(1)
	}
	if s.Stuck {
		<-ctx.Done()
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return Doubled{Value: 2 * value, Worker: s.Worker}, nil
	case <-ctx.Done():
		return Doubled{}, ctx.Err()
	}
}

// Attempt doubles value, unless it is one of the first attempts, which fail.
func (s *Steps) Attempt(ctx context.Context, value int) (int, error) {
	s.Started()
	if s.Stuck {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if int(activity.GetInfo(ctx).Attempt) <= s.Failures {
		return 0, errors.New("one of the first attempts")
	}
	return 2 * value, nil
}
