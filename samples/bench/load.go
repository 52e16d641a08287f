package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

// load is what the workers of one repetition are given to do.
type load struct {
	steps int // all in all, numbered from 0
	runs  int // workflows
	open  int // workflows at a time; 0: all
	call  func(run int) workflowCall
	// perWorkflow counts and times workflows, instead of steps.
	perWorkflow bool
}

// runLoad measures one repetition on workers of its own, and checks it: every step ran once, every result was right,
// nothing went another way than the variant says, and no more ran at a time than was allowed.
func (l *lab) runLoad(ctx context.Context, o rigOptions, d load) (s *sample, err error) {
	if d.open == 0 {
		d.open = d.runs
	}
	tasks := d.steps
	if d.perWorkflow {
		tasks = d.runs
	}
	stepDone, finish := l.progress(tasks)
	defer finish()
	runDone := func() {}
	if d.perWorkflow {
		stepDone, runDone = runDone, stepDone
	}
	if o.steps == nil {
		o.steps = &Steps{}
	}
	o.steps.record = newRecorder(d.steps, stepDone)
	r, err := l.startRig(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	var runs *workflowRuns
	s, err = l.measure(ctx, tasks, func(ctx context.Context) error {
		o.steps.record.begin()
		runs = l.runWorkflows(ctx, r.taskQueue, d.runs, d.open, d.call, runDone)
		return runs.err()
	})
	if err == nil {
		err = o.steps.record.check()
	}
	if err != nil {
		return nil, err
	}
	if s.History, err = history.Read(ctx, l.client, runs.runs); err != nil {
		return nil, err
	}
	o.steps.record.fill(s)
	if d.perWorkflow {
		s.Latency = latencyOf(runs.milliseconds())
	}
	return s, o.check(s, d.steps)
}

// check returns an error if a repetition of so many steps did not go the way that the options say.
func (o rigOptions) check(s *sample, steps int) error {
	plain := s.History.ActivitiesScheduled
	switch {
	case o.routed && plain > 0:
		return fmt.Errorf("%d of %d steps ran as plain activities instead of through the queue", plain, steps)
	case !o.routed && plain != steps:
		return fmt.Errorf("%d plain activities were scheduled for %d steps", plain, steps)
	case o.routed && s.Retried > 0:
		return fmt.Errorf("%d attempts were lost and made again, though nothing failed", s.Retried)
	case s.PeakConcurrency > o.workers*o.concurrency:
		return fmt.Errorf("%d steps ran at a time, %d are allowed", s.PeakConcurrency, o.workers*o.concurrency)
	}
	return nil
}
