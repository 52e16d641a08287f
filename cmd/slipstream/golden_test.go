package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What differs from run to run, and what stands for it.
var varying = []struct {
	pattern *regexp.Regexp
	becomes string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`"(\w*Seconds)": [0-9.e-]*[1-9][0-9.e-]*`), `"$1": SECONDS`},
	{regexp.MustCompile(`\b\d{13}-\d+\b`), "ENTRY"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{2,5}`), "HOST:PORT"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|µs|m\d\ds|s)\b`), "AGE"},
	{regexp.MustCompile(`[0-9.]+[KMG] used`), "MEMORY used"},
	{regexp.MustCompile(`\b7\.\d+\.\d+`), "7.x"},
	{regexp.MustCompile(` {2,}`), "  "}, // columns are as wide as what is in them
}

func settle(s string) string {
	for _, v := range varying {
		if v.becomes == "  " {
			continue
		}
		s = v.pattern.ReplaceAllString(s, v.becomes)
	}
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		body := strings.TrimLeft(line, " ")
		lines[i] = line[:len(line)-len(body)] + varying[len(varying)-1].pattern.ReplaceAllString(body, "  ")
	}
	return strings.Join(lines, "\n")
}

// golden compares what a command prints, for people and as JSON, with what it printed when somebody read it last.
func (d *desk) golden(name string, args ...string) {
	d.Helper()
	human := d.ok(args...)
	path := filepath.Join("testdata", name+".golden")
	got := "$ slipstream " + strings.Join(args, " ") + "\n" + human + "\n$ slipstream " + strings.Join(args, " ") + " --json\n" + d.ok(append(args, "--json")...)
	got = settle(got)
	if *update {
		require.NoError(d, os.MkdirAll("testdata", 0o750))
		require.NoError(d, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(d, err, "go test -update writes it")
	require.Equal(d, string(want), got)
}

func TestWhatCommandsPrint(t *testing.T) {
	d := scene(t)
	d.golden("pools", "pools")
	d.golden("stats", "stats", "orders")
	d.golden("executors", "executors")
	d.golden("tasks-list", "tasks", "list", "orders")
	d.golden("tasks-list-filtered", "tasks", "list", "orders", "--type", "Ship", "--limit", "2")
	d.golden("tasks-show-claimed", "tasks", "show", "orders", "order-1", "1")
	d.golden("tasks-show-waiting", "tasks", "show", "orders", "order-1", "3")
	d.golden("config-get", "config", "get", "orders")
	d.golden("config-set", "config", "set", "idle", "--concurrency", "7", "--rate", "2.5", "--poison-limit", "-1")
	d.golden("dead-list-empty", "dead", "list")

	id := d.bury(3)
	d.golden("dead-list", "dead", "list", "orders")
	human := d.ok("dead", "show", "orders", id)
	require.Contains(t, human, "7 executors died with it")
	require.Contains(t, human, "waiting: it was asked for again")
	var letter letterJSON
	d.json(&letter, "dead", "show", "orders", id)
	require.Equal(t, letterJSON{Pool: "orders", ID: id, At: letter.At, Run: "order-1", Number: 3, Type: "Ship", Losses: 7, Payload: 9, State: "waiting"}, letter)
}

func TestWhatChecksPrint(t *testing.T) {
	d := scene(t)
	code, stdout, stderr := d.run("check")
	require.Equal(t, exitFailed, code, "Temporal is not there")
	require.Contains(t, stderr, "1 setting must be mended")
	for _, line := range []string{"redis  maxmemory-policy  noeviction  ok", "temporal  answers  not at HOST:PORT", "pool idle  served  unattended by 0 executors  warning",
		"pool orders  served  active by 1 executor  ok", "error: temporal answers: connect to Temporal at"} {
		require.Contains(t, strings.ReplaceAll(settle(stdout), nobody, "HOST:PORT"), line)
	}
	require.NoError(t, d.redis.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	_, stdout, _ = d.run("check")
	require.Contains(t, stdout, "set it to noeviction")
}
