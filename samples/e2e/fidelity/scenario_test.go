package fidelity

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
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
	// partlyRouted: some of these calls are routed and some are not, by rule.
	partlyRouted bool
	// sendsNothing: a routed play need not dispatch anything, and a plain one need not schedule anything.
	sendsNothing bool
	// plainSendsNothing: a plain play need not schedule anything.
	plainSendsNothing bool
	// mayFallBack: calls may go plain where Redis fails, and need not.
	mayFallBack bool
}

// groups are all scenarios, by subject.
var groups = []struct {
	name      string
	scenarios []scenario
}{
	{"errors", errorScenarios},
	{"failure converters", failureConverterScenarios},
	{"retries", retryScenarios},
	{"timeouts", timeoutScenarios},
	{"information", infoScenarios},
	{"telemetry", telemetryScenarios},
	{"data", dataScenarios},
	{"converters", converterScenarios},
	{"interceptors", interceptorScenarios},
	{"context", contextScenarios},
	{"tracing", tracingScenarios},
	{"registration", registrationScenarios},
	{"life", lifeScenarios},
	{"rollout", rolloutScenarios},
	{"at most once", onceScenarios},
	{"encryption", encryptionScenarios},
	{"heartbeats", heartbeatScenarios},
	{"cancellations", cancelScenarios},
	{"closings", closingScenarios},
	{"waiting", waitingScenarios},
	{"messages", messageScenarios},
	{"runs", runScenarios},
	{"wide", wideScenarios},
	{"chains", chainScenarios},
}

func TestFidelity(t *testing.T) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for _, s := range g.scenarios {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					compare(t, s, routed)
				})
			}
		})
	}
}

// Without the sticky cache every workflow task replays the run from its start. The cache is the process's, so that
// this is a test of its own, after TestFidelity's workers have stopped.
func TestFidelityWithoutStickyCache(t *testing.T) {
	worker.SetStickyWorkflowCacheSize(0)
	t.Cleanup(func() { worker.SetStickyWorkflowCacheSize(10_000) }) // the SDK's default
	for _, s := range slices.Concat(waitingScenarios, messageScenarios, runScenarios) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			compare(t, s, routed)
		})
	}
}

// Calls that the plugin sends back, here for want of a Redis, are plain activities again. Nothing may tell them from
// those of a worker without the plugin; what is declared to differ may be the same here.
func TestFidelityWithoutRedis(t *testing.T) {
	for _, s := range slices.Concat(cancelScenarios, closingScenarios, waitingScenarios, messageScenarios, runScenarios) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			compare(t, s, withoutRedis)
		})
	}
}

// mode is how a scenario is played.
type mode string

const (
	plain        mode = "plain"         // without the plugin
	routed       mode = "routed"        // with it
	withoutRedis mode = "without Redis" // with it, but with no Redis to route to
)

// samples is how often a scenario is played plainly if need be. A slow server makes plain activities do more than one
// thing: an attempt is lost, a heartbeat is not answered in time.
const samples = 3

// compare plays a scenario in another mode and plainly, and compares what was noted: the other mode must do what plain
// activities do, at least sometimes. Calls that are plain in both modes are played anew in both.
func compare(t *testing.T, s scenario, other mode) {
	t.Helper()
	var want, got outcome
	for i := range samples {
		if i == 0 || other == withoutRedis {
			t.Run(string(other), func(t *testing.T) { got = perform(t, s, other) })
		}
		t.Run(string(plain), func(t *testing.T) { want = perform(t, s, plain) })
		if t.Failed() || len(s.undeclared(want, got)) == 0 {
			break
		}
		t.Logf("play %d: plain and %s differ in %q", i+1, other, s.undeclared(want, got))
	}
	for _, key := range union(want, got) {
		t.Logf("%s: %s: %s | %s: %s", key, plain, want.text(key), other, got.text(key))
	}
	if t.Failed() {
		return
	}
	require.NotEmpty(t, want.order, "nothing was noted")
	for _, key := range s.undeclared(want, got) {
		assert.Equal(t, want.text(key), got.text(key), "%q: %s and %s differ", key, plain, other)
	}
	for key, reason := range s.differs {
		require.Contains(t, union(want, got), key, "declared to differ, but never noted")
		if other == routed {
			assert.NotEqual(t, want.text(key), got.text(key), "%q is declared to differ (%s), but it does not: take the declaration away", key, reason)
		}
	}
}

// undeclared are the keys of notes that differ and may not.
func (s scenario) undeclared(want, got outcome) (keys []string) {
	for _, key := range union(want, got) {
		if _, declared := s.differs[key]; !declared && want.text(key) != got.text(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// perform plays a scenario in one mode and returns what was noted.
func perform(t *testing.T, s scenario, m mode) outcome {
	t.Helper()
	p := newPlay(t, m)
	s.play(p)
	p.start()
	p.finish()
	scheduled, markers := p.countEvents()
	switch {
	case m != routed && (s.sendsNothing || s.plainSendsNothing):
	case s.sendsNothing:
		require.Zero(t, scheduled, "activities scheduled in the routed mode")
	case m != routed:
		require.NotZero(t, scheduled, "no activity was scheduled")
	case s.mayFallBack:
		require.NotZero(t, markers, "the run has no route record")
	case s.staysPlain:
		require.NotZero(t, scheduled, "these calls must stay plain")
	case s.partlyRouted:
		require.NotZero(t, scheduled, "some of these calls must stay plain")
		require.NotZero(t, markers, "the run has no route record")
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

func (o outcome) text(key string) string {
	if lines, ok := o.notes[key]; ok {
		return strings.Join(lines, "; ")
	}
	return "(nothing)"
}

// union are the keys of both, in order.
func union(a, b outcome) []string {
	keys := slices.Clone(a.order)
	for _, key := range b.order {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
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
