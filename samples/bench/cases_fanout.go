package main

import (
	"context"
	"fmt"
	"time"
)

func slow1k() *benchCase {
	return &benchCase{
		name: "slow-1k", about: aboutFanOut, floor: fanOutFloor,
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 100, PlainSteps: 100, Workflows: 1, Workers: 2, Concurrency: 50, StepMillis: 100},
			quick: {Reps: 2, Steps: 1000, PlainSteps: 1000, Workflows: 1, Workers: 5, Concurrency: 1000, StepMillis: 2000},
			full:  {Reps: 5, Steps: 1000, PlainSteps: 1000, Workflows: 1, Workers: 5, Concurrency: 1000, StepMillis: 2000},
		},
		variants: []variant{fanOutRouted, fanOutPlain},
		targets: []target{
			{figure: wallTime, variant: slipstream, against: theFloor, bound: atMost, limit: 1.10},
			{figure: wallTime, variant: plain, against: theFloor},
		},
	}
}

func slow10k() *benchCase {
	return &benchCase{
		name: "slow-10k", about: aboutFanOut, floor: fanOutFloor,
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 200, PlainSteps: 100, Workflows: 4, Workers: 2, Concurrency: 50, StepMillis: 100},
			quick: {Reps: 1, Steps: 10_000, PlainSteps: 10_000, Workflows: 10, Workers: 5, Concurrency: 1000, StepMillis: 2000},
			full:  {Reps: 3, Steps: 10_000, PlainSteps: 10_000, Workflows: 10, Workers: 5, Concurrency: 1000, StepMillis: 2000},
		},
		variants: []variant{fanOutRouted, fanOutPlain},
		targets: []target{
			{figure: wallTime, variant: slipstream, against: theFloor, bound: atMost, limit: 1.10},
			{figure: rate, variant: slipstream, against: plain, bound: atLeast, limit: 14},
		},
	}
}

func mid90k() *benchCase {
	return &benchCase{
		name: "mid-90k", about: aboutFanOut, floor: fanOutFloor,
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 900, Workflows: 9, Workers: 2, Concurrency: 50, StepMillis: 20},
			quick: {Reps: 2, Steps: 90_000, Workflows: 90, Workers: 5, Concurrency: 1000, StepMillis: 200},
			full:  {Reps: 5, Steps: 90_000, Workflows: 90, Workers: 5, Concurrency: 1000, StepMillis: 200},
		},
		variants: []variant{fanOutRouted},
		targets: []target{
			{figure: wallTime, variant: slipstream, against: theFloor, bound: atMost, limit: 1.30},
		},
	}
}

func echo10k() *benchCase {
	return &benchCase{
		name: "echo-10k", about: aboutFanOut,
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 200, PlainSteps: 100, Workflows: 4, Workers: 2, Concurrency: 1000},
			quick: {Reps: 1, Steps: 10_000, PlainSteps: 10_000, Workflows: 10, Workers: 5, Concurrency: 1000},
			full:  {Reps: 3, Steps: 10_000, PlainSteps: 10_000, Workflows: 10, Workers: 5, Concurrency: 1000},
		},
		variants: []variant{fanOutRouted, fanOutPlain},
		targets: []target{
			{figure: rate, variant: slipstream, against: plain, bound: atLeast, limit: 100},
			{figure: redisPerTask, variant: slipstream},
			{figure: eventsPerTask, variant: slipstream, against: plain},
		},
	}
}

func echo100k() *benchCase {
	const wantedRate, wantedWhereRawIs = 40_000.0, 170_000.0
	return &benchCase{
		name: "echo-100k", about: aboutFanOut,
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 500, Workflows: 10, Workers: 5, Concurrency: 1000},
			quick: {Reps: 3, Steps: 100_000, Workflows: 10, Workers: 5, Concurrency: 1000},
			full:  {Reps: 5, Steps: 100_000, Workflows: 10, Workers: 5, Concurrency: 1000},
		},
		variants: []variant{fanOutRouted, rawQueue},
		targets: []target{
			{figure: rate, variant: slipstream, against: rawRedis, bound: atLeast, limit: wantedRate / wantedWhereRawIs},
			{figure: redisPerTask, variant: slipstream},
		},
	}
}

var (
	fanOutRouted = variant{slipstream, func(ctx context.Context, l *lab, s size) (*sample, error) {
		return l.runLoad(ctx, s.rig(true), fanOutLoad(s, s.Steps))
	}}
	fanOutPlain = variant{plain, func(ctx context.Context, l *lab, s size) (*sample, error) {
		return l.runLoad(ctx, s.rig(false), fanOutLoad(s, s.PlainSteps))
	}}
)

// rig are the workers of a size: the same number with the same limits, whether routed or not.
func (s size) rig(routed bool) rigOptions {
	return rigOptions{routed: routed, workers: s.Workers, concurrency: s.Concurrency}
}

// fanOutLoad has workflows of the size's width, for so many steps: what a plain step costs depends on how many its workflow
// has open, so fewer steps means fewer workflows, not narrower ones.
func fanOutLoad(s size, steps int) load {
	width, takes := s.Steps/s.Workflows, s.step()
	runs := steps / width
	return load{steps: width * runs, runs: runs, call: func(run int) workflowCall {
		return workflowCall{FanOut, []any{run * width, width, takes}, width}
	}}
}

func (s size) step() time.Duration { return time.Duration(s.StepMillis) * time.Millisecond }

// fanOutFloor is what the steps take if nothing else takes time: whole rounds of as many as may run at a time.
func fanOutFloor(s size) float64 {
	atATime := s.Workers * s.Concurrency
	rounds := (s.Steps + atATime - 1) / atATime
	return (time.Duration(rounds) * s.step()).Seconds()
}

func aboutFanOut(s size) string {
	what := "no-op steps"
	if s.StepMillis > 0 {
		what = fmt.Sprintf("steps of %s", s.step())
	}
	return fmt.Sprintf("%s %s from %s, %d x %s at a time", count(s.Steps), what, plural(s.Workflows, "workflow"), s.Workers, count(s.Concurrency))
}
