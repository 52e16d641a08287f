// Package memory tells how much memory this process uses of what it may use. It reads the
// Go runtime's own limit and the limits of the control groups that the process is in; it
// needs no library for that, which would be one more dependency for a few small files.
package memory

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Usage is memory in use and the limit that it counts against, in bytes.
type Usage struct {
	Used, Limit uint64
	// Of says whose limit it is: "GOMEMLIMIT" or "cgroup".
	Of string
}

// Share is the part of the limit that is used: 1 at the limit.
func (u Usage) Share() float64 { return float64(u.Used) / float64(u.Limit) }

// Read returns the usage that is nearest to its limit. ok is false where no limit is set,
// or none can be read. It costs a few reads of small files.
func Read() (u Usage, ok bool) { return process().read() }

var process = sync.OnceValue(func() *reader {
	root := os.DirFS("/")
	return &reader{limit: runtimeLimit, runtime: runtimeBytes, groups: findGroups(root)}
})

// reader knows where to look.
type reader struct {
	limit   func() uint64               // of the Go runtime, 0 if there is none
	runtime func() (inUse, idle uint64) // idle: held by the runtime, free for its next allocations
	groups  []group
}

func (r *reader) read() (most Usage, ok bool) {
	inUse, idle := r.runtime()
	if limit := r.limit(); limit > 0 {
		most, ok = Usage{Used: inUse, Limit: limit, Of: "GOMEMLIMIT"}, true
	}
	for _, g := range r.groups {
		used, limit, known := g.read()
		if !known {
			continue
		}
		u := Usage{Used: used - min(used, idle), Limit: limit, Of: "cgroup"}
		if !ok || u.Share() > most.Share() {
			most, ok = u, true
		}
	}
	return most, ok
}

// runtimeLimit is GOMEMLIMIT, or what debug.SetMemoryLimit was given.
func runtimeLimit() uint64 {
	limit := debug.SetMemoryLimit(-1)
	if limit <= 0 || limit == math.MaxInt64 {
		return 0
	}
	return uint64(limit)
}

// runtimeBytes tells what the runtime's limit counts, without what it holds for later.
func runtimeBytes() (inUse, idle uint64) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	total, released, idle := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()
	return total - min(total, released+idle), idle
}

// group is one control group with a memory limit.
type group struct {
	root               fs.FS
	usage, limit, stat string // files
	inactive           string // the line of stat with page cache that the kernel drops first
}
