package main

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// resultLetters is the length of the results in the history case.
const resultLetters = 200

// bytesPerResult is the history of a workflow over the results in it, both in bytes, as the server gets them.
const bytesPerResult = "history bytes per result byte"

func historyCost() *benchCase {
	return &benchCase{
		name: "history",
		about: func(s size) string {
			return fmt.Sprintf("a fan-out of %s steps in one workflow, results of %d letters", count(s.Steps), resultLetters)
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 100, PlainSteps: 100, Workers: 1, Concurrency: 1000},
			quick: {Reps: 2, Steps: 1000, PlainSteps: 1000, Workers: 1, Concurrency: 1000},
			full:  {Reps: 5, Steps: 1000, PlainSteps: 1000, Workers: 1, Concurrency: 1000},
		},
		variants: []variant{
			{slipstream, func(ctx context.Context, l *lab, s size) (*sample, error) {
				return textsSample(ctx, l, s.rig(true), s.Steps)
			}},
			{plain, func(ctx context.Context, l *lab, s size) (*sample, error) {
				return textsSample(ctx, l, s.rig(false), s.PlainSteps)
			}},
		},
		targets: []target{
			{figure: eventsPerTask, variant: slipstream, bound: atMost, limit: 0.05},
			{figure: value(bytesPerResult, unitNone), variant: slipstream, bound: atMost, limit: 1.2},
			{figure: eventsPerTask, variant: plain},
			{figure: value(bytesPerResult, unitNone), variant: plain},
		},
	}
}

func textsSample(ctx context.Context, l *lab, o rigOptions, steps int) (*sample, error) {
	s, err := l.runLoad(ctx, o, load{steps: steps, runs: 1, call: func(int) workflowCall {
		return workflowCall{Texts, []any{0, steps, resultLetters}, steps}
	}})
	if err != nil {
		return nil, err
	}
	bytes, err := resultBytes(steps)
	if err != nil {
		return nil, err
	}
	s.Values[bytesPerResult] = float64(s.History.Bytes) / float64(bytes)
	return s, nil
}

// resultBytes is the size of all results as the data converter makes them.
func resultBytes(steps int) (n int, err error) {
	for i := range steps {
		p, convertErr := converter.GetDefaultDataConverter().ToPayload(spelled(i, resultLetters))
		n += proto.Size(p)
		err = errors.Join(err, convertErr)
	}
	return n, err
}
