package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The commands that workers send themselves; the scripts' come on top. Those of the first
// row take channels.
var (
	channelCommands = []string{"PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"}
	plainCommands   = []string{
		"TIME", "GET", "MGET", "SET", "DEL", "EXISTS", "PEXPIRE", "HGET", "HGETALL", "HSET", "HDEL", "HEXISTS",
		"ZADD", "ZRANGE", "ZREM", "ZREMRANGEBYSCORE",
	}
	luaCall = regexp.MustCompile(`redis\.p?call\('([A-Z]+)'(?:, '(CREATE|DELCONSUMER|CONSUMERS|GROUPS)')?`)
)

// neededCommands are those that the user must be allowed, on keys or without.
func (q *Queue) neededCommands() []string {
	needed := slices.Clone(plainCommands)
	for _, s := range allScripts {
		for _, m := range luaCall.FindAllStringSubmatch(s.bare.source, -1) {
			needed = append(needed, strings.TrimSpace(m[1]+" "+m[2]))
		}
	}
	switch d := q.scripts.durability; {
	case d.fsync:
		needed = append(needed, "WAITAOF")
	case d.replicas > 0:
		needed = append(needed, "WAIT")
	}
	needed = slices.DeleteFunc(needed, func(c string) bool { return slices.Contains(channelCommands, c) })
	slices.Sort(needed)
	return slices.Compact(needed)
}

// checkUser finds what INFO does not show: what the user may not do, and whether the server
// takes writes. All that is forbidden is named at once: a script that is refused a
// command in its middle would leave its work half done.
func (q *Queue) checkUser(ctx context.Context, r *Report) error {
	prefix := q.keys.pool("")
	args := []any{prefix + "bell", len(channelCommands)}
	for _, c := range channelCommands {
		args = append(args, c)
	}
	for _, c := range q.neededCommands() {
		args = append(args, c)
	}
	denied, err := q.scripts.run(ctx, q.rdb, call{rightsScript, prefix, args})[0].StringSlice()
	switch {
	case errors.Is(unavailable(err), ErrDenied):
		return q.denied(err)
	case err != nil:
		return fmt.Errorf("check redis: look what the user may do: %w", unavailable(err))
	case len(denied) > 0:
		return r.bad("user", "lacks rights", "the user may not use "+strings.Join(denied, ", ")+q.grant(denied))
	}
	switch err := q.rdb.Set(ctx, prefix+"check", 1, time.Second).Err(); {
	case err == nil:
		r.good("writes", "allowed")
		return nil
	case redis.HasErrorPrefix(err, "READONLY"), redis.HasErrorPrefix(err, "MISCONF"):
		return fmt.Errorf("check redis: it takes no writes: %w: %w", ErrServer, err)
	case redis.HasErrorPrefix(err, "OOM"):
		r.warn("writes", "memory is full", "is full, so nothing new is enqueued until what it holds is done: raise maxmemory, or add workers")
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("check redis: %w", err)
	default:
		return fmt.Errorf("check redis: %w", unavailable(err))
	}
}

// grant says how to give the user what it lacks.
func (q *Queue) grant(denied []string) string {
	var b strings.Builder
	for _, c := range denied {
		b.WriteString(" +" + strings.ReplaceAll(strings.ToLower(c), " ", "|"))
	}
	p := q.opts.KeyPrefix
	return fmt.Sprintf(" on keys and channels %s:*: grant it with ACL SETUSER (~%s:* &%s:*%s; docs/security.md has the whole list)", p, p, p, b.String())
}

// denied is the error of a Check that was refused. What Redis says names the command.
func (q *Queue) denied(err error) error {
	if redis.HasErrorPrefix(err, "NOPERM") {
		return fmt.Errorf("check redis: the user lacks rights%s: %w: %w", q.grant(nil), ErrServer, err)
	}
	return fmt.Errorf("check redis: it does not accept the user and password: %w: %w", ErrServer, err)
}
