package main

import (
	"context"
	"slices"
)

// A benchCase measures one thing in several variants, one of which is Slipstream.
type benchCase struct {
	name  string
	about func(size) string
	sizes map[suite]size
	// latencyOf says what takes the time that is in a sample's latency. Empty: the way of a step from being scheduled to the
	// start of its handler.
	latencyOf string
	// floor is the least time that the work can take, in seconds: arithmetic. nil: there is none.
	floor    func(size) float64
	variants []variant
	targets  []target
	// plotsGrowth: the variants are one series of growing size.
	plotsGrowth bool
}

// size is how big a case is in a suite. What a case has no use for is 0.
type size struct {
	Reps        int `json:"repetitions"`
	Steps       int `json:"steps,omitempty"`       // of the Slipstream variant
	PlainSteps  int `json:"plain_steps,omitempty"` // of the plain one, which is slow; rates are compared
	Workflows   int `json:"workflows,omitempty"`   // that the steps are spread over
	Handled     int `json:"handled,omitempty"`     // of the steps, where most are left waiting
	Open        int `json:"open,omitempty"`        // workflows at a time
	Workers     int `json:"workers,omitempty"`     // executors, in the Slipstream variant
	Concurrency int `json:"concurrency,omitempty"` // steps at a time in each worker
	StepMillis  int `json:"step_millis,omitempty"` // how long a step takes
	Seconds     int `json:"seconds,omitempty"`     // how long to look
}

// variant is one way to do a case's work. run makes one repetition.
type variant struct {
	name string
	run  func(ctx context.Context, l *lab, s size) (*sample, error)
}

// Variants that several cases have.
const (
	slipstream = "slipstream"
	chained    = "chain"
	plain      = "plain"
	empty      = "empty workflow"
	rawRedis   = "raw redis"
)

func (b *benchCase) variant(name string) *variant {
	i := slices.IndexFunc(b.variants, func(v variant) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return &b.variants[i]
}

// target is a row of the report: a figure of a variant, perhaps compared with that of another or with the floor, and
// perhaps with a limit to keep.
type target struct {
	figure  figure
	variant string
	against string // a variant, theFloor, or empty: the figure stands alone
	// The figure, or its ratio to the other, must be at most or at least limit; with neither the row only informs.
	bound bound
	limit float64
}

// theFloor is what a target names to be compared with its case's floor.
const theFloor = "floor"

type bound string

const (
	atMost  bound = "<="
	atLeast bound = ">="
)

func caseNames(cases []*benchCase) []string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name
	}
	return names
}

// allCases are in the order of docs/benchmarks.md.
func allCases() []*benchCase {
	return []*benchCase{
		slow1k(), slow10k(), mid90k(), echo10k(), echo100k(),
		pipelines20k(), pipelineWorkflows(), oneAtATime(),
		queueCore(), wideMemory(), backlog(), historyCost(),
		scaling(), secondExecutor(), idle(),
	}
}
