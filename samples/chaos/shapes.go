package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	slipstream "github.com/slipstream-go/slipstream/workflow"
)

const (
	// mainQueue is the task queue of the workers that have the plugin; foreignQueue that of the one that has not.
	mainQueue    = "chaos"
	foreignQueue = "chaos-foreign"

	// retryInterval is that of every call.
	retryInterval = 500 * time.Millisecond
	// startToClose is all that plain Temporal has to notice a lost worker by.
	startToClose     = 20 * time.Second
	heartbeatTimeout = 15 * time.Second
)

// Input is what a workflow of any shape is started with.
type Input struct {
	ID         string
	Value      int64
	Width      int
	Takes      time.Duration
	Generation int
}

// Answer is what it ends with.
type Answer struct {
	Value int64
	// Lost are the calls, of those that may start only once, whose worker was lost.
	Lost []int
}

func (in Input) key(i int) string { return fmt.Sprintf("%s/%d.%d", in.ID, in.Generation, i) }

// takes spreads the times of a workflow's steps around in.Takes.
func (in Input) takes(i int) time.Duration {
	return in.Takes/2 + time.Duration(mix(in.key(i), 0)%1000)*in.Takes/1000
}

func (in Input) work(i int, value int64) Work {
	return Work{Key: in.key(i), Value: value, Takes: in.takes(i)}
}

// sum is what steps side by side come to, each with a value of its own.
func (in Input) sum(steps int) (sum int64) {
	for i := range steps {
		sum += mix(in.key(i), in.Value+int64(i))
	}
	return sum
}

// row is what steps one after the other come to.
func (in Input) row(steps int) int64 {
	value := in.Value
	for i := range steps {
		value = mix(in.key(i), value)
	}
	return value
}

// shape is a kind of workflow.
type shape struct {
	name, what string
	weight     int // how often, relative to the others
	workflow   any
	queue      string
	input      func(r *rand.Rand) (width int, takes time.Duration)
	want       func(in Input, lost []int) int64
	// drive does what the workflow waits for from outside. Nil: nothing.
	drive func(l *load, in Input)
	// tokens: its activities are Temporal's own, so a lost one is noticed by its StartToClose time-out at the latest.
	tokens bool
}

func between(low, high time.Duration) func(r *rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
}

// sized makes inputs of a width and step times between bounds.
func sized(minWidth, maxWidth int, low, high time.Duration) func(r *rand.Rand) (int, time.Duration) {
	takes := between(low, high)
	return func(r *rand.Rand) (int, time.Duration) { return minWidth + r.IntN(maxWidth-minWidth+1), takes(r) }
}

const (
	pipelineSteps = 3
	chainSteps    = 4
	generations   = 3
	updates       = 3
)

var shapes = []*shape{
	{
		name: "pipeline", what: "three steps, one after the other", weight: 30, workflow: Pipeline, queue: mainQueue,
		input: sized(1, 1, 50*time.Millisecond, 800*time.Millisecond),
		want:  func(in Input, _ []int) int64 { return in.row(pipelineSteps) },
	},
	{
		name: "fan-out", what: "10 to 60 steps side by side", weight: 8, workflow: FanOut, queue: mainQueue,
		input: sized(10, 60, 100*time.Millisecond, 2*time.Second),
		want:  func(in Input, _ []int) int64 { return in.sum(in.Width) },
	},
	{
		name: "chain", what: "a Chain of four steps", weight: 12, workflow: Chained, queue: mainQueue,
		input: sized(1, 1, 50*time.Millisecond, time.Second),
		want: func(in Input, _ []int) int64 {
			l := Link{Key: in.ID, Value: in.Value}
			for range chainSteps {
				l.Value = mix(l.work().Key, l.Value)
				l.Hop++
			}
			return l.Value
		},
	},
	{
		name: "retries", what: "steps whose first one or two attempts fail", weight: 10, workflow: Retries, queue: mainQueue,
		input: sized(3, 6, 50*time.Millisecond, 500*time.Millisecond),
		want:  func(in Input, _ []int) int64 { return in.sum(in.Width) },
	},
	{
		name: "timers", what: "three steps with timers between", weight: 10, workflow: Timers, queue: mainQueue,
		input: sized(1, 1, 50*time.Millisecond, 500*time.Millisecond),
		want:  func(in Input, _ []int) int64 { return in.row(pipelineSteps) },
	},
	{
		name: "renewed", what: "two steps, then continue as new, three times", weight: 8, workflow: Renewed, queue: mainQueue,
		input: sized(2, 2, 50*time.Millisecond, 500*time.Millisecond),
		want: func(in Input, _ []int) int64 {
			for in.Generation = range generations {
				in.Value = in.row(in.Width)
			}
			return in.Value
		},
	},
	{
		name: "once", what: "steps with MaximumAttempts 1", weight: 10, workflow: OnlyOnce, queue: mainQueue,
		input: sized(3, 8, 200*time.Millisecond, 3*time.Second),
		want: func(in Input, lost []int) int64 {
			sum := in.sum(in.Width)
			for _, i := range lost {
				sum -= mix(in.key(i), in.Value+int64(i))
			}
			return sum
		},
	},
	{
		name: "messages", what: "signals and updates while calls are open", weight: 8, workflow: Messages, queue: mainQueue,
		input: sized(3, 6, 500*time.Millisecond, 3*time.Second), drive: (*load).sendMessages,
		want: func(in Input, _ []int) int64 {
			sum := in.sum(in.Width + updates)
			for i := range in.Width {
				sum += int64(i)
			}
			return sum
		},
	},
	{
		name: "batch", what: "a batch enqueued without a workflow; this one is told", weight: 6, workflow: Collector, queue: mainQueue,
		input: sized(10, 60, 50*time.Millisecond, 1500*time.Millisecond), drive: (*load).enqueueBatch,
		want: func(in Input, _ []int) int64 { return in.sum(in.Width) },
	},
	{
		name: "foreign", what: "of a worker without the plugin: its activity tasks are diverted", weight: 8, workflow: Foreign, queue: foreignQueue,
		input: sized(2, 5, 100*time.Millisecond, 1500*time.Millisecond), tokens: true,
		want: func(in Input, _ []int) int64 { return in.sum(in.Width) },
	},
	{
		name: "mixed", what: "marked by every, by some and by no deployment", weight: 8, workflow: Mixed, queue: mainQueue,
		input: sized(1, 1, 50*time.Millisecond, 800*time.Millisecond), tokens: true,
		want: func(in Input, _ []int) int64 { return in.row(pipelineSteps) },
	},
	{
		name: "long", what: "steps of several seconds, with heartbeats", weight: 4, workflow: Long, queue: mainQueue,
		input: sized(2, 4, 4*time.Second, 7*time.Second),
		want:  func(in Input, _ []int) int64 { return in.sum(in.Width) },
	},
}

