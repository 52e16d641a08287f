package workflow_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/workflow"
)

// The workflows whose histories are saved. They are ordinary workflow code that knows
// nothing of Slipstream, but for those of chains, and none ever changes: add another one
// (see TestRecord).
var scenarios = map[string]any{
	"Pipeline":    pipelineWorkflow,
	"Mixed":       mixedWorkflow,
	"Late":        lateWorkflow,
	"FanOut":      fanOutWorkflow,
	"SideEffect":  sideEffectWorkflow,
	"CancelOne":   cancelOneWorkflow,
	"CancelAll":   cancelAllWorkflow,
	"Updates":     updatesWorkflow,
	"Retried":     retriedWorkflow,
	"Overlapping": overlappingWorkflow,
	"Awaiting":    awaitingWorkflow,
	"Chains":      chainsWorkflow,
	"CancelChain": cancelChainWorkflow,
}

// pipelineWorkflow makes one call after the other.
func pipelineWorkflow(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = options(ctx)
	for range 3 {
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", s+".").Get(ctx, &s); err != nil {
			return "", err
		}
	}
	return s, nil
}

// mixedWorkflow mixes routed calls with all else that writes events.
func mixedWorkflow(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = options(ctx)
	timer := sdkworkflow.NewTimer(ctx, 50*time.Millisecond)
	if err := sdkworkflow.ExecuteActivity(ctx, "Unmarked", s).Get(ctx, &s); err != nil {
		return "", err
	}
	version := sdkworkflow.GetVersion(ctx, "user-change", sdkworkflow.DefaultVersion, 3)
	one := sdkworkflow.ExecuteActivity(ctx, "Echo", "one")
	two := sdkworkflow.ExecuteActivity(ctx, "Other", "two")
	three := sdkworkflow.ExecuteActivity(ctx, "Unmarked", "three")
	lctx := sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
	four := sdkworkflow.ExecuteLocalActivity(lctx, "Local", "four")
	parts := []string{s, fmt.Sprint(version)}
	for _, f := range []sdkworkflow.Future{one, two, three, four} {
		var part string
		if err := f.Get(ctx, &part); err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ","), timer.Get(ctx, nil)
}

// lateWorkflow does all else before its first call, in the same workflow task: what stands in
// history before the route record, and is numbered with it. The call of an unmarked type after
// it tells by its ID whether a replay counts as the run itself did.
func lateWorkflow(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = options(ctx)
	timer := sdkworkflow.NewTimer(ctx, time.Hour)
	lctx := sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
	if err := sdkworkflow.ExecuteLocalActivity(lctx, "Local", s).Get(ctx, &s); err != nil {
		return "", err
	}
	version := sdkworkflow.GetVersion(ctx, "user-change", sdkworkflow.DefaultVersion, 3)
	var mutable int
	changes := func(sdkworkflow.Context) any { return int(version) }
	if err := sdkworkflow.MutableSideEffect(ctx, "mine", changes, func(a, b any) bool { return a == b }).Get(&mutable); err != nil {
		return "", err
	}
	routed, plain := sdkworkflow.ExecuteActivity(ctx, "Echo", s), sdkworkflow.ExecuteActivity(ctx, "Unmarked", s)
	var parts [2]string
	if err := errors.Join(routed.Get(ctx, &parts[0]), plain.Get(ctx, &parts[1])); err != nil {
		return "", err
	}
	return fmt.Sprint(mutable, ",", parts[0], ",", parts[1], ",", timer.IsReady()), nil
}

// fanOutWorkflow makes many calls and takes them in the order of their results.
func fanOutWorkflow(ctx sdkworkflow.Context, n int) (int, error) {
	ctx = options(ctx)
	selector := sdkworkflow.NewSelector(ctx)
	sum, failed := 0, error(nil)
	for i := range n {
		selector.AddFuture(sdkworkflow.ExecuteActivity(ctx, "Echo", fmt.Sprint(i)), func(f sdkworkflow.Future) {
			var s string
			failed = errors.Join(failed, f.Get(ctx, &s))
			sum += len(s)
		})
	}
	for range n {
		selector.Select(ctx)
	}
	return sum, failed
}

// sideEffectWorkflow gives each attempt of its first workflow task another argument.
func sideEffectWorkflow(ctx sdkworkflow.Context) (string, error) {
	ctx = options(ctx)
	var key, got string
	if err := sdkworkflow.SideEffect(ctx, func(sdkworkflow.Context) any {
		return fmt.Sprint(time.Now().UnixNano())
	}).Get(&key); err != nil {
		return "", err
	}
	future := sdkworkflow.ExecuteActivity(ctx, "Echo", key)
	if err := sdkworkflow.Sleep(ctx, 200*time.Millisecond); err != nil {
		return "", err
	}
	if err := future.Get(ctx, &got); err != nil {
		return "", err
	}
	return fmt.Sprint(got == key), nil
}

