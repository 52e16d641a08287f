package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// recovery is what must go on after a fault, and by when.
type recovery int

const (
	// claims: what a worker had is started elsewhere within two leases and the retry interval.
	claims recovery = iota
	// handover: what a worker gave back is started at once, as the same attempt.
	handover
	// asks: a run finds out by its own timer, at the latest when it asks next.
	asks
	// resumes: runs go on once the cause is gone.
	resumes
)

// latencyOfSlow is what slow cables add to an answer.
const latencyOfSlow = 200 * time.Millisecond

// kinds are all faults that there are.
var kinds = []*kind{
	{name: "kill", what: "SIGKILL of a worker, another takes its place", on: onWorker, strike: kill, recovery: claims,
		hold: seconds(2, 6), rest: 12 * time.Second},
	{name: "pause", what: "SIGSTOP of a worker for longer than its lease, then SIGCONT", on: onWorker, strike: suspend, recovery: claims,
		hold: seconds(7, 12), rest: 9 * time.Second},
	{name: "deploy", what: "a worker stops in order and another takes its place", on: onWorker, strike: redeploy, recovery: handover,
		rest: 5 * time.Second},
	{name: "marks", what: "all workers are deployed with fewer marks, then with all", on: onFleet, strike: remark("fewer"), recovery: handover,
		hold: seconds(3, 7), rest: 5 * time.Second},
	{name: "disable", what: "all workers are deployed with the plugin disabled, then enabled", on: onFleet, strike: remark("off"), recovery: handover,
		hold: seconds(3, 7), rest: 5 * time.Second},
	{name: "skew", what: "half of the workers write the protocol before this one", on: onFleet, strike: skew, recovery: handover,
		hold: seconds(4, 8), rest: 5 * time.Second},
	{name: "flush", what: "FLUSHALL", on: onRedis, strike: flush, recovery: asks, loses: true,
		rest: 24 * time.Second},
	{name: "redis-restart", what: "SIGKILL of redis-server, which comes back with its append-only file", on: onRedis, strike: bounce(true), recovery: asks, loses: true,
		hold: seconds(1, 5), rest: 20 * time.Second},
	{name: "redis-wipe", what: "SIGKILL of redis-server, which comes back empty", on: onRedis, strike: bounce(false), recovery: asks, loses: true,
		hold: seconds(1, 5), rest: 24 * time.Second},
	{name: "failover", what: "SIGKILL of redis-server; a replica without its last writes takes over", on: onRedis, strike: failover, recovery: asks, loses: true,
		hold: seconds(1, 3), rest: 24 * time.Second},
	{name: "redis-cut", what: "all workers lose their connections to Redis and get none", on: onRedis, strike: cut(toRedis), recovery: resumes,
		hold: seconds(3, 8), rest: 22 * time.Second},
	{name: "redis-hang", what: "a worker's connections to Redis stay open and silent", on: onWorker, strike: stall(toRedis), recovery: resumes,
		hold: seconds(6, 12), rest: 22 * time.Second},
	{name: "redis-slow", what: "all answers of Redis are 200 ms late", on: onRedis, strike: delay(toRedis, latencyOfSlow), recovery: resumes,
		hold: seconds(5, 10), rest: 12 * time.Second},
	{name: "redis-torn", what: "a worker's connections to Redis end in the midst of answers", on: onWorker, strike: tear, recovery: resumes,
		hold: seconds(4, 8), rest: 22 * time.Second},
	{name: "temporal-cut", what: "all workers lose their connections to Temporal and get none", on: onTemporal, strike: cut(toTemporal), recovery: resumes,
		hold: seconds(3, 8), rest: 18 * time.Second},
	{name: "temporal-hang", what: "all connections to Temporal stay open and silent", on: onTemporal, strike: stall(toTemporal), recovery: resumes,
		hold: seconds(5, 10), rest: 18 * time.Second},
	{name: "temporal-slow", what: "all answers of Temporal are 200 ms late", on: onTemporal, strike: delay(toTemporal, latencyOfSlow), recovery: resumes,
		hold: seconds(5, 10), rest: 8 * time.Second},
	{name: "temporal-restart", what: "SIGKILL of the Temporal server; another goes on with its data", on: onTemporal, strike: restartTemporal, recovery: resumes,
		hold: seconds(1, 4), rest: 22 * time.Second},
}

// shortKinds are those of -short: one of each recovery.
var shortKinds = []string{"kill", "deploy", "redis-torn", "flush"}

func seconds(least, most int) [2]time.Duration {
	return [2]time.Duration{time.Duration(least) * time.Second, time.Duration(most) * time.Second}
}

// chooseKinds returns the kinds of those names, in the order of the list of kinds.
func chooseKinds(names []string) ([]*kind, error) {
	var chosen []*kind
	for _, k := range kinds {
		if slices.Contains(names, k.name) {
			chosen = append(chosen, k)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(kinds, func(k *kind) bool { return k.name == name }) {
			return nil, fmt.Errorf("-faults: %q is none; -list has them", name)
		}
	}
	return chosen, nil
}

// list prints what there is.
func list(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Faults:")
	for _, k := range kinds {
		short := ""
		if slices.Contains(shortKinds, k.name) {
			short = " (also with -short)"
		}
		fmt.Fprintf(w, "  %s\t%s%s\n", k.name, k.what, short)
	}
	fmt.Fprintln(w, "Workflows:")
	for _, s := range shapes {
		fmt.Fprintf(w, "  %s\t%s\n", s.name, s.what)
	}
	_ = w.Flush() // to a terminal or a buffer
}

func splitNames(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
