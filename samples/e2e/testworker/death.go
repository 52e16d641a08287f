package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // the digest that EVALSHA wants, not a secret
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
)

// death is the point at which this process kills itself, so that a test sees what others make of it: before or after
// the nth time that it runs a script of the queue, calls a method of Temporal's frontend, or starts a step.
//
// Some scripts run now and then although there is nothing to do. Of those it is the first one that there is something to
// do for: after another script ran, or, where the process dies after it, one that did something.
type death struct {
	after bool
	what  string

	mu     sync.Mutex
	moved  sync.Cond         // of mu: arming has changed
	left   int               // protected by mu: how often it is passed unharmed
	armed  bool              // protected by mu
	arming int               // protected by mu: scripts under way that arm it
	dying  bool              // protected by mu: the script after which it dies is under way
	names  map[string]string // protected by mu: of scripts, by digest
}

// arms are the scripts after which there is something to do for others.
var arms = map[string]string{"claim": "enqueue", "batches": "settle.complete", "due": "settle.retry"}

// rings are the scripts that call executors to what they have added.
var rings = map[string]bool{"enqueue": true, "due": true, "settle.advance": true}

// settlements are the names of what settle does, by its own letters.
var settlements = map[string]string{"F": "complete", "R": "retry", "B": "release", "N": "advance"}

// parseDeath reads "before:settle.complete:1".
func parseDeath(s string) (*death, error) {
	side, rest, _ := strings.Cut(s, ":")
	what, nth, ok := strings.Cut(rest, ":")
	n, err := strconv.Atoi(nth)
	if !ok || err != nil || n < 1 || (side != "before" && side != "after") {
		return nil, fmt.Errorf("-die %q is not like before:settle.complete:1", s)
	}
	d := &death{after: side == "after", what: what, left: n - 1, armed: arms[what] == "" || (side == "after" && what != "due"), names: map[string]string{}}
	d.moved.L = &d.mu
	return d, nil
}

// pass is called on each side of each thing that the process does.
func (d *death) pass(after bool, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arm(after, what)
	for !after && what == d.what && d.arming > 0 {
		d.moved.Wait() // the bell of the script that arms may come before its answer
	}
	for !after && what == "claim" && d.dying {
		d.moved.Wait() // for ever: the bell of the script after which the process dies
	}
	if !d.armed || what != d.what {
		return
	}
	d.dying = d.dying || (d.after && !after && d.left == 0 && rings[what])
	if after != d.after {
		return
	}
	if d.left > 0 {
		d.left--
		return
	}
	fmt.Println("dies")
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {} // it takes a moment
}

// arm counts the scripts under way that arm the point. Holds mu.
func (d *death) arm(after bool, what string) {
	switch {
	case what != arms[d.what]:
	case after:
		d.armed = true
		d.disarm(what)
	default:
		d.arming++
	}
}

// disarm tells that the script is not under way any more. Holds mu.
func (d *death) disarm(what string) {
	if what == arms[d.what] {
		d.arming--
		d.moved.Broadcast()
	}
}

// interceptor dies at methods of the frontend.
func (d *death) interceptor(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	d.pass(false, path.Base(method))
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err == nil {
		d.pass(true, path.Base(method))
	}
	return err
}

// The rest is a go-redis hook that dies at scripts.

func (d *death) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (d *death) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (d *death) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		known := slices.DeleteFunc(slices.Clone(cmds), d.isUnknown)
		var scripts []string
		for _, c := range known {
			scripts = append(scripts, d.scriptsOf(c)...)
		}
		for _, name := range scripts {
			d.pass(false, name)
		}
		if len(known) == 0 {
			return cmds[0].Err()
		}
		err := next(ctx, known)
		for _, c := range known {
			names := d.scriptsOf(c)
			for _, name := range names {
				switch {
				case c.Err() != nil:
					d.mu.Lock()
					d.disarm(name)
					d.mu.Unlock()
				case !isIdle(c, names):
					d.pass(true, name)
				}
			}
		}
		return err
	}
}

// noScriptError is what a server answers that has not got a script's text.
type noScriptError struct{}

func (noScriptError) Error() string { return "NOSCRIPT No matching script." }
func (noScriptError) RedisError()   {}

// isUnknown answers for the server where a script comes by a digest that is not known yet, so that its text comes next.
func (d *death) isUnknown(c redis.Cmder) bool {
	if c.Name() != "evalsha" {
		return false
	}
	digest, _ := c.Args()[1].(string)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[digest] != "" {
		return false
	}
	c.SetErr(noScriptError{})
	return true
}

var header = regexp.MustCompile(`(?m)^-- (\w+)\.lua:`)

// scriptsOf names the script of a command, for settle each thing that it does; none for other commands.
func (d *death) scriptsOf(c redis.Cmder) []string {
	args := c.Args()
	if c.Name() != "eval" && c.Name() != "evalsha" {
		return nil
	}
	text, _ := args[1].(string)
	d.mu.Lock()
	name := d.names[text]
	if match := header.FindStringSubmatch(text); c.Name() == "eval" && match != nil {
		name = match[1]
		sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
		d.names[hex.EncodeToString(sum[:])] = name
	}
	d.mu.Unlock()
	if name != "settle" {
		return []string{name}
	}
	// EVAL, text, the number of keys, two keys and four arguments before; then groups of claims, each begun by eight
	// arguments, of which the first says what happens and the last how many claims there are.
	const first, head = 9, 8
	var names []string
	for i := first; i < len(args); {
		letter, _ := args[i].(string)
		claims, _ := args[i+head-1].(int)
		perClaim := 8
		if letter == "F" {
			perClaim = 4
		}
		names = append(names, slices.Repeat([]string{"settle." + settlements[letter]}, claims)...)
		i += head + claims*perClaim
	}
	return names
}

// isIdle says that there was nothing to do for the script.
func isIdle(c redis.Cmder, names []string) bool {
	cmd, ok := c.(*redis.Cmd)
	if !ok || len(names) == 0 {
		return false
	}
	switch reply := cmd.Val().(type) {
	case []any:
		switch names[0] {
		case "claim":
			entries, _ := reply[2].([]any)
			return len(entries) == 0
		case "batches":
			return len(reply) == 1
		}
	case int64:
		return names[0] == "due" && reply >= 0 // the one thing that is due is still to come
	}
	return false
}
