package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/plugin"
)

// Settings of every worker, the same in all variants: generous, so that plain activities are limited by the server and
// not by us.
const (
	workflowPollers = 10
	activityPollers = 10
	// Workflow tasks of all workers together. They use the processor, and nothing else: more
	// at a time only makes all of them late.
	workflowTasks   = 40
	localActivities = 1000
)

// rigOptions say which workers to start.
type rigOptions struct {
	routed      bool // through Slipstream; this is all that the variants differ in
	workers     int
	concurrency int // steps at a time, in each worker
	steps       *Steps
}

// rig is a set of workers on a task queue of their own, each with its own connection, and with its own plugin if they
// are routed. It lives for one repetition.
type rig struct {
	rigOptions

	taskQueue string
	plugins   []*plugin.Plugin
	clients   []client.Client
	running   []worker.Worker
}

// startRig returns when the workers have worked.
func (l *lab) startRig(ctx context.Context, o rigOptions) (*rig, error) {
	r := &rig{rigOptions: o, taskQueue: l.freshName("bench")}
	for range o.workers {
		if err := r.startWorker(l, worker.Options{}); err != nil {
			return nil, errors.Join(err, r.stop())
		}
	}
	if err := r.warmUp(ctx, l); err != nil {
		return nil, errors.Join(fmt.Errorf("warm-up: %w", err), r.stop())
	}
	return r, nil
}

// startWorker adds a worker. Options that a case sets itself stay.
func (r *rig) startWorker(l *lab, o worker.Options) error {
	options := l.clientOptions()
	if r.routed {
		p, err := plugin.New(l.pluginOptions(r.concurrency))
		if err != nil {
			return err
		}
		r.plugins = append(r.plugins, p)
		options.Plugins = append(options.Plugins, p)
	}
	c, err := client.Dial(options)
	if err != nil {
		return fmt.Errorf("cannot connect to Temporal at %s: %w", l.stack.Temporal(), err)
	}
	r.clients = append(r.clients, c)
	o.MaxConcurrentActivityExecutionSize = r.concurrency
	o.MaxConcurrentWorkflowTaskExecutionSize = workflowTasks / r.workers
	o.MaxConcurrentLocalActivityExecutionSize = localActivities
	o.MaxConcurrentActivityTaskPollers = activityPollers
	o.MaxConcurrentWorkflowTaskPollers = workflowPollers
	o.WorkerStopTimeout = 5 * time.Second
	w := worker.New(c, r.taskQueue, o)
	if !o.DisableWorkflowWorker {
		for _, f := range []any{FanOut, HoldOut, Texts, Pipelines, Pipeline, Chains, Chain, Empty} {
			w.RegisterWorkflow(f)
		}
	}
	if !o.LocalActivityWorkerOnly {
		w.RegisterActivity(r.steps)
	}
	if err := w.Start(); err != nil {
		return fmt.Errorf("worker on task queue %s does not start: %w", r.taskQueue, err)
	}
	r.running = append(r.running, w)
	return nil
}

// pluginOptions are Slipstream's defaults, apart from what must be said.
func (l *lab) pluginOptions(concurrency int) plugin.Options {
	var steps *Steps
	return plugin.Options{
		RedisURL:    l.stack.RedisURL(),
		KeyPrefix:   l.prefix,
		Marks:       []plugin.Mark{{Activity: steps.Step}, {Activity: steps.Next}, {Activity: steps.Text}, {Activity: steps.Hold}},
		Concurrency: concurrency,
	}
}

// warmUp runs a few steps, so that connections, caches and scripts are there when the clock starts.
func (r *rig) warmUp(ctx context.Context, l *lab) error {
	const runs, width = 4, 25
	return l.runWorkflows(ctx, r.taskQueue, runs, runs, func(k int) workflowCall {
		return workflowCall{FanOut, []any{warmUp + k*width, width, time.Duration(0)}, width}
	}, func() {}).err()
}

// stop stops the workers, waits for them and closes their connections.
func (r *rig) stop() error {
	for _, w := range r.running {
		w.Stop()
	}
	for _, c := range r.clients {
		c.Close()
	}
	var errs []error
	for _, p := range r.plugins {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
