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
	flag := number(reply[0])
	claims, err := q.readEntries(ctx, pool, slot, reply)
	out := claimReply{more: flag == 1, blocked: flag == -1, bytes: bytesOf(reply)}
	for _, c := range claims {
		out.deliveries = append(out.deliveries, c.delivery)
	}
	return out, err
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

// readEntries turns a claim reply into deliveries. An entry that cannot be decoded
// becomes a dead letter; one of a newer format is released for newer executors.
func (q *Queue) readEntries(ctx context.Context, pool string, slot int, reply []any) ([]lostClaim, error) {
	commons := map[commonKey]commonData{}
	broken := map[commonKey]error{}
	flat, _ := reply[1].([]any)
	for i := 0; i+2 < len(flat); i += 3 {
		key := commonKey{text(flat[i]), text(flat[i+1])}
		commons[key], broken[key] = decodeCommon([]byte(text(flat[i+2])))
	}
	entries, _ := reply[2].([]any)
	out := make([]lostClaim, 0, len(entries))
	for _, e := range entries {
		parts, _ := e.([]any)
		if len(parts) < 7 {
			return out, fmt.Errorf("claim reply with an entry of %d parts: %w", len(parts), ErrInvalid)
		}
		d := &Delivery{Pool: pool, slot: slot, Type: text(parts[0]), lane: lane(text(parts[1])[0]), entry: text(parts[2])}
		list, _ := parts[3].([]any)
		s := readStored(list)
		common, err := commons[s.commonKey()], broken[s.commonKey()]
		if s.folded {
			common, err = decodeCommon([]byte(s.common))
		}
		if err == nil {
			err = d.decode(s, common)
		}
		if details, told := strings.CutPrefix(text(parts[5]), "="); told {
			d.Heartbeat = optional(details)
		}
		if err != nil {
			q.setAside(ctx, pool, d, s, err)
			continue
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

// setAside handles a claim that this code cannot run.
func (q *Queue) setAside(ctx context.Context, pool string, d *Delivery, s storedEntry, cause error) {
	o := Outcome{Kind: KindPoison, Retry: RetryNonRetryable}
	if _, at, _, err := decodeEntry([]byte(s.task)); err == nil {
		o.Step = at.step
	}
	action, body := byte('D'), encodeOutcome(&o)
	if errors.Is(cause, errNoCommon) {
		action = byte(actionFinish) // given up by its run, which has trimmed its data: no letter
	}
	if _, newer := errors.AsType[unknownVersionError](cause); newer {
		action, body = byte(actionRelease), nil
	}
	args := []any{q.keys.inboxPrefix(), deadLettersKept, q.keys.poolBell(pool), d.slot, string(action), "", d.Type, string(rune(d.lane)), d.entry,
		s.run, s.wave, max(1, number(s.number)), first8(s.task), body, 0, s.meta, s.failure, s.heartbeat}
	_, err := q.scripts.one(ctx, q.rdb, settleScript, q.keys.slot(pool, d.slot), args...)
	q.log.Error("slipstream: cannot decode a task", "pool", pool, "slot", d.slot, "type", d.Type, "entry", d.entry,
		"dead", action == 'D', "cause", cause, "error", err)
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
	reply, err := q.scripts.one(ctx, q.rdb, settleScript, q.keys.slot(pool, slot), q.settleArgs(pool, slot, batch)...)
	if err != nil {
		return nil, fmt.Errorf("settle %d tasks in pool %q slot %d: %w", len(batch), pool, slot, unavailable(err))
	}
	letters := text(reply)
	out := make([]settleReply, len(letters))
	for i := range letters {
		out[i] = settleReply(letters[i])
	}
	return out, nil
}

func (q *Queue) settleArgs(pool string, slot int, batch []settlement) []any {
	args := make([]any, 0, 4+14*len(batch))
	args = append(args, q.keys.inboxPrefix(), deadLettersKept, q.keys.poolBell(pool), slot)
	for i := range batch {
		s := &batch[i]
		d := s.d
		action := byte(s.action)
		if s.action == actionFinish && s.outcome.Kind == KindPoison {
			action = 'D'
		}
		var body []byte
		if s.outcome.Kind != 0 {
			body = encodeOutcome(&s.outcome)
		}
		delay := milliseconds(s.delay)
		if s.action == actionFinish {
			delay = 0
			if d.Options.Retry.MaximumAttempts == 1 {
				delay = 1
			}
		}
		more := [3]any{"", "", ""}
		switch {
		case s.action == actionAdvance:
			at := d.position
			at.option, at.step = d.plan.options[d.Step], d.Step+1
			more = [3]any{d.Then[d.Step].Type, encodeEntry(d.Fingerprint, at, s.next), ""}
		case s.action != actionFinish: // then there is nothing to remember
			meta := metadata{attempt: s.attempt, losses: s.losses, alone: s.alone, scheduledMS: d.ScheduledAt.UnixMilli()}
			more = [3]any{meta.String(), s.lastFailure, s.heartbeat}
		}
		run := d.stored
		if run == "" {
			run = encodeRun(d.Run)
		}
		args = append(args, string(action), s.lostBy, d.Type, string(rune(d.lane)), d.entry, run, d.wave,
			d.Number, fingerprintBytes(d.Fingerprint), body, delay, more[0], more[1], more[2])
	}
	return args
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
	for i, cmd := range q.scripts.run(ctx, q.rdb, calls...) {
		names, err := cmd.StringSlice()
		if err != nil {
			return out, fmt.Errorf("extend lease of executor %q in pool %q slot %d: %w", executor, pool, slots[i], unavailable(err))
		}
		for _, name := range names {
			if ref, ok := parseClaimName(slots[i], name); ok {
				out = append(out, ref)
			}
		}
	}
	return out, nil
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
		claims, err := q.readEntries(ctx, pool, slot, reply)
		if err != nil {
			return out, err
		}
		for _, c := range claims {
			out = append(out, c.delivery)
		}
	}
	return out, nil
}

func (q *Queue) dropLease(ctx context.Context, pool string, slot int, executor string) error {
	if err := q.rdb.ZRem(ctx, q.keys.slot(pool, slot)+suffixLeases, executor).Err(); err != nil {
		return fmt.Errorf("drop lease of executor %q in pool %q slot %d: %w", executor, pool, slot, unavailable(err))
	}
	return nil
}

func (q *Queue) lost(ctx context.Context, pool string, slot, limit int) ([]lostClaim, bool, error) {
	reply, err := q.scripts.run(ctx, q.rdb, call{lostScript, q.keys.slot(pool, slot), []any{limit, pageBytes}})[0].Slice()
	if err != nil {
		return nil, false, fmt.Errorf("look for lost claims in pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	claims, err := q.readEntries(ctx, pool, slot, reply)
	return claims, number(reply[0]) == 1, err
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

func (q *Queue) lead(ctx context.Context, pool string, slot int, executor string, ttl time.Duration) (bool, error) {
	reply, err := q.scripts.one(ctx, q.rdb, leadScript, q.keys.slot(pool, slot), executor, milliseconds(ttl))
	if err != nil {
		return false, fmt.Errorf("lead pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	return number(reply) == 1, nil
}

func (q *Queue) resign(ctx context.Context, pool string, slot int, executor string) error {
	if _, err := q.scripts.one(ctx, q.rdb, resignScript, q.keys.slot(pool, slot), executor); err != nil {
		return fmt.Errorf("resign from pool %q slot %d: %w", pool, slot, unavailable(err))
	}
	return nil
}

// isNil tells an absent key from an error.
func isNil(err error) bool { return errors.Is(err, redis.Nil) }
