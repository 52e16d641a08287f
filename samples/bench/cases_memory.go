package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

const (
	bytesPerHandler      = "memory per handler beyond its stack"
	stackPerHandler      = "stack per handler"
	goroutinesPerHandler = "goroutines per handler"
)

func wideMemory() *benchCase {
	return &benchCase{
		name: "wide-memory",
		about: func(s size) string {
			return fmt.Sprintf("%s handlers in flight in one process, waiting", count(s.Steps))
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 500, Workflows: 5, Workers: 1, Concurrency: 500},
			quick: {Reps: 1, Steps: 20_000, Workflows: 10, Workers: 1, Concurrency: 20_000},
			full:  {Reps: 3, Steps: 100_000, Workflows: 10, Workers: 1, Concurrency: 100_000},
		},
		variants: []variant{{slipstream, heldSample}},
		targets: []target{
			{figure: value(bytesPerHandler, unitBytes), variant: slipstream, bound: atMost, limit: 4 << 10},
			{figure: value(stackPerHandler, unitBytes), variant: slipstream},
			{figure: value(goroutinesPerHandler, unitNone), variant: slipstream},
		},
	}
}

// heldSample measures the process that runs the handlers, while all of them wait. Workflows run on workers that are there
// only to start them and to end them, so that their memory is not in the figure.
func heldSample(ctx context.Context, l *lab, s size) (_ *sample, err error) {
	done, finish := l.progress(s.Steps)
	defer finish()
	o := s.rig(true)
	o.steps = &Steps{record: newRecorder(s.Steps, done), gate: make(chan struct{})}
	handlers := &rig{rigOptions: o, taskQueue: l.freshName("bench")}
	defer func() { err = errors.Join(err, handlers.stop()) }()
	if err := handlers.startWorker(l, worker.Options{DisableWorkflowWorker: true}); err != nil {
		return nil, err
	}
	withWorkflows := func(do func(r *rig) error) error {
		r := &rig{rigOptions: o, taskQueue: handlers.taskQueue}
		if err := r.startWorker(l, worker.Options{LocalActivityWorkerOnly: true}); err != nil {
			return errors.Join(err, r.stop())
		}
		err := errors.Join(do(r), r.stop())
		// The SDK's cache lives as long as any worker of the process.
		worker.PurgeStickyWorkflowCache()
		return err
	}
	if err := withWorkflows(func(r *rig) error { return r.warmUp(ctx, l) }); err != nil {
		return nil, err
	}

	before, after := settledMemory(), memory{}
	var runs *workflowRuns
	ended := make(chan struct{})
	measured, err := l.measure(ctx, s.Steps, func(ctx context.Context) error {
		err := withWorkflows(func(*rig) error {
			o.steps.record.begin()
			go func() {
				defer close(ended)
				width := s.Steps / s.Workflows
				runs = l.runWorkflows(ctx, handlers.taskQueue, s.Workflows, s.Workflows, func(run int) workflowCall {
					return workflowCall{HoldOut, []any{run * width, width}, width}
				}, func() {})
			}()
			return poll(ctx, func() (bool, error) { return o.steps.record.running() == s.Steps, nil })
		})
		if err == nil {
			after = settledMemory()
			err = l.profile.writeHeap()
			close(o.steps.gate)
			err = errors.Join(err, withWorkflows(func(*rig) error { <-ended; return runs.err() }))
		}
		return err
	})
	if err == nil {
		err = o.steps.record.check()
	}
	if err != nil {
		return nil, err
	}
	if measured.History, err = history.Read(ctx, l.client, runs.runs); err != nil {
		return nil, err
	}
	o.steps.record.fill(measured)
	n := float64(s.Steps)
	measured.Values[bytesPerHandler] = (float64(after.held-after.stacks) - float64(before.held-before.stacks)) / n
	measured.Values[goroutinesPerHandler] = float64(after.goroutines-before.goroutines) / n
	measured.Values[stackPerHandler] = (float64(after.stacks) - float64(before.stacks)) / n
	return measured, o.check(measured, s.Steps)
}

// memory is what the Go runtime of this process holds.
type memory struct {
	held, stacks uint64 // bytes
	goroutines   int
}

// settledMemory is what is left when everything that can be freed was.
func settledMemory() memory {
	debug.FreeOSMemory()
	stacks := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(stacks)
	return memory{held: heldMemory(), stacks: stacks[0].Value.Uint64(), goroutines: runtime.NumGoroutine()}
}
