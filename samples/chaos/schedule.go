package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// target is what a fault hits. Faults of a storm hit different ones.
type target int

const (
	onWorker target = iota // one worker
	onFleet                // one worker after the other
	onRedis
	onTemporal
)

// kind is a kind of fault.
type kind struct {
	name, what string
	on         target
	// hold is how long it lasts, at least and at most.
	hold [2]time.Duration
	// rest is how long nothing else begins after it, so that what is seen then is its doing.
	rest time.Duration
	// loses: Redis may have lost data, all or the latest.
	loses bool
	// strike does it, undoes it, and proves that it happened.
	strike func(f *strike) error
	// recovery is what must have happened by when.
	recovery recovery
}

// fault is what the schedule says.
type fault struct {
	at     time.Duration // from the start of the load
	kind   *kind
	worker int // index in the fleet; with onWorker only
	hold   time.Duration
	storm  bool // others happen at the same time
}

func (f fault) String() string {
	var b strings.Builder
	b.WriteString(f.kind.name)
	if f.kind.on == onWorker {
		fmt.Fprintf(&b, " (worker %d)", f.worker+1)
	}
	if f.hold > 0 {
		fmt.Fprintf(&b, " for %s", f.hold)
	}
	return b.String()
}

const (
	// firstFault is when the first begins: there is work by then.
	firstFault = 3 * time.Second
	// stormGap is the most time between the beginnings of a storm's faults.
	stormGap = 1500 * time.Millisecond
	// stormRest is how long nothing begins after one.
	stormRest = 25 * time.Second
)

// schedule is what happens when. The same seed, kinds, workers and length make the same schedule.
type schedule struct {
	faults []fault
	length time.Duration
}

// draw draws a schedule: rounds of every kind in a random order, each followed by a storm, until length is full. A length
// of 0 is one round. A short schedule has no storms, and a third of the rest after each fault.
func draw(seed uint64, kinds []*kind, workers int, length time.Duration, short bool) schedule {
	d := drawing{r: rand.New(rand.NewPCG(seed, 1)), workers: workers, at: firstFault, limit: length, short: short}
	for {
		for _, i := range d.r.Perm(len(kinds)) {
			d.single(kinds[i])
		}
		if !short {
			d.storm(kinds)
		}
		if length == 0 {
			return schedule{faults: d.faults, length: d.at}
		}
		if d.at > length {
			return schedule{faults: d.faults, length: length}
		}
	}
}

type drawing struct {
	r       *rand.Rand
	workers int
	at      time.Duration
	limit   time.Duration // 0: none
	short   bool
	faults  []fault
}

func (d *drawing) upTo(most time.Duration) time.Duration {
	return time.Duration(d.r.Int64N(int64(most) + 1)).Round(100 * time.Millisecond)
}

func (d *drawing) fault(k *kind) fault {
	return fault{kind: k, worker: d.r.IntN(d.workers), hold: (k.hold[0] + d.upTo(k.hold[1]-k.hold[0])).Round(100 * time.Millisecond)}
}

// add adds faults, unless they would end too late, and moves on to the time when others may begin.
func (d *drawing) add(rest time.Duration, faults ...fault) {
	end := d.at
	for _, f := range faults {
		end = max(end, f.at+f.hold)
	}
	if d.limit == 0 || end+rest <= d.limit {
		d.faults = append(d.faults, faults...)
	}
	d.at = end + rest
}

func (d *drawing) single(k *kind) {
	f := d.fault(k)
	f.at = d.at + d.upTo(2*time.Second)
	rest := k.rest
	if d.short {
		rest /= 3
	}
	d.add(rest, f)
}

// storm is a fault of a worker, one of Redis and one of Temporal at about the same time.
func (d *drawing) storm(kinds []*kind) {
	var faults []fault
	at := d.at
	for _, on := range []target{onWorker, onRedis, onTemporal} {
		of := slices.DeleteFunc(slices.Clone(kinds), func(k *kind) bool { return k.on != on })
		if len(of) == 0 {
			return // the kinds were chosen by hand
		}
		f := d.fault(of[d.r.IntN(len(of))])
		f.at, f.storm = at, true
		at += d.upTo(stormGap)
		faults = append(faults, f)
	}
	d.add(stormRest, faults...)
}

// missing are the kinds that a schedule has no room for.
func (s schedule) missing(kinds []*kind) []string {
	var names []string
	for _, k := range kinds {
		if !slices.ContainsFunc(s.faults, func(f fault) bool { return f.kind == k }) {
			names = append(names, k.name)
		}
	}
	return names
}

func (s schedule) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range s.faults {
		storm := ""
		if f.storm {
			storm = "(storm)"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", f.at.Round(100*time.Millisecond), f, storm)
	}
	_ = w.Flush() // to a terminal or a buffer
}
