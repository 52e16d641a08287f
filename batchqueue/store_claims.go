package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// pageBytes bounds what an adoption and a look for lost claims bring at a time.
const pageBytes = 8 << 20

// deadLettersKept bounds the dead letters of a slot.
const deadLettersKept = 10000

func (q *Queue) claim(ctx context.Context, pool string, slot int, r claimRequest) (claimReply, error) {
	args := []any{r.executor, milliseconds(r.lease), r.count, r.bytes, r.outboxLimit, r.outboxBytes, r.suspects[0], r.suspects[1], r.suspects[2]}
	for _, t := range r.types {
		args = append(args, t)
	}
	reply, err := q.scripts.run(ctx, q.rdb, call{claimScript, q.keys.slot(pool, slot), args})[0].Slice()
	if err != nil {
		return claimReply{}, fmt.Errorf("claim from pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	return q.readClaim(ctx, pool, slot, reply)
}

// readClaim reads the reply of claim.lua.
func (q *Queue) readClaim(ctx context.Context, pool string, slot int, reply []any) (claimReply, error) {
	flag := number(reply[0])
	out := claimReply{more: flag == 1, blocked: flag == -1, bytes: bytesOf(reply)}
	read := q.newEntryReader(pool, slot, reply[1])
	parts, _ := reply[2].([]any)
	for _, p := range parts {
		part, _ := p.([]any)
		if len(part) != 3 {
			return out, fmt.Errorf("claim reply with a part of %d: %w", len(part), ErrInvalid)
		}
		typ, in := text(part[0]), lane(text(part[1])[0])
		entries, _ := part[2].([]any)
		for _, e := range entries {
			entry, _ := e.([]any)
			if len(entry) != 2 {
				return out, fmt.Errorf("claim reply with an entry of %d parts: %w", len(entry), ErrInvalid)
			}
			if d := read.delivery(ctx, typ, in, text(entry[0]), entry[1]); d != nil {
				out.deliveries = append(out.deliveries, d)
			}
		}
	}
	out.dead = read.dead
	return out, nil
}

// bytesOf counts the bytes of a reply.
func bytesOf(reply any) (n int) {
	switch reply := reply.(type) {
	case string:
		return len(reply)
	case []any:
		for _, part := range reply {
			n += bytesOf(part)
		}
	}
	return n
}

// entryReader turns stream entries into deliveries.
type entryReader struct {
	q       *Queue
	pool    string
	slot    int
	lost    bool // the claims were lost
	commons map[commonKey]commonData
	broken  map[commonKey]error
	// dead are those that became dead letters, as far as they could be read.
	dead []*Delivery
}

// newEntryReader takes the common data that the entries of a reply refer to.
func (q *Queue) newEntryReader(pool string, slot int, commons any) *entryReader {
	r := &entryReader{q: q, pool: pool, slot: slot, commons: map[commonKey]commonData{}, broken: map[commonKey]error{}}
	flat, _ := commons.([]any)
	for i := 0; i+2 < len(flat); i += 3 {
		key := commonKey{text(flat[i]), text(flat[i+1])}
		r.commons[key], r.broken[key] = decodeCommon([]byte(text(flat[i+2])))
	}
	return r
}

// delivery returns nil for an entry that cannot be run here. One that cannot be decoded
// becomes a dead letter. One of a newer format goes back for newer executors; if it is lost
// it stays where it is, for a newer leader: whether it may start again nobody else can tell.
func (r *entryReader) delivery(ctx context.Context, typ string, in lane, entry string, fields any) *Delivery {
	d := &Delivery{Pool: r.pool, slot: r.slot, Type: typ, lane: in, entry: entry}
	list, _ := fields.([]any)
	s := readStored(list)
	common, err := r.commons[s.commonKey()], r.broken[s.commonKey()]
	if s.folded {
		common, err = decodeCommon([]byte(s.common))
	}
	if wrong := s.check(); wrong != nil {
		err = wrong // before what is missing: that may have been trimmed
	}
	if err == nil {
		err = d.decode(s, common)
	}
	if err == nil {
		return d
	}
	if _, newer := errors.AsType[unknownVersionError](err); newer && r.lost {
		r.q.warnOfNewer(r.pool, r.slot, err)
	} else if r.q.setAside(ctx, r.pool, d, s, err) {
		r.dead = append(r.dead, d)
	}
	return nil
}

// readClaims reads the claims of a reply that says whose they are.
func (q *Queue) readClaims(ctx context.Context, pool string, slot int, reply []any, lost bool) ([]lostClaim, error) {
	read := q.newEntryReader(pool, slot, reply[1])
	read.lost = lost
	entries, _ := reply[2].([]any)
	out := make([]lostClaim, 0, len(entries))
	for _, e := range entries {
		parts, _ := e.([]any)
		if len(parts) < 7 {
			return out, fmt.Errorf("reply with a claim of %d parts: %w", len(parts), ErrInvalid)
		}
		d := read.delivery(ctx, text(parts[0]), lane(text(parts[1])[0]), text(parts[2]), parts[3])
		if d == nil {
			continue
		}
		if details, told := strings.CutPrefix(text(parts[5]), "="); told {
			d.Heartbeat = optional(details)
		}
		out = append(out, lostClaim{delivery: d, executor: text(parts[4]), held: time.Duration(number(parts[6])) * time.Millisecond})
	}
	return out, nil
}

// decode fills the delivery from a stream entry.
func (d *Delivery) decode(s storedEntry, common commonData) (err error) {
	fingerprint, at, payload, err := decodeEntry([]byte(s.task))
	if err != nil {
		return err
	}
	if d.Run, err = decodeRun(s.run); err != nil {
		return err
	}
	if d.Number, err = strconv.ParseUint(s.number, 10, 64); err != nil {
		return errUndecodable("task number", s.number)
	}
	if at.option >= len(common.options) {
		return fmt.Errorf("task %d has option %d of %d: %w", d.Number, at.option, len(common.options), ErrInvalid)
	}
	if at.planned {
		if at.plan >= len(common.plans) || at.step > len(common.plans[at.plan].steps) {
			return fmt.Errorf("task %d is in step %d of plan %d, of %d plans: %w", d.Number, at.step, at.plan, len(common.plans), ErrInvalid)
		}
		d.Step, d.Then, d.plan = at.step, common.plans[at.plan].steps, &common.plans[at.plan]
	}
	m, err := parseMetadata(s.meta)
	if err != nil {
		return err
	}
	d.stored, d.wave, d.Fingerprint, d.Payload = s.run, s.wave, fingerprint, payload
	d.position, d.Options, d.Common = at, common.options[at.option], common.user
	d.Attempt, d.losses, d.alone = m.attempt, m.losses, m.alone
	d.AttemptScheduledAt = entryTime(d.entry)
	d.ScheduledAt = d.AttemptScheduledAt
	if m.scheduledMS > 0 {
		d.ScheduledAt = time.UnixMilli(m.scheduledMS)
	}
	d.LastFailure, d.Heartbeat = optional(s.failure), optional(s.heartbeat)
	return nil
}

// optional bytes are stored as an empty string when there are none.
func optional(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// declinedFor is how long a task is left alone that an executor could not run and gave
// back for others: without it, the one that cannot would claim it again at once.
const declinedFor = 2 * time.Second

// setAside handles a claim that this code cannot run, and says whether it is dead now.
func (q *Queue) setAside(ctx context.Context, pool string, d *Delivery, s storedEntry, cause error) (dead bool) {
	o := Outcome{Kind: KindPoison, Retry: RetryNonRetryable}
	if _, at, _, err := decodeEntry([]byte(s.task)); err == nil {
		o.Step = at.step
	}
	action, body := byte('D'), encodeOutcome(&o)
	if errors.Is(cause, errNoCommon) {
		action = byte(actionFinish) // given up by its run, which has trimmed its data: no letter
	}
	meta, delay := s.meta, int64(0)
	_, newer := errors.AsType[unknownVersionError](cause)
	if newer {
		action, body, delay = byte(actionRetry), nil, milliseconds(declinedFor)
		if meta == "" { // its next entry will not say when it was scheduled
			meta = metadata{attempt: 1, scheduledMS: entryTime(d.entry).UnixMilli()}.String()
		}
	}
	args := append(q.settleHead(pool, d.slot), string(action), "", d.Type, string(rune(d.lane)), s.run, s.wave, false, 1,
		d.entry, max(1, number(s.number)), first8(s.task), body)
	if action != byte(actionFinish) {
		args = append(args, delay, meta, s.failure, s.heartbeat)
	}
	_, err := q.scripts.one(ctx, q.rdb, settleScript, q.keys.slot(pool, d.slot), args...)
	if newer && err == nil {
		q.warnOfNewer(pool, d.slot, cause)
		return false
	}
	dead = action == 'D' && err == nil
	if n, say := q.undecodable.Failed(time.Now()); say {
		q.log.Error("[Slipstream] tasks cannot be decoded", "Pool", pool, "Slot", d.slot, "Tasks", n, "Type", d.Type,
			"Entry", d.entry, "Dead", dead, "Cause", cause, "Error", err)
	}
	return dead
}

// warnOfNewer says that something is left for newer code.
func (q *Queue) warnOfNewer(pool string, slot int, cause error) {
	if n, say := q.newer.Failed(time.Now()); say {
		q.log.Warn("[Slipstream] newer executors wrote what this one cannot read; it is left to them", "Pool", pool, "Slot", slot,
			"Times", n, "Cause", cause)
	}
}

// first8 is the fingerprint at the front of an entry that may be damaged.
func first8(s string) string {
	if len(s) >= 8 {
		return s[:8]
	}
	return s + strings.Repeat("\x00", 8-len(s))
}

func (q *Queue) settle(ctx context.Context, pool string, slot int, batch []settlement) ([]settleReply, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	args, order := q.settleArgs(pool, slot, batch)
	reply, err := q.scripts.one(ctx, q.rdb, settleScript, q.keys.slot(pool, slot), args...)
	if err != nil {
		return nil, fmt.Errorf("settle %d tasks in pool %q slot %d: %w", len(batch), pool, slot, unavailable(err))
	}
	letters := text(reply)
	if len(letters) != len(batch) {
		return nil, fmt.Errorf("settle %d tasks in pool %q slot %d: %d answers: %w", len(batch), pool, slot, len(letters), ErrInvalid)
	}
	out := make([]settleReply, len(batch))
	for i, at := range order {
		out[at] = settleReply(letters[i])
	}
	return out, nil
}

// settleGroup is what settle.lua is told once for all claims that have it in common.
type settleGroup struct {
	action      byte
	lostBy, typ string
	lane        lane
	run, wave   string
	once        bool
}

func groupOf(s *settlement) settleGroup {
	d := s.d
	g := settleGroup{
		action: byte(s.action), lostBy: s.lostBy, typ: d.Type, lane: d.lane, run: d.stored, wave: d.wave,
		once: s.action == actionFinish && d.Options.Retry.MaximumAttempts == 1,
	}
	if s.action == actionFinish && s.outcome.Kind == KindPoison {
		g.action = 'D'
	}
	if g.run == "" {
		g.run = encodeRun(d.Run)
	}
	return g
}

func (q *Queue) settleHead(pool string, slot int) []any {
	return []any{q.keys.inboxPrefix(), deadLettersKept, q.keys.poolBell(pool), slot}
}

// settleArgs deals the batch out to groups. The second result says which settlement each
// letter of the reply is about.
func (q *Queue) settleArgs(pool string, slot int, batch []settlement) (args []any, order []int) {
	members := make(map[settleGroup][]int)
	var groups []settleGroup
	for i := range batch {
		g := groupOf(&batch[i])
		if members[g] == nil {
			groups = append(groups, g)
		}
		members[g] = append(members[g], i)
	}
	args, order = q.settleHead(pool, slot), make([]int, 0, len(batch))
	for _, g := range groups {
		args = append(args, string(g.action), g.lostBy, g.typ, string(rune(g.lane)), g.run, g.wave, g.once, len(members[g]))
		for _, i := range members[g] {
			args = appendSettlement(args, g.action, &batch[i])
		}
		order = append(order, members[g]...)
	}
	return args, order
}

func appendSettlement(args []any, action byte, s *settlement) []any {
	d := s.d
	var body []byte
	if s.outcome.Kind != 0 {
		body = encodeOutcome(&s.outcome)
	}
	args = append(args, d.entry, d.Number, fingerprintBytes(d.Fingerprint), body)
	switch {
	case action == byte(actionFinish):
		return args
	case s.action == actionFinish: // then there is nothing to remember
		return append(args, 0, "", "", "")
	case s.action == actionAdvance:
		at := d.position
		at.option, at.step = d.plan.options[d.Step], d.Step+1
		return append(args, 0, d.Then[d.Step].Type, encodeEntry(d.Fingerprint, at, s.next), "")
	}
	meta := metadata{attempt: s.attempt, losses: s.losses, alone: s.alone, scheduledMS: d.ScheduledAt.UnixMilli()}
	return append(args, milliseconds(s.delay), meta.String(), s.lastFailure, s.heartbeat)
}

func claimName(r claimRef) string { return string(rune(r.lane)) + r.entry + "/" + r.typ }

func parseClaimName(slot int, s string) (claimRef, bool) {
	entry, typ, ok := strings.Cut(s, "/")
	if !ok || len(entry) < 2 {
		return claimRef{}, false
	}
	return claimRef{slot: slot, typ: typ, lane: lane(entry[0]), entry: entry[1:]}, true
}

func (q *Queue) extend(ctx context.Context, pool string, slots []int, executor string, lease time.Duration, heartbeats map[claimRef][]byte) ([]claimRef, error) {
	calls := make([]call, len(slots))
	for i, slot := range slots {
		args := []any{executor, milliseconds(lease)}
		for ref, details := range heartbeats {
			if ref.slot == slot {
				args = append(args, claimName(ref), details)
			}
		}
		calls[i] = call{extendScript, q.keys.slot(pool, slot), args}
	}
	var out []claimRef
	var errs []error // in a cluster each slot may fail alone
	for i, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		names, err := cmd.StringSlice()
		if err != nil {
			errs = append(errs, fmt.Errorf("extend lease of executor %q in pool %q slot %d: %w", executor, pool, slots[i], unavailable(err)))
		}
		for _, name := range names {
			if ref, ok := parseClaimName(slots[i], name); ok {
				out = append(out, ref)
			}
		}
	}
	return out, errors.Join(errs...)
}

func (q *Queue) audit(ctx context.Context, pool string, slot int, executor string) ([]claimRef, error) {
	names, err := q.scripts.run(ctx, q.rdb, call{auditScript, q.keys.slot(pool, slot), []any{executor}})[0].StringSlice()
	if err != nil {
		return nil, fmt.Errorf("audit claims of executor %q in pool %q slot %d: %w", executor, pool, slot, unavailable(err))
	}
	out := make([]claimRef, 0, len(names))
	for _, name := range names {
		if ref, ok := parseClaimName(slot, name); ok {
			out = append(out, ref)
		}
	}
	return out, nil
}

func (q *Queue) adopt(ctx context.Context, pool string, executor string, refs []claimRef) ([]*Delivery, error) {
	bySlot := map[int][]any{}
	for _, r := range refs {
		if bySlot[r.slot] == nil {
			bySlot[r.slot] = []any{executor, pageBytes}
		}
		bySlot[r.slot] = append(bySlot[r.slot], string(rune(r.lane)), r.entry, r.typ)
	}
	var out []*Delivery
	for slot, args := range bySlot {
		reply, err := q.scripts.run(ctx, q.rdb, call{adoptScript, q.keys.slot(pool, slot), args})[0].Slice()
		if err != nil {
			return out, fmt.Errorf("adopt %d claims in pool %q slot %d: %w", len(refs), pool, slot, unavailable(err))
		}
		claims, err := q.readClaims(ctx, pool, slot, reply, false)
		if err != nil {
			return out, err
		}
		for _, c := range claims {
			out = append(out, c.delivery)
		}
	}
	return out, nil
}

func (q *Queue) dropLease(ctx context.Context, pool, executor string, slots ...int) error {
	pipe := q.rdb.Pipeline()
	for _, slot := range slots {
		pipe.ZRem(ctx, q.keys.slot(pool, slot)+suffixLeases, executor)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("drop leases of executor %q in pool %q: %w", executor, pool, unavailable(err))
	}
	return nil
}

func (q *Queue) lost(ctx context.Context, pool string, slot, limit int) (lostPage, error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{lostScript, q.keys.slot(pool, slot), []any{limit, pageBytes}})[0].Slice()
	if err != nil {
		return lostPage{}, fmt.Errorf("look for lost claims in pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	claims, err := q.readClaims(ctx, pool, slot, reply, true)
	return lostPage{claims, number(reply[0]) == 1, number(reply[3]) == 1}, err
}

func (q *Queue) due(ctx context.Context, pool string, slot int) (time.Duration, error) {
	const page = 200
	reply, err := q.scripts.one(ctx, q.rdb, dueScript, q.keys.slot(pool, slot), page, q.keys.inboxPrefix())
	if err != nil {
		return 0, fmt.Errorf("move due tasks in pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	if ms := number(reply); ms >= 0 {
		return time.Duration(ms) * time.Millisecond, nil
	}
	return -1, nil
}

func (q *Queue) resign(ctx context.Context, pool string, slot int, executor string) error {
	if _, err := q.scripts.one(ctx, q.rdb, resignScript, q.keys.slot(pool, slot), executor); err != nil {
		return fmt.Errorf("resign from pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	return nil
}

// isNil tells an absent key from an error.
func isNil(err error) bool { return errors.Is(err, redis.Nil) }
