package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// printReport prints a table of all targets, and what went wrong.
func printReport(out io.Writer, r *report) {
	if len(r.Cases) == 0 {
		return
	}
	fmt.Fprintf(out, "%s\n%d CPUs, suite %s; median [least - most] of the repetitions\n", r.Stack, r.CPUs, r.Configuration.Suite)
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.SeparateRows = false
	t.AppendHeader(table.Row{"case", "measured", "", "against", "ratio", "target", ""})
	for i, c := range r.Cases {
		if i > 0 {
			t.AppendSeparator()
		}
		for k, row := range c.Rows {
			name := ""
			if k == 0 {
				name = c.Name
			}
			t.AppendRow(table.Row{name, row.title(), row.Unit.spread(row.Measured), row.against(), row.ratio(), row.target(), row.verdict()})
		}
		if len(c.Problems) > 0 {
			t.AppendRow(table.Row{"", fmt.Sprintf("FAILED: %s, below", plural(len(c.Problems), "problem"))})
		}
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 5, Align: text.AlignRight}})
	t.Render()
	for _, c := range r.Cases {
		for _, p := range append(c.remarks(), c.Problems...) {
			fmt.Fprintln(out, p)
		}
	}
	if n := r.missed(); n > 0 {
		fmt.Fprintf(out, "%s missed or not measured\n", plural(n, "target"))
	}
}

// printCases lists the cases with their variants and targets.
func printCases(out io.Writer) {
	for _, b := range allCases() {
		fmt.Fprintf(out, "%s: %s\n", b.name, b.about(b.sizes[full]))
		for _, v := range b.variants {
			fmt.Fprintf(out, "  variant %s\n", v.name)
		}
		for _, t := range b.targets {
			if t.bound != "" {
				r := row{Variant: t.variant, Figure: t.figure.name, Unit: t.figure.unit, Against: t.against, Bound: t.bound, Limit: t.limit}
				fmt.Fprintf(out, "  target  %s %s\n", r.title(), r.target())
			}
		}
	}
}
