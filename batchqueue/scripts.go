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
	return &script{name: name, flagged: newScriptText(flags + state + body), bare: newScriptText(state + body)}
}

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
	enqueueScript = loadScript("enqueue")
	claimScript   = loadScript("claim")
	settleScript  = loadScript("settle")
	takeScript    = loadScript("take")
	askScript     = loadScript("ask")
	cancelScript  = loadScript("cancel")
	abandonScript = loadScript("abandon")
	dueScript     = loadScript("due")
	batchesScript = loadScript("batches")
	ackedScript   = loadScript("acked")
	extendScript  = loadScript("extend")
	auditScript   = loadScript("audit")
	adoptScript   = loadScript("adopt")
	lostScript    = loadScript("lost")
	leadScript    = loadScript("lead")
	permitsScript = loadScript("permits")
	resignScript  = loadScript("resign")
	statsScript   = loadScript("stats")
	forgetScript  = loadScript("forget")
	redriveScript = loadScript("redrive")
	tasksScript   = loadScript("tasks")
	taskScript    = loadScript("task")
	holdersScript = loadScript("holders")
	runsScript    = loadScript("runs")
	rateScript    = loadScript("rate")
)

// scripts runs scripts and remembers which text the server understands.
type scripts struct {
	bare atomic.Bool
}

func newScripts() *scripts { return &scripts{} }

// call is one script to run.
type call struct {
	script *script
	key    string // KEYS[1]: the slot's prefix
	args   []any
}

// run sends the calls in one pipeline. The result has one command per call, each with
// its own reply or error. A server that lost its scripts gets their texts: pipelines
// have no fallback of their own for NOSCRIPT.
func (s *scripts) run(ctx context.Context, rdb redis.UniversalClient, calls ...call) []*redis.Cmd {
	out := make([]*redis.Cmd, len(calls))
	pending := make([]int, len(calls))
	for i := range pending {
		pending[i] = i
	}
	// First by digest, then by text, then by text without flags.
	for round := 0; round < 3 && len(pending) > 0; round++ {
		pipe := rdb.Pipeline()
		for _, i := range pending {
			c := calls[i]
			text := c.script.flagged
			if s.bare.Load() {
				text = c.script.bare
			}
			if round == 0 {
				out[i] = pipe.EvalSha(ctx, text.sha, []string{c.key}, c.args...)
			} else {
				out[i] = pipe.Eval(ctx, text.source, []string{c.key}, c.args...)
			}
		}
		_, _ = pipe.Exec(ctx) // each command carries its own error
		var again []int
		for _, i := range pending {
			switch err := out[i].Err(); {
			case err == nil:
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
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

func (s *scripts) one(ctx context.Context, rdb redis.UniversalClient, sc *script, key string, args ...any) (any, error) {
	return s.run(ctx, rdb, call{sc, key, args})[0].Result()
}
