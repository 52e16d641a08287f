package activity

import "strings"

// PoolName is the name under which the queue knows a pool: the task queue, the optional
// pool name of the mark and, where worker versioning is on, the build that serves it.
// The parts are escaped, so that no two triples share a name.
//
// The name stands in dispatch markers and in Redis: it never changes.
func PoolName(taskQueue, pool, build string) string {
	name := escapePoolPart(taskQueue)
	if pool != "" {
		name += "/" + escapePoolPart(pool)
	}
	if build != "" {
		name += "@" + escapePoolPart(build)
	}
	return name
}

var poolPartEscaper = strings.NewReplacer("%", "%25", "/", "%2f", "@", "%40")

func escapePoolPart(s string) string { return poolPartEscaper.Replace(s) }
