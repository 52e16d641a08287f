package main

import (
	"cmp"
	"fmt"
	"strings"
)

// report is what -json writes: enough to repeat the run and to compare it with another.
type report struct {
	Started       string            `json:"started"`
	Configuration configuration     `json:"configuration"`
	Versions      map[string]string `json:"versions"`
	CPUs          int               `json:"cpus"`
	Stack         string            `json:"stack"`
	Cases         []*caseReport     `json:"cases"`
}

// configuration leaves out addresses: a report is for showing around.
type configuration struct {
	Suite    suite    `json:"suite"`
	Cases    []string `json:"cases"`
	Variants []string `json:"variants,omitempty"` // empty: all
	// Settings of all workers.
	WorkflowPollers int `json:"workflow_pollers"`
	ActivityPollers int `json:"activity_pollers"`
	WorkflowTasks   int `json:"workflow_tasks"`
}

func newConfiguration(c config) configuration {
	return configuration{
		Suite: c.suite, Cases: caseNames(c.cases), Variants: c.variants,
		WorkflowPollers: workflowPollers, ActivityPollers: activityPollers, WorkflowTasks: workflowTasks,
	}
}

// caseReport is what became of one case.
type caseReport struct {
	Name         string   `json:"name"`
	About        string   `json:"about"`
	Size         size     `json:"size"`
	LatencyOf    string   `json:"latency_of"`
	FloorSeconds float64  `json:"floor_seconds,omitempty"`
	Rows         []row    `json:"rows"`
	Problems     []string `json:"problems"` // empty: every repetition was right
	// Summaries are of what all cases measure, by variant and figure. A step is a workflow where those are counted.
	Summaries   map[string]map[string]summary `json:"summaries"`
	Samples     []*sample                     `json:"samples"` // in the order in which they were taken
	PlotsGrowth bool                          `json:"plots_growth,omitempty"`
}

// row is a target and how it was met.
type row struct {
	Variant  string  `json:"variant"`
	Figure   string  `json:"figure"`
	Unit     unit    `json:"unit,omitempty"`
	Measured summary `json:"measured"`
	// Against is what the figure is compared with, and Other its value there; empty if the figure stands alone.
	Against string   `json:"against,omitempty"`
	Other   *summary `json:"other,omitempty"`
	// Ratio is that of the medians.
	Ratio   float64 `json:"ratio,omitempty"`
	Bound   bound   `json:"bound,omitempty"` // empty: there is no target
	Limit   float64 `json:"limit,omitempty"`
	Verdict verdict `json:"verdict"`
	// MissedBy is the distance to the limit, as a share of it; 0 if it was met.
	MissedBy float64 `json:"missed_by,omitempty"`
}

type verdict string

const (
	met         verdict = "met"
	missed      verdict = "missed"
	notJudged   verdict = "-"            // no target, or a suite that is too small for it
	notMeasured verdict = "not measured" // a variant was not run, or failed
)

func newCaseReport(b *benchCase, s size) *caseReport {
	c := &caseReport{
		Name: b.name, About: b.about(s), Size: s, Problems: []string{}, PlotsGrowth: b.plotsGrowth,
		LatencyOf: cmp.Or(b.latencyOf, "schedule to start"),
	}
	if b.floor != nil {
		c.FloorSeconds = b.floor(s)
	}
	return c
}

// add takes a repetition, or the reason why there is none.
func (c *caseReport) add(s *sample, err error) {
	if err != nil {
		c.Problems = append(c.Problems, err.Error())
		return
	}
	c.Samples = append(c.Samples, s)
}

// summary is the figure's over all repetitions of a variant; false if there are none.
func (c *caseReport) summary(f figure, variant string) (summary, bool) {
	var values []float64
	for _, s := range c.Samples {
		if s.Variant == variant {
			values = append(values, f.of(s))
		}
	}
	return summarize(values), len(values) > 0
}

// judge fills in summaries and rows. The seed suite is too small to tell anything.
func (c *caseReport) judge(b *benchCase, s suite) {
	c.Summaries = map[string]map[string]summary{}
	for _, v := range c.variants() {
		c.Summaries[v] = map[string]summary{}
		for _, f := range commonFigures {
			c.Summaries[v][f.name], _ = c.summary(f, v)
		}
	}
	for _, t := range b.targets {
		c.Rows = append(c.Rows, c.row(t, s != seed))
	}
}

func (c *caseReport) row(t target, judged bool) row {
	r := row{Variant: t.variant, Figure: t.figure.name, Unit: t.figure.unit, Against: t.against, Bound: t.bound, Limit: t.limit, Verdict: notJudged}
	measured, ok := c.summary(t.figure, t.variant)
	if !ok {
		r.Verdict = notMeasured
		return r
	}
	r.Measured = measured
	reached := measured.Median
	if t.against != "" {
		other, ok := summary{c.FloorSeconds, c.FloorSeconds, c.FloorSeconds}, true
		if t.against != theFloor {
			other, ok = c.summary(t.figure, t.against)
		}
		if !ok || other.Median == 0 {
			r.Verdict = notMeasured
			return r
		}
		r.Other, r.Ratio = &other, measured.Median/other.Median
		reached = r.Ratio
	}
	if t.bound != "" && judged {
		r.Verdict, r.MissedBy = t.bound.judge(reached, t.limit)
	}
	return r
}

// judge compares with a limit, and says by which share of it that is missed.
func (b bound) judge(reached, limit float64) (verdict, float64) {
	short := reached - limit
	if b == atLeast {
		short = limit - reached
	}
	if short <= 0 {
		return met, 0
	}
	return missed, short / limit
}

// failed tells whether a case had problems.
func (r *report) failed() bool {
	for _, c := range r.Cases {
		if len(c.Problems) > 0 {
			return true
		}
	}
	return false
}

// missed counts the targets that were not met, those that could not be measured included.
func (r *report) missed() int {
	n := 0
	for _, c := range r.Cases {
		for _, row := range c.Rows {
			if row.Verdict == missed || (row.Verdict == notMeasured && row.Bound != "") {
				n++
			}
		}
	}
	return n
}

// remarks are what a reader of the figures must know, beside problems.
func (c *caseReport) remarks() []string {
	var remarks []string
	for _, s := range c.Samples {
		if s.Retried > 0 {
			remarks = append(remarks, fmt.Sprintf("%s, %s: the server lost %s on the way to the worker; the time-out is in the wall time of %s s",
				c.Name, s.Variant, plural(s.Retried, "attempt"), digits(s.WallSeconds)))
		}
	}
	return remarks
}

// variants are those that have samples, in their order.
func (c *caseReport) variants() []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range c.Samples {
		if !seen[s.Variant] {
			seen[s.Variant] = true
			names = append(names, s.Variant)
		}
	}
	return names
}

// title is how a variant's figure is called.
func (r row) title() string { return strings.TrimSpace(r.Variant + ": " + r.Figure) }
