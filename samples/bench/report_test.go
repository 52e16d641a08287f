package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// example is a case of two variants: Slipstream takes 2 s and a bit, plain ten times that.
func example(s suite) *caseReport {
	b := &benchCase{
		name: "example", about: aboutFanOut, floor: func(size) float64 { return 2 },
		variants: []variant{{name: slipstream}, {name: plain}},
		targets: []target{
			{figure: wallTime, variant: slipstream, against: theFloor, bound: atMost, limit: 1.1},
			{figure: rate, variant: slipstream, against: plain, bound: atLeast, limit: 20},
			{figure: wallTime, variant: slipstream, bound: atMost, limit: 2.1},
			{figure: eventsPerTask, variant: plain},
			{figure: rate, variant: slipstream, against: rawRedis, bound: atLeast, limit: 1},
		},
	}
	c := newCaseReport(b, size{Reps: 3, Steps: 1000, Workflows: 1, Workers: 5, Concurrency: 1000, StepMillis: 2000})
	for _, wall := range []float64{2.1, 2.3, 2.05} {
		c.add(&sample{Variant: slipstream, Tasks: 1000, WallSeconds: wall, Latency: latencyOf([]float64{1, 2, 3})}, nil)
		lost := &sample{Variant: plain, Tasks: 1000, WallSeconds: 10 * wall, Retried: 1, Latency: latencyOf([]float64{10, 20, 30})}
		lost.History.Events = 3400
		lost.Concurrency = &timeline{Seconds: []float64{0, 1, 2}, Running: []int{0, 9, 0}}
		c.add(lost, nil)
	}
	c.judge(b, s)
	return c
}

func TestRowsCompareMediansWithLimits(t *testing.T) {
	rows := example(full).Rows
	require.Len(t, rows, 5)
	require.Equal(t, summary{2.1, 2.05, 2.3}, rows[0].Measured)
	require.InDelta(t, 1.05, rows[0].Ratio, 1e-9)
	require.Equal(t, met, rows[0].Verdict)

	require.InDelta(t, 10, rows[1].Ratio, 1e-9)
	require.Equal(t, missed, rows[1].Verdict)
	require.InDelta(t, 0.5, rows[1].MissedBy, 1e-9)
	require.Equal(t, "missed by 50.0 %", rows[1].verdict())

	require.Equal(t, met, rows[2].Verdict, "exactly the limit is met")
	require.Equal(t, notJudged, rows[3].Verdict, "there is no limit")
	require.Equal(t, notMeasured, rows[4].Verdict, "nobody ran that variant")

	for _, r := range example(seed).Rows[:4] {
		require.Equal(t, notJudged, r.Verdict, "the seed suite is too small")
	}
	require.Equal(t, 2, (&report{Cases: []*caseReport{example(full)}}).missed())
}

func TestAFailedRepetitionIsAProblem(t *testing.T) {
	c := example(full)
	require.False(t, (&report{Cases: []*caseReport{c}}).failed())
	c.add(nil, os.ErrDeadlineExceeded)
	require.True(t, (&report{Cases: []*caseReport{c}}).failed())
	require.Contains(t, printed(t, c), os.ErrDeadlineExceeded.Error())
}

func TestTable(t *testing.T) {
	table := printed(t, example(full))
	for _, want := range []string{
		"slipstream: wall time", "2.10 s [2.05 - 2.30]", "floor 2.00 s", "1.05 x", "<= 1.10 x floor", "met",
		"plain 47.6 /s [43.5 - 48.8]", ">= 20.0 x plain", "missed by 50.0 %", "not measured",
		"example, plain: the server lost 1 attempt on the way to the worker; the time-out is in the wall time of 21.0 s",
		"2 targets missed",
	} {
		require.Contains(t, table, want)
	}
}

func TestHTMLIsOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.html")
	c := example(full)
	c.Problems = []string{"<script>a problem</script>"}
	require.NoError(t, writeHTML(path, &report{Versions: map[string]string{"go": "1"}, Cases: []*caseReport{c}}))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	html := string(raw)
	require.Equal(t, 2, strings.Count(html, "<svg"), "concurrency and latency")
	require.Contains(t, html, "missed by 50.0 %")
	require.Contains(t, html, "&lt;script&gt;a problem")
	require.Empty(t, regexp.MustCompile(`(src|href)="[^#]|url\(|@import|<script`).FindAllString(html, -1), "it needs another file")
}

func TestGrowthIsPlotted(t *testing.T) {
	c := &caseReport{PlotsGrowth: true}
	for _, n := range []int{100, 10, 1000} {
		c.Samples = append(c.Samples, &sample{Variant: times(n), Tasks: n, WallSeconds: float64(n) / 100})
	}
	plots, err := c.plots()
	require.NoError(t, err)
	require.Len(t, plots, 1)
	require.Contains(t, string(plots[0]), "Wall time by number of steps")
}

func TestJSONHasEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	require.NoError(t, writeJSON(path, &report{Cases: []*caseReport{example(full)}}))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var back report
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Len(t, back.Cases[0].Samples, 6)
	require.Equal(t, example(full).Rows, back.Cases[0].Rows)
	require.Equal(t, summary{2.1, 2.05, 2.3}, back.Cases[0].Summaries[slipstream][wallTime.name])
}

func TestDigits(t *testing.T) {
	for want, v := range map[string]float64{
		"0.00": 0, "0.0123": 0.01234, "0.12": 0.1234, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "1,234": 1234.4, "1,234,567": 1234567,
	} {
		require.Equal(t, want, digits(v))
	}
}

func printed(t *testing.T, cases ...*caseReport) string {
	t.Helper()
	var out strings.Builder
	printReport(&out, &report{Cases: cases})
	return out.String()
}
