package main

import (
	"errors"
	"fmt"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

// figures are what one mode's run measured.
type figures struct {
	Mode           mode           `json:"mode"`
	Sentences      int            `json:"sentences"`
	Steps          int            `json:"steps"` // that succeeded
	WallSeconds    float64        `json:"wall_seconds"`
	StepsPerSecond float64        `json:"steps_per_second"`
	History        history.Counts `json:"history"`
	EventsPerStep  float64        `json:"history_events_per_step"`
	Failed         int            `json:"failed_sentences"` // a step or the whole workflow failed
	Lost           int            `json:"lost_sentences"`   // the workflow completed without a word on them
	FirstFailure   string         `json:"first_failure,omitempty"`
}

// measure takes the figures from a run and its histories.
func measure(r *result, h history.Counts) figures {
	f := figures{Mode: r.mode, Sentences: len(r.sentences), WallSeconds: r.wall.Seconds(), History: h}
	failed := make([]bool, len(r.sentences)) // with their whole workflow
	for _, w := range r.workflows {
		if w.err == nil {
			continue
		}
		f.fail(w.err)
		for i := w.first; i < w.end; i++ {
			failed[i] = true
		}
	}
	for i, t := range r.translations {
		f.Steps += t.steps()
		switch {
		case t.Error != "":
			f.Failed++
			f.fail(fmt.Errorf("sentence %d: %s", i+1, t.Error))
		case failed[i]:
			f.Failed++
		case t.steps() < stepsPerSentence:
			f.Lost++
			f.fail(fmt.Errorf("sentence %d has no result and no error", i+1))
		}
	}
	if f.WallSeconds > 0 {
		f.StepsPerSecond = float64(f.Steps) / f.WallSeconds
	}
	if f.Steps > 0 {
		f.EventsPerStep = float64(h.Events) / float64(f.Steps)
	}
	return f
}

func (f *figures) fail(err error) {
	if f.FirstFailure == "" {
		f.FirstFailure = err.Error()
	}
}

// problems are the reasons not to trust the run.
func (f figures) problems() []error {
	var problems []error
	if f.Failed > 0 {
		problems = append(problems, fmt.Errorf("%s: %d of %d sentences failed; the first: %s", f.Mode, f.Failed, f.Sentences, f.FirstFailure))
	}
	if f.Lost > 0 {
		problems = append(problems, fmt.Errorf("%s: %d of %d sentences were lost; the first: %s", f.Mode, f.Lost, f.Sentences, f.FirstFailure))
	}
	if f.Mode == slipstream && f.History.ActivitiesScheduled > 0 {
		problems = append(problems, fmt.Errorf("slipstream: %d steps ran as plain Temporal activities instead of through the queue", f.History.ActivitiesScheduled))
	}
	return problems
}

// compare checks that two runs agree on the sentences that both had, and returns how many those are.
func compare(a, b *result) (common int, err error) {
	common = min(len(a.translations), len(b.translations))
	differ, first := 0, -1
	for i := range common {
		if a.sentences[i] != b.sentences[i] || a.translations[i] != b.translations[i] {
			if differ++; first < 0 {
				first = i
			}
		}
	}
	if differ == 0 {
		return common, nil
	}
	return common, errors.Join(
		fmt.Errorf("%d of %d sentences came out differently; the first is sentence %d, %q", differ, common, first+1, a.sentences[first]),
		fmt.Errorf("  %s: %+v", a.mode, a.translations[first]),
		fmt.Errorf("  %s: %+v", b.mode, b.translations[first]),
	)
}
