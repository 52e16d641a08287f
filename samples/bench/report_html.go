package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"slices"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"spread":   func(r row) string { return r.Unit.spread(r.Measured) },
	"title":    row.title,
	"against":  row.against,
	"ratio":    row.ratio,
	"target":   row.target,
	"verdict":  row.verdict,
	"met":      func(r row) bool { return r.Verdict == met },
	"missed":   func(r row) bool { return r.Verdict == missed },
	"count":    count,
	"digits":   digits,
	"megabyte": func(n uint64) string { return digits(float64(n) / (1 << 20)) },
	"sorted": func(versions map[string]string) []string {
		var lines []string
		for what, version := range versions {
			lines = append(lines, what+" "+version)
		}
		slices.Sort(lines)
		return lines
	},
}).Parse(pageText))

// pageCase is a case with its plots.
type pageCase struct {
	*caseReport

	Plots   []template.HTML
	Remarks []string
}

// writeHTML writes the report as one file that needs no other.
func writeHTML(path string, r *report) error {
	data := struct {
		*report

		Cases []pageCase
	}{report: r}
	for _, c := range r.Cases {
		plots, err := c.plots()
		if err != nil {
			return fmt.Errorf("-html: plots of %s: %w", c.Name, err)
		}
		data.Cases = append(data.Cases, pageCase{c, plots, c.remarks()})
	}
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		return fmt.Errorf("-html: %w", err)
	}
	if err := os.WriteFile(path, b.Bytes(), reportMode); err != nil {
		return fmt.Errorf("-html cannot be written: %w", err)
	}
	return nil
}
