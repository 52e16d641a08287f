package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

var done = Translation{Spanish: "el gato", English: "the cat", Letters: 6}

func TestMeasure(t *testing.T) {
	r := &result{
		mode:      slipstream,
		sentences: make([]string, 7),
		translations: []Translation{
			done, done,
			{Spanish: "el gato", Error: "broken"}, // failed at its second step
			{},                                    // said nothing
			done,
			{}, {}, // their workflow failed
		},
		workflows: []workflowRun{{first: 0, end: 5}, {first: 5, end: 7, err: errors.New("workflow failed")}},
		wall:      2 * time.Second,
	}
	f := measure(r, history.Counts{Workflows: 2, Events: 20})
	require.Equal(t, 7, f.Sentences)
	require.Equal(t, 10, f.Steps)
	require.InDelta(t, 5, f.StepsPerSecond, 1e-9)
	require.InDelta(t, 2, f.EventsPerStep, 1e-9)
	require.Equal(t, 3, f.Failed)
	require.Equal(t, 1, f.Lost)
	problems := errors.Join(f.problems()...).Error()
	require.Contains(t, problems, "3 of 7 sentences failed")
	require.Contains(t, problems, "1 of 7 sentences were lost")
}

func TestScheduledActivitiesAreAProblemInSlipstreamModeOnly(t *testing.T) {
	counted := history.Counts{ActivitiesScheduled: 3}
	require.Empty(t, figures{Mode: standard, History: counted}.problems())
	problems := figures{Mode: slipstream, History: counted}.problems()
	require.Len(t, problems, 1)
	require.ErrorContains(t, problems[0], "3 steps ran as plain Temporal activities")
}

func TestCompare(t *testing.T) {
	run := func(m mode, translations ...Translation) *result {
		return &result{mode: m, sentences: make([]string, len(translations)), translations: translations}
	}
	common, err := compare(run(standard, done, done), run(slipstream, done, done, done))
	require.NoError(t, err)
	require.Equal(t, 2, common)

	other := done
	other.Letters++
	_, err = compare(run(standard, done, other, other), run(slipstream, done, done, done))
	require.ErrorContains(t, err, "2 of 3 sentences came out differently; the first is sentence 2")
	require.ErrorContains(t, err, "Letters:7")
}

func TestPrintFigures(t *testing.T) {
	var out bytes.Buffer
	printFigures(&out, []figures{
		{Mode: standard, Sentences: 1000, Steps: 3000, WallSeconds: 20, StepsPerSecond: 150, EventsPerStep: 3.9, History: history.Counts{ActivitiesScheduled: 3000}},
		{Mode: slipstream, Sentences: 20000, Steps: 60000, WallSeconds: 4.344, StepsPerSecond: 13812, EventsPerStep: 0.0123, History: history.Counts{Signals: 40}, Lost: 1, Failed: 2},
	})
	for _, row := range []string{
		"| sentences | 1,000 | 20,000 |",
		"| wall time | 20s | 4.34s |",
		"| steps/s | 150 | 13,812 |",
		"| speed-up (steps/s) | 1 | 92.1 x |",
		"| Temporal activities scheduled | 3,000 | 0 |",
		"| signals | 0 | 40 |",
		"| history events per step | 3.900 | 0.012 |",
		"| failures | 0 | 3 |",
	} {
		require.Contains(t, strings.Join(strings.Fields(strings.ReplaceAll(out.String(), "│", "|")), " "), row)
	}
}

func TestPrintTranslations(t *testing.T) {
	var out bytes.Buffer
	r := &result{sentences: builtinSentences(20), translations: make([]Translation, 20)}
	for i := range r.translations {
		r.translations[i] = done
	}
	r.translations[1] = Translation{Error: "no such word"}
	printTranslations(&out, r)
	require.Equal(t, shownResults-1, strings.Count(out.String(), "el gato"))
	require.Contains(t, out.String(), "failed: no such word")
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -45678: "-45,678"} {
		require.Equal(t, want, count(n))
	}
}

func TestWriteJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	o := &outcome{
		figures:  []figures{{Mode: standard, StepsPerSecond: 100}, {Mode: slipstream, StepsPerSecond: 2500}},
		problems: []error{errors.New("a problem")},
		versions: map[string]string{"go": "go1"},
		compared: 12,
	}
	c := config{mode: both, n: 20, anthropic: anthropicConfig{key: "secret"}}
	require.NoError(t, writeJSON(path, newJSONReport(c, o)))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "secret")
	var report jsonReport
	require.NoError(t, json.Unmarshal(raw, &report))
	require.InDelta(t, 25, report.SpeedUp, 1e-9)
	require.Equal(t, []string{"a problem"}, report.Problems)
	require.Equal(t, 12, report.Compared)

	require.NoError(t, checkWritable(path))
	require.ErrorContains(t, checkWritable(filepath.Join(path, "x")), "-json cannot be written")
}
