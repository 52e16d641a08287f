package batchqueue

import (
	"crypto/sha1" //nolint:gosec // see fold
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// Every key and channel of Slipstream is built in this file, for Go and (through
// luaKeys) for the scripts. A slot's keys share the hash tag {namespace/pool/slot},
// a pool's own keys {namespace/pool}; no script touches two tags.
//
// "Slot" is a partition of a pool. It is neither Temporal's worker slot nor a Redis
// Cluster hash slot; the tag is what places it into one of the latter.
type keys struct {
	prefix    string // Options.KeyPrefix
	namespace string // escaped
}

func newKeys(prefix, namespace string) keys {
	return keys{prefix: prefix, namespace: escapePart(namespace)}
}

// slot returns the prefix of all keys of a slot; it is KEYS[1] of every slot script.
func (k keys) slot(pool string, slot int) string {
	return k.prefix + ":{" + k.namespace + "/" + escapePart(pool) + "/" + strconv.Itoa(slot) + "}:"
}

func (k keys) pool(pool string) string {
	return k.prefix + ":{" + k.namespace + "/" + escapePart(pool) + "}:"
}

// Pool keys.
func (k keys) config(pool string) string       { return k.pool(pool) + "config" }
func (k keys) announced(pool string) string    { return k.pool(pool) + "announced" }
func (k keys) executors(pool string) string    { return k.pool(pool) + suffixExecutors }
func (k keys) presence(pool, id string) string { return k.pool(pool) + suffixPresence + id }
func (k keys) rate(pool string) string         { return k.pool(pool) + "rate" }
func (k keys) enlisted(pool string) string     { return k.pool(pool) + "enlisted" }
func (k keys) heir(family string) string       { return k.pool(family) + "heir" }
func (k keys) inherited(family string) string  { return k.pool(family) + "inherited" }

// pools is the one key of the namespace: the names of its pools.
func (k keys) pools() string { return k.prefix + ":{" + k.namespace + "}:pools" }

// Channels. They carry hints only: whoever misses one finds the work by looking.
func (k keys) poolBell(pool string) string           { return k.pool(pool) + "bell" }
func (k keys) configBell(pool string) string         { return k.pool(pool) + "config-bell" }
func (k keys) executorBell(pool, id string) string   { return k.pool(pool) + "executor-bell:" + id }
func (k keys) executorBellPrefix(pool string) string { return k.pool(pool) + "executor-bell:" }
func (k keys) slotBell(pool string, slot int) string { return k.slot(pool, slot) + suffixBell }
func (k keys) deliverBell(pool string, slot int) string {
	return k.slot(pool, slot) + suffixDeliverBell
}
func (k keys) inboxPrefix() string    { return k.prefix + ":{" + k.namespace + "}:inbox:" }
func (k keys) inbox(id string) string { return k.inboxPrefix() + id }

// Keys of a pool that a script builds from its prefix.
const (
	suffixExecutors = "executors" // zset executor -> when it started
	suffixPresence  = "executor:" // + executor: string, what it says about itself
)

// The keys of a slot, as suffixes of its prefix. The scripts get the same names.
const (
	suffixReady       = "ready:"      // + type: stream of enqueued tasks
	suffixFront       = "front:"      // + type: stream of released, reclaimed and due tasks
	suffixSuspect     = "suspect:"    // + level 1..3 + ":" + type: stream of suspects
	suffixRun         = "run:"        // + run: hash, the run record
	suffixFold        = "fold:"       // + number, from a run's sum: hash sum -> place of its only task
	suffixBox         = "box:"        // + run: list of undelivered outcomes
	suffixTaken       = "taken:"      // + run: hash number -> outcome handed to a dispatch
	suffixClosed      = "closed:"     // + run + ":" + wave: the closing answer
	suffixTypes       = "types"       // list of types seen in the slot
	suffixDue         = "due"         // zset of what happens at a time
	suffixDelayed     = "delayed"     // hash run/number -> entry that is delayed or parked
	suffixDeliverable = "deliverable" // zset run -> not before
	suffixLeases      = "leases"      // zset executor -> expiry
	suffixCancels     = "cancels"     // hash claim -> executor that is told to stop
	suffixHeartbeats  = "heartbeats"  // hash claim -> last details
	suffixCounters    = "counters"    // hash of exact counts
	suffixPermits     = "permits"     // hash home executor -> "permits|expiry"
	suffixDeliverer   = "deliverer"   // string: executor that leads the slot
	suffixDead        = "dead"        // stream of dead letters
	suffixBell        = "bell"
	suffixDeliverBell = "deliver-bell"
	suffixNothing     = "nothing" // never there: see call.keys
)

// group is the name of the one consumer group on every stream.
const group = "executors"

// luaKeys is put before every slot script: the same suffixes as Lua functions over
// the slot's prefix, so that a name is spelled once.
func luaKeys() string {
	var b strings.Builder
	b.WriteString("local P = KEYS[1]\nlocal GROUP = '" + group + "'\n")
	for _, fixed := range []struct{ name, suffix string }{
		{"TYPES", suffixTypes}, {"DUE", suffixDue}, {"DELAYED", suffixDelayed},
		{"DELIVERABLE", suffixDeliverable}, {"LEASES", suffixLeases},
		{"CANCELS", suffixCancels}, {"HEARTBEATS", suffixHeartbeats}, {"COUNTERS", suffixCounters},
		{"PERMITS", suffixPermits}, {"DELIVERER", suffixDeliverer}, {"DEAD", suffixDead},
		{"BELL", suffixBell}, {"DELIVER_BELL", suffixDeliverBell},
	} {
		b.WriteString("local " + fixed.name + " = P .. '" + fixed.suffix + "'\n")
	}
	for _, open := range []struct{ name, suffix string }{
		{"record_key", suffixRun}, {"fold_key", suffixFold}, {"box_key", suffixBox}, {"taken_key", suffixTaken},
		{"closed_key", suffixClosed},
	} {
		b.WriteString("local function " + open.name + "(name) return P .. '" + open.suffix + "' .. name end\n")
	}
	b.WriteString("local LANES = { r = '" + suffixReady + "', f = '" + suffixFront + "'")
	for level := range suspectLevels {
		lane := strconv.Itoa(level + 1)
		b.WriteString(", ['" + lane + "'] = '" + suffixSuspect + lane + ":'")
	}
	b.WriteString(" }\n")
	b.WriteString("local function stream_key(lane, name) return P .. LANES[lane] .. name end\n")
	return b.String()
}

// escapePart makes a name safe inside a key: braces would move the hash tag, a slash
// or colon would make two names one.
func escapePart(s string) string {
	if !strings.ContainsAny(s, "{}/:% \n\r\x00") {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte("{}/:% \n\r\x00", c) >= 0 {
			b.WriteByte('%')
			b.WriteString(hex.EncodeToString([]byte{c}))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// fold is where a slot keeps the run while it is folded (see state.lua, which says it again).
func (k keys) fold(pool string, slot int, run string) (key, field string) {
	sum := sha1.Sum([]byte(encodeRun(run))) //nolint:gosec // the digest that scripts can make, not a secret
	number := (int(sum[0])<<4 | int(sum[1])>>4) % 1024
	return k.slot(pool, slot) + suffixFold + strconv.Itoa(number), hex.EncodeToString(sum[:])[3:11]
}

// Run names are UUIDs almost always; 16 bytes in base64 instead of 36 characters save
// memory in each key and stream entry. '~' marks the short form: it stands in no
// UUID and escapeRun escapes it elsewhere.
func encodeRun(run string) string {
	if len(run) == 36 {
		raw, err := hex.DecodeString(run[0:8] + run[9:13] + run[14:18] + run[19:23] + run[24:36])
		if err == nil && run == formatUUID(raw) {
			return "~" + base64.RawURLEncoding.EncodeToString(raw)
		}
	}
	return strings.ReplaceAll(escapePart(run), "~", "%7e")
}

func decodeRun(s string) (string, error) {
	if rest, short := strings.CutPrefix(s, "~"); short {
		raw, err := base64.RawURLEncoding.DecodeString(rest)
		if err != nil || len(raw) != 16 {
			return "", errUndecodable("run name", s)
		}
		return formatUUID(raw), nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errUndecodable("run name", s)
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", errUndecodable("run name", s)
		}
		b.WriteByte(c[0])
		i += 2
	}
	return b.String(), nil
}

func formatUUID(raw []byte) string {
	h := hex.EncodeToString(raw)
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}