func withOptions(ctx workflow.Context, change ...func(*workflow.ActivityOptions)) workflow.Context {
	o := workflow.ActivityOptions{
		StartToCloseTimeout: startToClose,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: retryInterval, BackoffCoefficient: 1},
	}
	for _, f := range change {
		f(&o)
	}
	return workflow.WithActivityOptions(ctx, o)
}

var steps *Steps // workflow code names activities by it and calls none

// row calls the activities one after the other, each with the result of the one before.
func row(ctx workflow.Context, in Input, pause time.Duration, activities ...any) (int64, error) {
	value := in.Value
	for i, a := range activities {
		if i > 0 && pause > 0 {
			if err := workflow.Sleep(ctx, pause); err != nil {
				return 0, err
			}
		}
		if err := workflow.ExecuteActivity(ctx, a, in.work(i, value)).Get(ctx, &value); err != nil {
			return 0, err
		}
	}
	return value, nil
}

// open calls steps side by side.
func open(ctx workflow.Context, in Input, n int, change func(i int, w *Work)) []workflow.Future {
	futures := make([]workflow.Future, n)
	for i := range futures {
		w := in.work(i, in.Value+int64(i))
		if change != nil {
			change(i, &w)
		}
		futures[i] = workflow.ExecuteActivity(ctx, steps.Step, w)
	}
	return futures
}

