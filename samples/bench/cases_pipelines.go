package main

import (
	"context"
	"fmt"
)

func pipelines20k() *benchCase {
	return &benchCase{
		name: "pipelines-20k",
		about: func(s size) string {
			return fmt.Sprintf("%s three-step no-op pipelines inside %s", count(s.Steps/stepsPerPipeline), plural(s.Workflows, "workflow"))
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 300, PlainSteps: 60, Workflows: 10, Workers: 2, Concurrency: 1000},
			quick: {Reps: 2, Steps: 60_000, PlainSteps: 6000, Workflows: 10, Workers: 5, Concurrency: 1000},
			full:  {Reps: 3, Steps: 60_000, PlainSteps: 6000, Workflows: 10, Workers: 5, Concurrency: 1000},
		},
		variants: []variant{
			{slipstream, func(ctx context.Context, l *lab, s size) (*sample, error) {
				return l.runLoad(ctx, s.rig(true), pipelinesLoad(Pipelines, s, s.Steps))
			}},
			{chained, func(ctx context.Context, l *lab, s size) (*sample, error) {
				return l.runLoad(ctx, s.rig(true), pipelinesLoad(Chains, s, s.Steps))
			}},
			{plain, func(ctx context.Context, l *lab, s size) (*sample, error) {
				return l.runLoad(ctx, s.rig(false), pipelinesLoad(Pipelines, s, s.PlainSteps))
			}},
		},
		targets: []target{
			{figure: wallTime, variant: slipstream, bound: atMost, limit: 5},
			{figure: rate, variant: slipstream, against: plain, bound: atLeast, limit: 100},
			{figure: redisPerTask, variant: slipstream},
			{figure: rate, variant: chained, against: slipstream},
			{figure: redisPerTask, variant: chained},
			{figure: eventsPerTask, variant: chained, against: slipstream},
		},
	}
}

// pipelinesLoad spreads the pipelines that make up so many steps evenly over the workflows of the size.
func pipelinesLoad(workflow any, s size, steps int) load {
	each := steps / stepsPerPipeline / s.Workflows
	width := each * stepsPerPipeline
	return load{steps: width * s.Workflows, runs: s.Workflows, call: func(run int) workflowCall {
		return workflowCall{workflow, []any{run * width, each}, width}
	}}
}

func pipelineWorkflows() *benchCase {
	return &benchCase{
		name: "pipeline-wf",
		about: func(s size) string {
			return fmt.Sprintf("%s workflows of one three-step no-op pipeline each, %d in flight", count(s.Workflows), s.Open)
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Workflows: 40, Open: 20, Workers: 1, Concurrency: 1000},
			quick: {Reps: 3, Workflows: 400, Open: 20, Workers: 1, Concurrency: 1000},
			full:  {Reps: 5, Workflows: 1500, Open: 20, Workers: 1, Concurrency: 1000},
		},
		latencyOf: "a workflow",
		variants: []variant{
			workflowVariant(empty, Empty, false, 0),
			workflowVariant(slipstream, Pipeline, true, stepsPerPipeline),
			workflowVariant(chained, Chain, true, stepsPerPipeline),
			workflowVariant(plain, Pipeline, false, stepsPerPipeline),
		},
		targets: []target{
			{figure: rate, variant: slipstream, against: empty, bound: atLeast, limit: 0.85},
			{figure: rate, variant: slipstream, against: plain, bound: atLeast, limit: 2},
			{figure: redisPerRun, variant: slipstream},
			{figure: rate, variant: chained, against: slipstream},
			{figure: redisPerRun, variant: chained},
		},
	}
}

func oneAtATime() *benchCase {
	const oneStep, plainOneStep = "slipstream 1 step", "plain 1 step"
	return &benchCase{
		name: "latency",
		about: func(s size) string {
			return fmt.Sprintf("one workflow at a time on an idle system, %s of three no-op steps (or one, or none)", count(s.Workflows))
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Workflows: 10, Open: 1, Workers: 1, Concurrency: 1000},
			quick: {Reps: 3, Workflows: 100, Open: 1, Workers: 1, Concurrency: 1000},
			full:  {Reps: 5, Workflows: 500, Open: 1, Workers: 1, Concurrency: 1000},
		},
		latencyOf: "a workflow",
		variants: []variant{
			workflowVariant(empty, Empty, false, 0),
			workflowVariant(slipstream, Pipeline, true, stepsPerPipeline),
			workflowVariant(chained, Chain, true, stepsPerPipeline),
			workflowVariant(plain, Pipeline, false, stepsPerPipeline),
			workflowVariant(oneStep, Pipeline, true, 1),
			workflowVariant(plainOneStep, Pipeline, false, 1),
		},
		targets: []target{
			{figure: p50, variant: slipstream, against: empty, bound: atMost, limit: 1.5},
			{figure: p50, variant: slipstream, against: plain, bound: atMost, limit: 0.4},
			{figure: p99, variant: slipstream, against: plain},
			{figure: p50, variant: chained, against: slipstream},
			{figure: p50, variant: oneStep, against: empty},
			{figure: p50, variant: oneStep, against: plainOneStep},
			{figure: p99, variant: oneStep, against: plainOneStep},
		},
	}
}

// workflowVariant runs workflows of so many steps, one after the other, and counts and times the workflows.
func workflowVariant(name string, workflow any, routed bool, steps int) variant {
	return variant{name, func(ctx context.Context, l *lab, s size) (*sample, error) {
		return l.runLoad(ctx, s.rig(routed), load{
			steps: steps * s.Workflows, runs: s.Workflows, open: s.Open, perWorkflow: true,
			call: func(run int) workflowCall {
				if steps == 0 {
					return workflowCall{workflow: workflow}
				}
				return workflowCall{workflow, []any{run * steps, steps}, steps}
			},
		})
	}}
}
