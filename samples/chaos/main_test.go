package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// durationEnv is how long faults happen in TestNothingIsLost, of all kinds then; without it, it is the short form.
const durationEnv = "CHAOS_DURATION"

// TestNothingIsLost is the harness's short form. go run ./samples/chaos has the long one.
func TestNothingIsLost(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must test on a real Redis, and redis-server is not installed; run make setup")
		}
		t.Skip("redis-server is not installed: run make setup")
	}
	args := []string{"-short"}
	if d := os.Getenv(durationEnv); d != "" {
		args = []string{"-duration", d}
	}
	c, err := parseConfig(args, io.Discard)
	require.NoError(t, err)
	c.program = filepath.Join(t.TempDir(), "chaos.exe") // a test's own program is no worker
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)

	a, err := runSeed(t.Context(), c, c.seeds[0], t.Output())
	require.NoError(t, err)
	a.print(t.Output())
	require.Empty(t, a.Violations)
	require.NotEmpty(t, a.Faults)
}

func TestSameSeedSameSchedule(t *testing.T) {
	text := func(seed uint64) string {
		var b bytes.Buffer
		plan := draw(seed, kinds, 4, 0, false)
		plan.print(&b)
		require.Empty(t, plan.missing(kinds))
		for _, j := range drawJobs(seed, 100) {
			fmt.Fprintln(&b, j.in)
		}
		return b.String()
	}
	first := text(7)
	require.Equal(t, first, text(7))
	require.NotEqual(t, first, text(8))
}

func TestScheduleIsWithinItsLength(t *testing.T) {
	const length = 3 * time.Minute
	plan := draw(3, kinds, 4, length, false)
	require.NotEmpty(t, plan.faults)
	require.NotEmpty(t, plan.missing(kinds))
	for i, f := range plan.faults {
		require.Less(t, f.at+f.hold, length)
		if i > 0 && !f.storm {
			before := plan.faults[i-1]
			require.GreaterOrEqual(t, f.at, before.at+before.hold, "%s begins during %s", f, before)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"not defined: -x":      {"-x"},
		"unexpected argument":  {"go"},
		`"earthquake" is none`: {"-faults", "kill,earthquake"},
		"somebody must take":   {"-workers", "1"},
		"-seeds is not":        {"-seeds", "0"},
		"both given":           {"-seeds", "2", "-seed", "1"},
		"-duration is":         {"-duration", "-1s"},
		"-workflows is":        {"-workflows", "-1"},
	} {
		_, err := parseConfig(args, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

// history of one workflow whose one step was started as described: "process how start end", in seconds.
func historyOf(t *testing.T, j *job, strikes []*strike, starts ...string) *history {
	t.Helper()
	var events []event
	for _, s := range starts {
		var pid int
		var how byte
		var from, to float64
		_, err := fmt.Sscanf(s, "%d %c %f %f", &pid, &how, &from, &to)
		require.NoError(t, err)
		e := event{at: at(from), what: started, how: routed, attempt: int32(len(events) + 1), key: j.in.key(0), pid: pid}
		events = append(events, e)
		if how != '-' {
			e.at, e.what = at(to), how
			events = append(events, e)
		}
	}
	return newHistory([]*job{j}, strikes, events, usualPatience)
}

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }

func strikeOf(t *testing.T, name string, began float64, pids ...int) *strike {
	t.Helper()
	chosen, err := chooseKinds([]string{name})
	require.NoError(t, err)
	s := &strike{fault: fault{kind: chosen[0]}, number: 1, began: at(began), healed: at(began + 1), stopped: map[int]time.Time{}}
	for _, pid := range pids {
		s.stopped[pid] = s.began
	}
	return s
}

// Each account has one thing wrong, or none, and says so.
func TestAccountFindsWhatIsWrong(t *testing.T) {
	pipeline := func(id string) *job {
		var shape *shape
		for _, s := range shapes {
			if strings.HasPrefix(id, s.name) {
				shape = s
			}
		}
		j := &job{shape: shape, in: Input{ID: id, Value: 5, Width: 1}, begun: at(1), done: at(90)}
		j.answer.Value = shape.want(j.in, nil)
		return j
	}
	for name, c := range map[string]struct {
		job     *job
		change  func(j *job)
		strikes []*strike
		starts  []string
		want    string // in the one violation; empty: none
	}{
		"nothing":           {job: pipeline("pipeline-1"), starts: []string{"7 E 2 3"}},
		"wrong":             {job: pipeline("pipeline-1"), change: func(j *job) { j.answer.Value++ }, want: "right is"},
		"open":              {job: pipeline("pipeline-1"), change: func(j *job) { j.done = time.Time{} }, want: "did not end"},
		"failed":            {job: pipeline("pipeline-1"), change: func(j *job) { j.err = io.EOF }, want: "failed"},
		"told to fail":      {job: pipeline("pipeline-1"), starts: []string{"7 F 2 3", "7 E 4 5"}},
		"again for nothing": {job: pipeline("pipeline-1"), starts: []string{"7 E 2 3", "8 E 4 5"}, want: "no fault near"},
		"killed": {job: pipeline("pipeline-1"), strikes: []*strike{strikeOf(t, "kill", 3, 7)},
			starts: []string{"7 - 2 0", "8 E 9 10"}},
		"killed, late": {job: pipeline("pipeline-1"), strikes: []*strike{strikeOf(t, "kill", 3, 7)},
			starts: []string{"7 - 2 0", "8 E 33 34"}, want: "recovery took 30.0 s"},
		"killed, never again": {job: pipeline("pipeline-1"), strikes: []*strike{strikeOf(t, "kill", 3, 7)},
			starts: []string{"7 - 2 0"}, want: "never started again"},
		"given back, an attempt lost": {job: pipeline("pipeline-1"), strikes: []*strike{strikeOf(t, "deploy", 3, 7)},
			starts: []string{"7 X 2 4", "8 E 4.1 5"}, want: "lost an attempt"},
		"flushed, late": {job: pipeline("pipeline-1"), strikes: []*strike{strikeOf(t, "flush", 3)},
			starts: []string{"7 E 2 4", "8 E 43 44"}, want: "recovery took 40.0 s"},
		"once, twice": {job: pipeline("once-1"), strikes: []*strike{strikeOf(t, "flush", 3)},
			starts: []string{"7 E 2 4", "8 E 10 12"}, want: "may start only once"},
		"once, lost": {job: pipeline("once-1"), change: func(j *job) { j.answer, j.done = Answer{Lost: []int{0}}, at(20) },
			strikes: []*strike{strikeOf(t, "flush", 3)}, starts: []string{"7 - 2 0"}},
		"once, lost for nothing": {job: pipeline("once-1"), change: func(j *job) { j.answer = Answer{Lost: []int{0}} },
			starts: []string{"7 - 2 0"}, want: "lost with no fault near"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.job)
			}
			var violations []string
			settle(&account{}, historyOf(t, c.job, c.strikes, c.starts...), zero, func(format string, args ...any) {
				violations = append(violations, fmt.Sprintf(format, args...))
			})
			if c.want == "" {
				require.Empty(t, violations)
				return
			}
			require.Len(t, violations, 1)
			require.Contains(t, violations[0], c.want)
		})
	}
}