func sum(ctx workflow.Context, futures []workflow.Future) (sum int64, err error) {
	for _, f := range futures {
		var v int64
		if err := f.Get(ctx, &v); err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

func answer(value int64, err error) (Answer, error) { return Answer{Value: value}, err }

// Pipeline calls three steps.
func Pipeline(ctx workflow.Context, in Input) (Answer, error) {
	return answer(row(withOptions(ctx), in, 0, steps.Step, steps.Step, steps.Step))
}

// Timers calls three steps with timers between.
func Timers(ctx workflow.Context, in Input) (Answer, error) {
	return answer(row(withOptions(ctx), in, time.Second, steps.Step, steps.Step, steps.Step))
}

// Mixed calls steps that are marked by every, by some and by no deployment.
func Mixed(ctx workflow.Context, in Input) (Answer, error) {
	return answer(row(withOptions(ctx), in, 0, steps.Step, steps.Extra, steps.Plain))
}

// Renewed calls two steps and continues as new.
func Renewed(ctx workflow.Context, in Input) (Answer, error) {
	value, err := row(withOptions(ctx), in, 0, steps.Step, steps.Step)
	if err != nil || in.Generation == generations-1 {
		return answer(value, err)
	}
	in.Value = value
	in.Generation++
	return Answer{}, workflow.NewContinueAsNewError(ctx, Renewed, in)
}

// FanOut calls steps side by side.
func FanOut(ctx workflow.Context, in Input) (Answer, error) {
	return answer(sum(ctx, open(withOptions(ctx), in, in.Width, nil)))
}

// Long calls steps that take long, with heartbeats.
func Long(ctx workflow.Context, in Input) (Answer, error) {
	ctx = withOptions(ctx, func(o *workflow.ActivityOptions) { o.HeartbeatTimeout = heartbeatTimeout })
	return answer(sum(ctx, open(ctx, in, in.Width, func(_ int, w *Work) { w.Beats = true })))
}

// Retries calls steps that fail at first.
func Retries(ctx workflow.Context, in Input) (Answer, error) {
	return answer(sum(ctx, open(withOptions(ctx), in, in.Width, func(i int, w *Work) { w.Fails = int32(1 + i%2) })))
}

// Chained is one chain.
func Chained(ctx workflow.Context, in Input) (Answer, error) {
	hops := make([]slipstream.Step, chainSteps)
	for i := range hops {
		hops[i].Activity = steps.Hop
	}
	var l Link
	err := slipstream.Chain(withOptions(ctx), Link{Key: in.ID, Value: in.Value, Takes: in.Takes}, hops...).Get(ctx, &l)
	return answer(l.Value, err)
}

// OnlyOnce calls steps that may start only once, and says which of them were lost with their worker.
func OnlyOnce(ctx workflow.Context, in Input) (Answer, error) {
	ctx = withOptions(ctx, func(o *workflow.ActivityOptions) { o.RetryPolicy = &temporal.RetryPolicy{MaximumAttempts: 1} })
	futures := make([]workflow.Future, in.Width)
	for i := range futures {
		futures[i] = workflow.ExecuteActivity(ctx, steps.Once, in.work(i, in.Value+int64(i)))
	}
	var a Answer
	for i, f := range futures {
		var v int64
		switch err := f.Get(ctx, &v); {
		case err == nil:
			a.Value += v
		case isLost(err):
			a.Lost = append(a.Lost, i)
		default:
			return a, err
		}
	}
	return a, nil
}

// isLost: the worker is gone, or it stopped before the step was done, which the step says in its own words.
func isLost(err error) bool {
	if timeout, ok := errors.AsType[*temporal.TimeoutError](err); ok {
		return timeout.TimeoutType() == enumspb.TIMEOUT_TYPE_START_TO_CLOSE
	}
	var canceled *temporal.CanceledError
	var said *temporal.ApplicationError
	return errors.As(err, &canceled) || errors.As(err, &said) && said.Message() == "context canceled"
}

// The names of what is sent to Messages and Collector.
const (
	signalAdd  = "add"
	updateStep = "step"
	signalDone = "done"
)

// Messages takes signals and updates while its calls are open. Each update makes a call of its own.
func Messages(ctx workflow.Context, in Input) (Answer, error) {
	ctx = withOptions(ctx)
	var total int64
	var answered int
	err := workflow.SetUpdateHandler(ctx, updateStep, func(ctx workflow.Context, n int) (int64, error) {
		var v int64
		if err := workflow.ExecuteActivity(withOptions(ctx), steps.Step, in.work(in.Width+n, in.Value+int64(in.Width+n))).Get(ctx, &v); err != nil {
			return 0, err
		}
		total += v
		answered++
		return v, nil
	})
	if err != nil {
		return Answer{}, err
	}
	futures := open(ctx, in, in.Width, nil)
	seen := map[int]bool{}
	workflow.Go(ctx, func(ctx workflow.Context) {
		for len(seen) < in.Width { // whoever sends may send twice
			var n int
			workflow.GetSignalChannel(ctx, signalAdd).Receive(ctx, &n)
			if !seen[n] {
				seen[n] = true
				total += int64(n)
			}
		}
	})
	called, err := sum(ctx, futures)
	if err != nil {
		return Answer{}, err
	}
	err = workflow.Await(ctx, func() bool { return len(seen) == in.Width && answered == updates })
	return answer(total+called, err)
}

// Collector is told of the outcomes of a batch, some of them twice if the batch had to be enqueued again.
func Collector(ctx workflow.Context, in Input) (Answer, error) {
	seen := map[int]int64{}
	var total int64
	for len(seen) < in.Width {
		var completions []slipstream.Completion
		workflow.GetSignalChannel(ctx, signalDone).Receive(ctx, &completions)
		for _, c := range completions {
			var v int64
			if err := c.Get(ctx, &v); err != nil {
				return Answer{}, err
			}
			if before, ok := seen[c.Index]; ok && before != v {
				return Answer{}, fmt.Errorf("task %d of batch %s had two results: %d, %d", c.Index, c.Batch, before, v)
			} else if !ok {
				seen[c.Index] = v
				total += v
			}
		}
	}
	return answer(total, nil)
}

// Foreign calls activities of another task queue, whose workers have a plugin that this one knows nothing of.
func Foreign(ctx workflow.Context, in Input) (Answer, error) {
	return answer(sum(ctx, open(withOptions(ctx, func(o *workflow.ActivityOptions) { o.TaskQueue = mainQueue }), in, in.Width, nil)))
}
