package memory

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Where control groups are mounted, by convention and in every container.
const (
	mountV2 = "sys/fs/cgroup"
	mountV1 = "sys/fs/cgroup/memory"
)

// unlimited is the least value that is no limit: version 1 writes a huge number there.
const unlimited = 1 << 62

// findGroups returns the groups that the process is in, from its own up to the root: a
// limit of any of them holds. None on other systems than Linux.
func findGroups(root fs.FS) []group {
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var out []group
	for line := range strings.Lines(string(own)) {
		// hierarchy:controllers:path, where version 2 has hierarchy 0 and no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) < 3:
		case parts[0] == "0" && parts[1] == "":
			for _, dir := range upwards(mountV2, parts[2]) {
				out = append(out, group{root, dir + "/memory.current", dir + "/memory.max", dir + "/memory.stat", "inactive_file "})
			}
		case hasController(parts[1], "memory"):
			for _, dir := range upwards(mountV1, parts[2]) {
				out = append(out, group{root, dir + "/memory.usage_in_bytes", dir + "/memory.limit_in_bytes", dir + "/memory.stat", "total_inactive_file "})
			}
		}
	}
	// A container often sees its own group as the root: what is not there has no files.
	known := out[:0]
	for _, g := range out {
		if _, err := fs.Stat(root, g.limit); err == nil {
			known = append(known, g)
		}
	}
	return known
}

func hasController(list, name string) bool {
	for controller := range strings.SplitSeq(list, ",") {
		if controller == name {
			return true
		}
	}
	return false
}

// upwards lists the folder of a group and those above it. A path that leads out of what
// the process sees leaves the mount point alone.
func upwards(mount, group string) []string {
	group = strings.Trim(group, "/")
	if !fs.ValidPath(group) {
		group = ""
	}
	var dirs []string
	for ; group != "" && group != "."; group = path.Dir(group) {
		dirs = append(dirs, mount+"/"+group)
	}
	return append(dirs, mount)
}

// read returns what is used without page cache that goes by itself, and the limit. ok is
// false if there is none.
func (g group) read() (used, limit uint64, ok bool) {
	if limit, ok = g.number(g.limit); !ok || limit == 0 || limit >= unlimited {
		return 0, 0, false
	}
	if used, ok = g.number(g.usage); !ok {
		return 0, 0, false
	}
	stat, err := fs.ReadFile(g.root, g.stat)
	if err != nil {
		return used, limit, true
	}
	for line := range strings.Lines(string(stat)) {
		if rest, found := strings.CutPrefix(line, g.inactive); found {
			if cache, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64); err == nil {
				used -= min(used, cache)
			}
			break
		}
	}
	return used, limit, true
}

// number reads a file that holds one; "max" is none.
func (g group) number(file string) (uint64, bool) {
	raw, err := fs.ReadFile(g.root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	return n, err == nil
}
