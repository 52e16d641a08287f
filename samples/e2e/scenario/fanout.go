package scenario

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Poison is the value that kills the process in which it is doubled.
const Poison = -1

// Fan asks for calls of one activity, all at the same time: with the values 1 to Count, and then with More.
type Fan struct {
	Activity string // Double or Attempt
	Count    int
	More     []int
	// StepTime is how long Double takes.
	StepTime time.Duration
}

// Fanned is what became of them: the sum of their results, and the errors by value.
type Fanned struct {
	Sum    int
	Failed map[int]string
}

// FanOut makes the calls and waits for all of them.
func FanOut(ctx workflow.Context, in Fan) (Fanned, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond},
	})
	values := make([]int, in.Count)
	for i := range values {
		values[i] = i + 1
	}
	values = slices.Concat(values, in.More)
	calls := make([]workflow.Future, len(values))
	for i, value := range values {
		if in.Activity == "Double" {
			calls[i] = workflow.ExecuteActivity(ctx, in.Activity, value, in.StepTime)
		} else {
			calls[i] = workflow.ExecuteActivity(ctx, in.Activity, value)
		}
	}
	out := Fanned{Failed: map[int]string{}}
	for i, call := range calls {
		n, err := doubled(ctx, in.Activity, call)
		if err != nil {
			out.Failed[values[i]] = err.Error()
		}
		out.Sum += n
	}
	return out, nil
}

func doubled(ctx workflow.Context, activity string, call workflow.Future) (int, error) {
	switch activity {
	case "Double":
		var d Doubled
		err := call.Get(ctx, &d)
		return d.Value, err
	case "Attempt":
		var n int
		err := call.Get(ctx, &n)
		return n, err
	}
	return 0, fmt.Errorf("no activity %q in this scenario", activity)
}
