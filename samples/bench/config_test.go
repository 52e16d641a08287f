package main

import (
	"bytes"
	"flag"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	c, err := parseConfig(nil, nil)
	require.NoError(t, err)
	require.Equal(t, quick, c.suite)
	require.Equal(t, caseNames(allCases()), caseNames(c.cases))
	require.True(t, c.wants(plain))

	c, err = parseConfig([]string{"-suite", "full", "-case", "latency, slow-1k", "-variant", "slipstream", "-reps", "2", "-redis", "redis://localhost"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"latency", "slow-1k"}, caseNames(c.cases), "in the order that was asked for")
	require.True(t, c.wants(slipstream))
	require.False(t, c.wants(plain))
}

func TestConfigErrors(t *testing.T) {
	for want, args := range map[string][]string{
		`-suite "huge" is not known; use seed`:        {"-suite", "huge"},
		`-case "slow" is not known; use slow-1k`:      {"-case", "echo-10k,slow"},
		`-variant "asynq": none of the cases slow-1k`: {"-case", "slow-1k", "-variant", "asynq"},
		"-reps is -1; use 1 to 100":                   {"-reps", "-1"},
		`unexpected argument "slow-1k"`:               {"slow-1k"},
		"not defined: -cases":                         {"-cases", "slow-1k"},
		"needs a server: add -temporal":               {"-namespace", "n"},
	} {
		_, err := parseConfig(args, nil)
		require.ErrorContains(t, err, want)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	_, err := parseConfig([]string{"-h"}, &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, out.String(), "go run ./samples/bench")
	require.Contains(t, out.String(), "-cpuprofile FOLDER")
}

func TestFilesAreCheckedBeforeTheRun(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none", "out.json")
	for _, name := range []string{"-json", "-html"} {
		c, err := parseConfig([]string{name, missing, "-redis", "redis://localhost"}, nil)
		require.NoError(t, err)
		require.ErrorContains(t, c.checkFiles(), name+" cannot be written")
	}
	profiles := filepath.Join(t.TempDir(), "new", "folder")
	c, err := parseConfig([]string{"-cpuprofile", profiles, "-redis", "redis://localhost"}, nil)
	require.NoError(t, err)
	require.NoError(t, c.checkFiles())
	require.DirExists(t, profiles)
}

func TestARealRedisIsNeeded(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c, err := parseConfig(nil, nil)
	require.NoError(t, err)
	require.ErrorContains(t, c.checkFiles(), "no redis-server on PATH")
}

func TestCasesAreWhole(t *testing.T) {
	for _, b := range allCases() {
		t.Run(b.name, func(t *testing.T) {
			for _, s := range []suite{seed, quick, full} {
				require.Contains(t, b.sizes, s)
				require.Positive(t, b.sizes[s].Reps)
				require.NotEmpty(t, b.about(b.sizes[s]))
			}
			for _, target := range b.targets {
				require.NotNil(t, b.variant(target.variant), target.variant)
				switch target.against {
				case "":
				case theFloor:
					require.NotNil(t, b.floor)
				default:
					require.NotNil(t, b.variant(target.against), target.against)
				}
			}
		})
	}
}
