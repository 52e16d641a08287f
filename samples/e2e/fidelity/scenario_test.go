package fidelity

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scenario is one thing that a routed step must do as a plain activity does it.
type scenario struct {
	name string
	// play says what happens. It is called once per mode.
	play func(p *play)
	// differs holds the notes that are not the same in both modes, by key, with the reason.
	differs map[string]string
	// staysPlain: these calls are never routed, by rule.
	staysPlain bool
	// sendsNothing: a routed play need not dispatch anything, and a plain one need not schedule anything.
	sendsNothing bool
}

// groups are all scenarios, by subject.
var groups = []struct {
	name      string
	scenarios []scenario
}{
	{"errors", errorScenarios},
	{"retries", retryScenarios},
	{"timeouts", timeoutScenarios},
	{"information", infoScenarios},
	{"telemetry", telemetryScenarios},
	{"data", dataScenarios},
	{"converters", converterScenarios},
	{"interceptors", interceptorScenarios},
	{"context", contextScenarios},
	{"tracing", tracingScenarios},
	{"encryption", encryptionScenarios},
	{"heartbeats", heartbeatScenarios},
	{"cancellations", cancelScenarios},
	{"shapes", shapeScenarios},
}

func TestFidelity(t *testing.T) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, s := range g.scenarios {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					compare(t, s)
				})
			}
		})
	}
}

// compare plays a scenario in both modes and compares what was noted.
func compare(t *testing.T, s scenario) {
	t.Helper()
	var plain, routed outcome
	t.Run("plain", func(t *testing.T) { plain = perform(t, s, false) })
	t.Run("routed", func(t *testing.T) { routed = perform(t, s, true) })
	keys := union(plain.keys(), routed.keys())
	for _, key := range keys {
		t.Logf("%s: plain: %s | routed: %s", key, plain.text(key), routed.text(key))
	}
	if t.Failed() {
		return
	}
	require.NotEmpty(t, keys, "nothing was noted")
	for _, key := range keys {
		if reason, declared := s.differs[key]; declared {
			assert.NotEqual(t, plain.text(key), routed.text(key), "%q is declared to differ (%s), but it does not: take the declaration away", key, reason)
		} else {
			assert.Equal(t, plain.text(key), routed.text(key), "%q: plain and routed differ", key)
		}
	}
	for key := range s.differs {
		require.Contains(t, keys, key, "declared to differ, but never noted")
	}
}

// perform plays a scenario in one mode and returns what was noted.
func perform(t *testing.T, s scenario, routed bool) outcome {
	t.Helper()
	p := newPlay(t, routed)
	s.play(p)
	p.start()
	p.finish()
	scheduled, markers := p.countEvents()
	switch {
	case s.sendsNothing && !routed:
	case s.sendsNothing:
		require.Zero(t, scheduled, "activities scheduled in the routed mode")
	case !routed:
		require.NotZero(t, scheduled, "the plain mode scheduled no activity")
	case s.staysPlain:
		require.NotZero(t, scheduled, "these calls must stay plain")
	default:
		require.Zero(t, scheduled, "activities scheduled in the routed mode")
		require.NotZero(t, markers, "the run has no route record")
	}
	return p.outcome()
}

// outcome is what was noted in one play, by key, normalised.
type outcome struct {
	order []string
	notes map[string][]string
}

func (o *outcome) add(key, value string) {
	if o.notes == nil {
		o.notes = map[string][]string{}
	}
	if _, known := o.notes[key]; !known {
		o.order = append(o.order, key)
	}
	o.notes[key] = append(o.notes[key], value)
}

func (o outcome) keys() []string { return o.order }

func (o outcome) text(key string) string {
	if lines, ok := o.notes[key]; ok {
		return strings.Join(lines, "; ")
	}
	return "(nothing)"
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, key := range b {
		if !slices.Contains(a, key) {
			all = append(all, key)
		}
	}
	return all
}

// The README's list of differences and the declarations in the scenarios are the same.
func TestReadmeListsTheDifferences(t *testing.T) {
	raw, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(raw), "\n## What you can tell apart\n")
	require.True(t, found, "the README has no such section")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]bool{}
	for item := range strings.SplitSeq(section, "\n- ") {
		listed[strings.Join(strings.Fields(item), " ")] = false
	}
	for _, g := range groups {
		for _, s := range g.scenarios {
			for _, reason := range s.differs {
				require.Contains(t, listed, reason, "%s/%s", g.name, s.name)
				listed[reason] = true
			}
		}
	}
	intro, _, _ := strings.Cut(section, "\n- ")
	delete(listed, strings.Join(strings.Fields(intro), " "))
	for item, declared := range listed {
		require.True(t, declared, "listed in the README, but no scenario declares it: %s", item)
	}
}
