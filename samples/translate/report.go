package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// shownResults is how many translations are printed.
const shownResults = 10

// printFigures prints the runs side by side, with the speed-up over the first one.
func printFigures(out io.Writer, runs []figures) {
	t := newTable(out)
	header := table.Row{""}
	for _, f := range runs {
		header = append(header, string(f.Mode))
	}
	t.AppendHeader(header)
	row := func(name string, value func(figures) string) {
		cells := table.Row{name}
		for _, f := range runs {
			cells = append(cells, value(f))
		}
		t.AppendRow(cells)
	}
	row("sentences", func(f figures) string { return count(f.Sentences) })
	row("steps", func(f figures) string { return count(f.Steps) })
	row("wall time", func(f figures) string { return seconds(f.WallSeconds) })
	row("steps/s", func(f figures) string { return count(int(f.StepsPerSecond + 0.5)) })
	row("speed-up (steps/s)", func(f figures) string { return speedUp(runs[0], f) })
	row("workflows", func(f figures) string { return count(f.History.Workflows) })
	row("Temporal activities scheduled", func(f figures) string { return count(f.History.ActivitiesScheduled) })
	row("signals", func(f figures) string { return count(f.History.Signals) })
	row("history events per step", func(f figures) string { return strconv.FormatFloat(f.EventsPerStep, 'f', 3, 64) })
	row("failures", func(f figures) string { return count(f.Failed + f.Lost) })
	t.SetColumnConfigs(rightAligned(len(runs)))
	t.Render()
}

func rightAligned(columns int) []table.ColumnConfig {
	configs := make([]table.ColumnConfig, columns)
	for i := range configs {
		configs[i] = table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight}
	}
	return configs
}

// printTranslations prints the first few sentences and what became of them.
func printTranslations(out io.Writer, r *result) {
	t := newTable(out)
	t.AppendHeader(table.Row{"sentence", "Spanish", "back", "letters"})
	for i, translation := range r.translations[:min(shownResults, len(r.translations))] {
		if translation.Error != "" {
			t.AppendRow(table.Row{r.sentences[i], translation.Spanish, "failed: " + translation.Error, ""})
			continue
		}
		t.AppendRow(table.Row{r.sentences[i], translation.Spanish, translation.English, translation.Letters})
	}
	const width = 34
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMax: width, WidthMaxEnforcer: text.WrapSoft},
		{Number: 2, WidthMax: width, WidthMaxEnforcer: text.WrapSoft},
		{Number: 3, WidthMax: width, WidthMaxEnforcer: text.WrapSoft},
		{Number: 4, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	t.Render()
}

func newTable(out io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	return t
}

// speedUp compares rates, not times: a standard run that was capped had less to do.
func speedUp(base, f figures) string {
	if base.Mode == f.Mode || base.StepsPerSecond == 0 {
		return "1"
	}
	return strconv.FormatFloat(f.StepsPerSecond/base.StepsPerSecond, 'f', 1, 64) + " x"
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
}

// count writes a number with thousands apart: 1,234,567.
func count(n int) string {
	if n < 0 {
		return "-" + count(-n)
	}
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", count(n/1000), n%1000)
}
