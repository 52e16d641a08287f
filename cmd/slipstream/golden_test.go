package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/batchqueue"
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
	d.golden("config-set", "config", "set", "idle", "--concurrency", "7", "--rate", "2.5", "--outbox-bytes", "1048576", "--poison-limit", "-1")
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

// A script must see that it was not given all.
func TestListsSayThatThereIsMore(t *testing.T) {
	d := scene(t)
	d.bury(3)
	d.bury(4)
	for limit, more := range map[string]bool{"1": true, "2": false} {
		var dead letterList
		d.json(&dead, "dead", "list", "--limit", limit)
		require.Equal(t, more, dead.More)
		require.Equal(t, limit, fmt.Sprint(len(dead.Letters)))
	}
	for limit, more := range map[string]bool{"4": true, "5": false} {
		var tasks taskList
		d.json(&tasks, "tasks", "list", "orders", "--limit", limit)
		require.Equal(t, more, tasks.More)
		require.Equal(t, limit, fmt.Sprint(len(tasks.Tasks)))
	}
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

// What is bad, or cannot be read, does not hide the rest.
func TestChecksShowAllThatIsBad(t *testing.T) {
	d := scene(t)
	rdb, ctx := d.redis.Client(), t.Context()
	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory", "1mb").Err())
	require.NoError(t, rdb.Do(ctx, "ACL", "SETUSER", "half", "on", ">pw", "~*", "&*", "+@all", "-evalsha", "-eval").Err())
	_, stdout, _ := d.run("check", "--redis", "redis://half:pw@"+d.redis.Addr)
	stdout = settle(stdout)
	require.Contains(t, stdout, "% of its maxmemory")
	require.Contains(t, stdout, "the user lacks rights")
	require.Contains(t, stdout, "pools  known  not readable")
}

// What alerts are about, as a probe sees it.
func TestChecksLookAtWhatPilesUp(t *testing.T) {
	d := scene(t)
	rdb, ctx := d.redis.Client(), t.Context()
	findings := func() map[string]finding {
		_, stdout, _ := d.run("check", "--json")
		var all []finding
		require.NoError(t, json.Unmarshal([]byte(stdout), &all))
		found := map[string]finding{}
		for _, f := range all {
			if f.Of == "pool orders" {
				found[f.Setting] = f
			}
		}
		return found
	}
	require.NotContains(t, findings(), "oldest task")
	require.NotContains(t, findings(), "outbox")

	// Neither slot alone is near its limit.
	counters := func(slot int) string { return fmt.Sprintf("slipstream:{shop/orders/%d}:counters", slot) }
	for slot := range 2 {
		require.NoError(t, rdb.HSet(ctx, counters(slot), "outbox", 100_000).Err())
	}
	require.NotContains(t, findings(), "outbox")
	require.NoError(t, rdb.HSet(ctx, counters(1), "outbox", 160_000).Err())
	require.Equal(t, "160000 of 200000 outcomes, 0 B of 256 MiB in slot 1", findings()["outbox"].Found)
	require.Equal(t, batchqueue.VerdictWarning, findings()["outbox"].Verdict)
	require.Contains(t, findings()["outbox"].Advice, "deliveries fail")
	require.NoError(t, rdb.HSet(ctx, counters(1), "outbox", 0, "outbox_bytes", 240<<20).Err())
	require.Equal(t, "0 of 200000 outcomes, 240 MiB of 256 MiB in slot 1", findings()["outbox"].Found)

	// The tasks that wait have done so for eleven minutes.
	for slot := range 2 {
		stream := fmt.Sprintf("slipstream:{shop/orders/%d}:ready:Ship", slot)
		entries, err := rdb.XRange(ctx, stream, "-", "+").Result()
		require.NoError(t, err)
		if len(entries) == 0 {
			continue
		}
		group, err := rdb.XInfoGroups(ctx, stream).Result()
		require.NoError(t, err)
		require.NoError(t, rdb.Del(ctx, stream).Err())
		require.NoError(t, rdb.XGroupCreateMkStream(ctx, stream, group[0].Name, "0").Err())
		for i, e := range entries {
			id := fmt.Sprintf("%d-%d", time.Now().Add(-11*time.Minute).UnixMilli(), i)
			require.NoError(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, ID: id, Values: e.Values}).Err())
		}
	}
	old := findings()["oldest task"]
	require.Equal(t, batchqueue.VerdictWarning, old.Verdict)
	require.Equal(t, "has waited for 11m", old.Found[:len("has waited for 11m")])
	require.Contains(t, old.Advice, "slipstream executors orders")
}
