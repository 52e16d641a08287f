package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/require"
)

func TestRedisUseIsADifference(t *testing.T) {
	before := redisMeters{commands: map[string]redisCommand{"xadd": parseCommand("calls=10,usec=1000,usec_per_call=100.00"), "get": parseCommand("calls=5,usec=5")}}
	after := redisMeters{commands: map[string]redisCommand{
		"xadd": parseCommand("calls=15,usec=3000,usec_per_call=200.00,rejected_calls=0,failed_calls=0"), "get": parseCommand("calls=5,usec=5"), "evalsha": parseCommand("calls=2,usec=500000"),
	}}
	use := after.since(before)
	require.EqualValues(t, 7, use.Commands)
	require.Len(t, use.ByCommand, 2, "what was not called is left out")
	require.Equal(t, redisCommand{Calls: 2, Seconds: 0.5}, use.ByCommand["evalsha"])
	require.EqualValues(t, 5, use.ByCommand["xadd"].Calls)
	require.InDelta(t, 0.002, use.ByCommand["xadd"].Seconds, 1e-9)
}

var kept [][]byte

func TestProfiles(t *testing.T) {
	idle, err := profiler{cpuFolder: t.TempDir()}.start()
	require.NoError(t, err)
	require.NoError(t, idle.stop(), "without a name nothing is profiled")

	folder := t.TempDir()
	running, err := profiler{cpuFolder: folder, memFolder: folder, name: "case"}.start()
	require.NoError(t, err)
	for range 64 {
		kept = append(kept, make([]byte, 1<<20))
	}
	require.NoError(t, running.writeHeap())
	require.NoError(t, running.stop())
	kept = nil

	require.FileExists(t, filepath.Join(folder, "case.cpu.pprof"))
	require.FileExists(t, filepath.Join(folder, "case.heap.pprof"))
	raw, err := os.ReadFile(filepath.Join(folder, "case.mem.pprof"))
	require.NoError(t, err)
	p, err := profile.ParseData(raw)
	require.NoError(t, err)
	require.Equal(t, "alloc_space", p.SampleType[1].Type)
	var bytes int64
	for _, s := range p.Sample {
		bytes += s.Value[1]
	}
	require.InDelta(t, 64<<20, bytes, 32<<20, "what the test allocated, and little else")
}