// cancelOneWorkflow cancels calls with and without waiting for their cancellation.
func cancelOneWorkflow(ctx sdkworkflow.Context) (string, error) {
	var results []string
	for _, wait := range []bool{false, true} {
		cctx, cancel := sdkworkflow.WithCancel(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, WaitForCancellation: wait,
		}))
		future := sdkworkflow.ExecuteActivity(cctx, "Echo", "never")
		left := sdkworkflow.ExecuteActivity(cctx, "Echo", "never either")
		if err := sdkworkflow.Sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
		unsent := sdkworkflow.ExecuteActivity(cctx, "Echo", "not even sent")
		cancel()
		for _, f := range []sdkworkflow.Future{future, left, unsent} {
			err := f.Get(ctx, nil)
			var activityErr *temporal.ActivityError
			switch {
			case !temporal.IsCanceledError(err):
				return "", fmt.Errorf("not canceled: %w", err)
			case errors.As(err, &activityErr):
				results = append(results, "activity")
			default:
				results = append(results, "sdk")
			}
		}
	}
	return strings.Join(results, ","), nil
}

// cancelAllWorkflow cleans up with a disconnected context when it is cancelled.
func cancelAllWorkflow(ctx sdkworkflow.Context) (string, error) {
	err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "never").Get(ctx, nil)
	if !temporal.IsCanceledError(err) {
		return "", fmt.Errorf("not canceled: %w", err)
	}
	dctx, _ := sdkworkflow.NewDisconnectedContext(ctx)
	var s string
	err = sdkworkflow.ExecuteActivity(options(dctx), "Echo", "clean-up").Get(dctx, &s)
	return s, err
}

// updatesWorkflow makes its calls in update handlers.
func updatesWorkflow(ctx sdkworkflow.Context) (string, error) {
	var got []string
	err := sdkworkflow.SetUpdateHandler(ctx, "call", func(ctx sdkworkflow.Context, s string) (string, error) {
		err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", s).Get(ctx, &s)
		got = append(got, s)
		return s, err
	})
	if err != nil {
		return "", err
	}
	err = sdkworkflow.Await(ctx, func() bool { return len(got) == 3 })
	return strings.Join(got, ","), err
}

// retriedWorkflow makes a call that ends in an error.
func retriedWorkflow(ctx sdkworkflow.Context) (string, error) {
	err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "fail").Get(ctx, nil)
	var application *temporal.ApplicationError
	if !errors.As(err, &application) {
		return "", fmt.Errorf("want an application error: %w", err)
	}
	return application.Type(), nil
}

// overlappingWorkflow starts a wave while another one is out.
func overlappingWorkflow(ctx sdkworkflow.Context) (string, error) {
	ctx = options(ctx)
	slow := sdkworkflow.ExecuteActivity(ctx, "Other", "slow")
	for i := range 5 {
		if err := sdkworkflow.Sleep(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
		var s string
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", fmt.Sprint(i)).Get(ctx, &s); err != nil {
			return "", err
		}
	}
	var s string
	err := slow.Get(ctx, &s)
	return s, err
}

// awaitingWorkflow makes one call and does nothing else.
func awaitingWorkflow(ctx sdkworkflow.Context, s string) (string, error) {
	err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", s).Get(ctx, &s)
	return s, err
}

// chainsWorkflow makes chains of all sorts: one call or several, with the results of all
// steps, failing, and a call with options of its own.
func chainsWorkflow(ctx sdkworkflow.Context, s string) (string, error) {
	ctx = options(ctx)
	other := &sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Hour}
	results := workflow.ChainResults(ctx, s, steps("Echo", "Echo")...)
	futures := []sdkworkflow.Future{
		workflow.Chain(ctx, s, workflow.Step{Activity: "Echo"}, workflow.Step{Activity: "Echo", Options: other}, workflow.Step{Activity: "Echo"}),
		workflow.Chain(ctx, s, steps("Echo", "Other", "Unmarked")...),
		workflow.Chain(ctx, "fail", steps("Echo", "Echo")...),
		sdkworkflow.ExecuteActivity(workflow.WithOptions(ctx, workflow.Options{Plain: true}), "Echo", s),
		sdkworkflow.ExecuteActivity(workflow.WithOptions(ctx, workflow.Options{Pool: "slow"}), "Echo", s),
	}
	var parts []string
	err := workflow.OnComplete(ctx, "ended:", futures, func(ctx sdkworkflow.Context, prefix string, results []workflow.Result) error {
		for _, r := range results {
			var part string
			var failed *workflow.ChainError
			if err := r.Get(ctx, &part); errors.As(err, &failed) {
				part = fmt.Sprint("failed in ", failed.Step)
			}
			parts = append(parts, prefix+part)
		}
		return nil
	}).Get(ctx, nil)
	if err != nil {
		return "", err
	}
	var all []workflow.Result
	if err := results.Get(ctx, &all); err != nil {
		return "", err
	}
	for _, r := range all {
		var part string
		if err := r.Get(ctx, &part); err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ","), nil
}

// cancelChainWorkflow cancels chains with and without waiting for their end.
func cancelChainWorkflow(ctx sdkworkflow.Context) (string, error) {
	var results []string
	for _, wait := range []bool{false, true} {
		cctx, cancel := sdkworkflow.WithCancel(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, WaitForCancellation: wait,
		}))
		future := workflow.Chain(cctx, "never", steps("Echo", "Echo")...)
		if err := sdkworkflow.Sleep(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
		cancel()
		results = append(results, fmt.Sprint(temporal.IsCanceledError(future.Get(ctx, nil))))
	}
	return strings.Join(results, ","), nil
}
