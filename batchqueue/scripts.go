package batchqueue

import (
	"context"
	"crypto/sha1" //nolint:gosec // the digest that EVALSHA wants, not a secret
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// script is one transition. Each exists in two texts: with the flags line that Redis 7
// reads, and without it for servers that do not know it (miniredis).
type script struct {
	name    string
	flagged scriptText
	bare    scriptText
	// durable: its reply is believed only where Options.Replicas and Options.Fsync are met.
	durable bool
}

type scriptText struct{ source, sha string }

func newScriptText(source string) scriptText {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see the import
	return scriptText{source, hex.EncodeToString(sum[:])}
}

// loadScript builds a slot script. All but enqueue run when memory is full: they give
// memory back, or hold on to what was already accepted.
func loadScript(name string) *script {
	body := mustRead(name)
	state := definitions(luaKeys()+mustRead("state"), body)
	flags := "#!lua flags=allow-oom\n"
	if name == "enqueue" {
		flags = "#!lua\n"
	}
	s := &script{name: name, flagged: newScriptText(flags + state + body), bare: newScriptText(state + body), durable: slices.Contains(durableScripts, name)}
	allScripts = append(allScripts, s)
	return s
}

var allScripts []*script

// durableScripts are those after which somebody acts as if they could not be undone: a
// workflow records that its calls are queued, a handler starts, a result is let go of. What
// the others do is done again if it is lost.
var durableScripts = []string{"enqueue", "claim", "adopt", "settle"}

var (
	luaComment    = regexp.MustCompile(`(?m)^ *--.*\n`)
	luaDefinition = regexp.MustCompile(`(?m)^local (?:function )?([\w, ]*\w)`)
	luaWord       = regexp.MustCompile(`\w+`)
)

// definitions picks those of a text that a script uses, directly or by way of others.
// Redis runs all of a script's text with each call, so what it does not need would cost a
// short transition more than its own work. A definition begins with "local" at the
// beginning of a line and uses only what stands before it.
func definitions(text, script string) string {
	text = luaComment.ReplaceAllString(text, "")
	used := make(map[string]bool)
	use := func(lua string) {
		for _, word := range luaWord.FindAllString(luaComment.ReplaceAllString(lua, ""), -1) {
			used[word] = true
		}
	}
	use(script)
	var picked []string
	starts := luaDefinition.FindAllStringSubmatchIndex(text, -1)
	for i, end := len(starts)-1, len(text); i >= 0; i-- {
		definition := text[starts[i][0]:end]
		end = starts[i][0]
		names := strings.Split(text[starts[i][2]:starts[i][3]], ", ")
		if slices.ContainsFunc(names, func(name string) bool { return used[name] }) {
			use(definition)
			picked = append(picked, definition)
		}
	}
	slices.Reverse(picked)
	return strings.Join(picked, "")
}

func mustRead(name string) string {
	text, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(fmt.Sprintf("batchqueue: embedded script %s: %v", name, err)) //nolint:forbidigo // a build without its scripts must not start
	}
	return string(text)
}

var (
	enqueueScript  = loadScript("enqueue")
	claimScript    = loadScript("claim")
	settleScript   = loadScript("settle")
	takeScript     = loadScript("take")
	askScript      = loadScript("ask")
	cancelScript   = loadScript("cancel")
	abandonScript  = loadScript("abandon")
	dueScript      = loadScript("due")
	batchesScript  = loadScript("batches")
	ackedScript    = loadScript("acked")
	extendScript   = loadScript("extend")
	auditScript    = loadScript("audit")
	adoptScript    = loadScript("adopt")
	lostScript     = loadScript("lost")
	homeScript     = loadScript("home")
	resignScript   = loadScript("resign")
	statsScript    = loadScript("stats")
	forgetScript   = loadScript("forget")
	dropScript     = loadScript("drop")
	redriveScript  = loadScript("redrive")
	tasksScript    = loadScript("tasks")
	taskScript     = loadScript("task")
	progressScript = loadScript("progress")
	holdersScript  = loadScript("holders")
	runsScript     = loadScript("runs")
	rateScript     = loadScript("rate")
	presentScript  = loadScript("present")
	rightsScript   = loadScript("rights")
)

// scripts runs scripts and remembers which text the server understands.
type scripts struct {
	durability durability
	bare       atomic.Bool
}

func newScripts(d durability) *scripts { return &scripts{durability: d} }

// call is one script to run.
type call struct {
	script *script
	key    string // KEYS[1]: the slot's prefix
	args   []any
}

// keys are KEYS of a script. It uses neither as a key; the first places it in a cluster. The
// second keeps it from running while its hash slot moves from node to node: a script does
// not name the keys that it uses, so at the new node it would take those for absent that
// are still at the old one. But for a call with two keys that are not there, the new node
// says TRYAGAIN, and the old one sends everybody there. So the slot stands still until all
// of it has moved; all calls are tried again anyway.
func (c *call) keys() []string { return []string{c.key, c.key + suffixNothing} }

// run sends the calls in one pipeline. The result has one command per call, each with
// its own reply or error. A server that lost its scripts gets their texts: pipelines
// have no fallback of their own for NOSCRIPT.
func (s *scripts) run(ctx context.Context, rdb redis.UniversalClient, calls ...call) []*redis.Cmd {
	out := make([]*redis.Cmd, len(calls))
	pending := make([]int, len(calls))
	for i := range pending {
		pending[i] = i
	}
	wait := s.durability.wanted(calls)
	// First by digest, then by text, then by text without flags.
	for round := 0; round < 3 && len(pending) > 0; round++ {
		var pipe redis.Pipeliner
		if wait {
			pipe = onOneNode(ctx, rdb, calls[0].key)
		} else {
			pipe = rdb.Pipeline()
		}
		for _, i := range pending {
			c := calls[i]
			text := c.script.flagged
			if s.bare.Load() {
				text = c.script.bare
			}
			if round == 0 {
				out[i] = pipe.EvalSha(ctx, text.sha, c.keys(), c.args...)
			} else {
				out[i] = pipe.Eval(ctx, text.source, c.keys(), c.args...)
			}
		}
		var waited *redis.Cmd
		if wait {
			waited = s.durability.wait(ctx, pipe)
		}
		execute(ctx, pipe)
		if wait {
			s.durability.judge(waited, calls, out)
		}
		var again []int
		for _, i := range pending {
			switch err := out[i].Err(); {
			case err == nil:
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
				again = append(again, i)
			case wait && redis.HasErrorPrefix(err, "MOVED"):
				reload(ctx, rdb)
				again = append(again, i)
			case !s.bare.Load() && strings.Contains(err.Error(), "near '#'"):
				s.bare.Store(true)
				again = append(again, i)
			case s.bare.Load() && round < 2 && strings.Contains(err.Error(), "near '#'"):
				again = append(again, i)
			}
		}
		pending = again
	}
	return out
}

// execute sends the pipeline; afterwards each command carries its own error. go-redis leaves
// that to us where the server refused the connection itself, its password for instance: to
// look at the commands alone, nothing went wrong.
func execute(ctx context.Context, pipe redis.Pipeliner) {
	cmds, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return
	}
	for _, c := range cmds {
		c.SetErr(err)
	}
}

func (s *scripts) one(ctx context.Context, rdb redis.UniversalClient, sc *script, key string, args ...any) (any, error) {
	return s.run(ctx, rdb, call{sc, key, args})[0].Result()
}
