package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, line string) (config, error) {
	t.Helper()
	var out bytes.Buffer
	return parseConfig(strings.Fields(line), &out)
}

func TestDefaults(t *testing.T) {
	for _, name := range []string{"ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL"} {
		t.Setenv(name, "")
	}
	c, err := parse(t, "")
	require.NoError(t, err)
	require.Equal(t, []mode{standard, slipstream}, c.modes())
	require.Equal(t, 1000, c.n)
	require.Equal(t, "mock", c.translator)
	require.Equal(t, anthropicConfig{baseURL: anthropicBaseURL, model: anthropicModel}, c.anthropic)
	require.NotEqual(t, c.queue(standard), c.queue(slipstream))
}

func TestAnthropicFromTheEnvironment(t *testing.T) {
	t.Setenv("ANTHROPIC_BASE_URL", "http://gateway")
	t.Setenv("ANTHROPIC_API_KEY", "from the environment")
	t.Setenv("ANTHROPIC_MODEL", "small")
	c, err := parse(t, "")
	require.NoError(t, err)
	require.Equal(t, anthropicConfig{"http://gateway", "from the environment", "small"}, c.anthropic)
	c, err = parse(t, "-anthropic-base-url http://other -anthropic-key flag -anthropic-model big")
	require.NoError(t, err)
	require.Equal(t, anthropicConfig{"http://other", "flag", "big"}, c.anthropic)
}

func TestWrongFlags(t *testing.T) {
	for line, want := range map[string]string{
		"-n -1":                                  "-n is -1; use 1 to",
		"-n 0":                                   "-n is 0; use 1 to",
		"-standard-n -3":                         "-standard-n is -3",
		"-per-workflow 0":                        "-per-workflow is 0",
		"-per-workflow 10001":                    "use 1 to 10000",
		"-workers 0":                             "-workers is 0",
		"-concurrency -1":                        "-concurrency is -1",
		"-latency -1ms":                          "-latency is -1ms",
		"-mode fast":                             `-mode "fast" is not known; use standard, slipstream, both`,
		"-translator x":                          `-translator "x" is not known; use mock, apertium, anthropic`,
		"-role boss":                             `-role "boss" is not known`,
		"-task-queue=":                           "-task-queue is empty",
		"-role worker":                           "add -temporal HOST:PORT",
		"-role worker -temporal h:1":             "add -redis URL",
		"-role starter -mode both -temporal h:1": "-role starter does one mode at a time",
		"-namespace n":                           "add -temporal",
		"-temporal nowhere":                      "is not HOST:PORT",
		"-otlp http://localhost:4317":            `-otlp "http://localhost:4317" is not HOST:PORT`,
		"-metrics localhost":                     `-metrics "localhost" is not HOST:PORT`,
		"-redis mysql://x":                       "Redis URL is not valid",
		"-n many":                                "see -h",
		"-unknown":                               "see -h",
		"1000":                                   `unexpected argument "1000"`,
	} {
		t.Run(line, func(t *testing.T) {
			_, err := parse(t, line)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestRoles(t *testing.T) {
	for _, line := range []string{
		"-role starter -temporal h:1",
		"-role worker -temporal h:1 -redis redis://h",
		"-role worker -mode standard -temporal h:1",
	} {
		c, err := parse(t, line)
		require.NoError(t, err, line)
		require.Len(t, c.modes(), 1)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	_, err := parseConfig([]string{"-h"}, &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, out.String(), "-per-workflow")
}

func TestStandardIsCappedBesideSlipstreamOnly(t *testing.T) {
	all := builtinSentences(50)
	c := config{mode: both, standardN: 20}
	require.Equal(t, all[:20], c.sentencesFor(standard, all))
	require.Equal(t, all, c.sentencesFor(slipstream, all))
	c.mode = standard
	require.Equal(t, all, c.sentencesFor(standard, all))
}
