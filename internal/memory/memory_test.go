package memory

import (
	"runtime/debug"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func files(contents map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range contents {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestUsageOfControlGroups(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Usage
		none  bool
	}{
		"version 2, in a container": {
			files: map[string]string{
				"proc/self/cgroup":             "0::/\n",
				"sys/fs/cgroup/memory.max":     "1000\n",
				"sys/fs/cgroup/memory.current": "700\n",
				"sys/fs/cgroup/memory.stat":    "anon 500\nactive_file 90\ninactive_file 100\n",
			},
			want: Usage{Used: 560, Limit: 1000, Of: "cgroup"}, // 40 are idle in the runtime
		},
		"version 2, the group above is the narrow one": {
			files: map[string]string{
				"proc/self/cgroup":                       "0::/slice/service\n",
				"sys/fs/cgroup/slice/service/memory.max": "max\n",
				"sys/fs/cgroup/slice/memory.max":         "1000\n",
				"sys/fs/cgroup/slice/memory.current":     "640\n",
			},
			want: Usage{Used: 600, Limit: 1000, Of: "cgroup"},
		},
		"version 2, a path outside of what is seen": {
			files: map[string]string{
				"proc/self/cgroup":             "0::/../../other\n",
				"sys/fs/cgroup/memory.max":     "1000\n",
				"sys/fs/cgroup/memory.current": "140\n",
			},
			want: Usage{Used: 100, Limit: 1000, Of: "cgroup"},
		},
		"version 1, the host's path": {
			files: map[string]string{
				"proc/self/cgroup":                            "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes":  "2000\n",
				"sys/fs/cgroup/memory/memory.usage_in_bytes":  "1540\n",
				"sys/fs/cgroup/memory/memory.stat":            "inactive_file 1\ntotal_inactive_file 500\n",
				"sys/fs/cgroup/memory/docker/2/memory.limits": "7\n",
			},
			want: Usage{Used: 1000, Limit: 2000, Of: "cgroup"},
		},
		"version 1 without a limit": {
			files: map[string]string{
				"proc/self/cgroup":                           "4:memory:/\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
				"sys/fs/cgroup/memory/memory.usage_in_bytes": "1540\n",
			},
			none: true,
		},
		"no usage to be read": {
			files: map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n"},
			none:  true,
		},
		"nonsense":  {files: map[string]string{"proc/self/cgroup": "junk\n\n0::\x00\n", "sys/fs/cgroup/memory.max": "many\n"}, none: true},
		"not Linux": {none: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reader{
				limit: func() uint64 { return 0 }, runtime: func() (uint64, uint64) { return 10, 40 },
				groups: findGroups(files(c.files)),
			}
			u, ok := r.read()
			require.Equal(t, !c.none, ok)
			require.Equal(t, c.want, u)
		})
	}
}

func TestTheNearestLimitCounts(t *testing.T) {
	limit := uint64(100)
	r := &reader{
		limit: func() uint64 { return limit }, runtime: func() (uint64, uint64) { return 50, 0 },
		groups: findGroups(files(map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000", "sys/fs/cgroup/memory.current": "600"})),
	}
	u, ok := r.read()
	require.True(t, ok)
	require.Equal(t, Usage{Used: 600, Limit: 1000, Of: "cgroup"}, u)
	limit = 60
	u, _ = r.read()
	require.Equal(t, Usage{Used: 50, Limit: 60, Of: "GOMEMLIMIT"}, u)
}

// The real sources: what the runtime uses grows with what is allocated, and its limit is read.
func TestThisProcess(t *testing.T) {
	before, _ := runtimeBytes()
	block := make([]byte, 32<<20)
	after, _ := runtimeBytes()
	require.GreaterOrEqual(t, after-before, uint64(len(block)/2))
	old := debug.SetMemoryLimit(64 << 30)
	defer debug.SetMemoryLimit(old)
	require.Equal(t, uint64(64<<30), runtimeLimit())
	u, ok := Read()
	require.True(t, ok)
	require.Positive(t, u.Used)
	require.Less(t, u.Share(), 1.0)
	block[0] = 1
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Read()
	}
}
