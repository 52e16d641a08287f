package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// reportMode lets others read a report, as any output.
const reportMode = 0o644

// jsonReport is what -json writes: enough to repeat the run and to compare it with another.
type jsonReport struct {
	Configuration jsonConfig        `json:"configuration"`
	Versions      map[string]string `json:"versions"`
	CPUs          int               `json:"cpus"`
	Stack         string            `json:"stack"`
	Runs          []figures         `json:"runs"`
	SpeedUp       float64           `json:"speed_up,omitempty"` // slipstream's steps/s over standard's
	Compared      int               `json:"compared_sentences"`
	Problems      []string          `json:"problems"` // empty: the run passed
}

// jsonConfig leaves out addresses and keys: a report is for showing around.
type jsonConfig struct {
	Mode        mode   `json:"mode"`
	N           int    `json:"n"`
	StandardN   int    `json:"standard_n"`
	PerWorkflow int    `json:"per_workflow"`
	Input       string `json:"input,omitempty"`
	Workers     int    `json:"workers"`
	Concurrency int    `json:"concurrency"`
	Translator  string `json:"translator"`
	Latency     string `json:"latency"`
}

func newJSONReport(c config, o *outcome) jsonReport {
	report := jsonReport{
		Configuration: jsonConfig{
			Mode: c.mode, N: c.n, StandardN: c.standardN, PerWorkflow: c.perWorkflow, Input: c.input,
			Workers: c.workers, Concurrency: c.concurrency, Translator: c.translator, Latency: c.latency.String(),
		},
		Versions: o.versions,
		CPUs:     runtime.NumCPU(),
		Stack:    o.stack,
		Runs:     o.figures,
		Compared: o.compared,
		Problems: []string{},
	}
	if len(o.figures) == 2 && o.figures[0].StepsPerSecond > 0 {
		report.SpeedUp = o.figures[1].StepsPerSecond / o.figures[0].StepsPerSecond
	}
	for _, p := range o.problems {
		report.Problems = append(report.Problems, p.Error())
	}
	return report
}

// checkWritable finds out before the run whether its report can be written.
func checkWritable(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, reportMode)
	if err != nil {
		return fmt.Errorf("-json cannot be written: %w; name a file in a folder that exists", err)
	}
	return file.Close()
}

func writeJSON(path string, report jsonReport) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), reportMode); err != nil {
		return fmt.Errorf("-json cannot be written: %w", err)
	}
	return nil
}
