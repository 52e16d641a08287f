package batchqueue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the queue stores, in bytes. Every format starts with a version; an entry of a
// version this code does not know is left for newer executors.
const (
	formatVersion = 1
	// stepsVersion is that of tasks with further steps, and of the common data of their
	// waves: who does not know steps must not end such a task after its first.
	stepsVersion = 2
)

// position is where the common data of a wave holds what belongs to an entry.
type position struct {
	option int // index of the options
	// Only of a task with further steps: plan is the index of its plan, step the step that
	// the entry is.
	planned    bool
	plan, step int
}

// encodeEntry is the immutable part of a stream entry: fingerprint (8 bytes, the scripts
// read them), version, index of the options in the common data, with steps index of the
// plan and number of the step, payload.
func encodeEntry(fingerprint uint64, at position, payload []byte) []byte {
	b := make([]byte, 0, 8+1+4+len(payload))
	b = binary.BigEndian.AppendUint64(b, fingerprint)
	if at.planned {
		b = append(b, stepsVersion)
		b = binary.AppendUvarint(b, uint64(at.option))
		b = binary.AppendUvarint(b, uint64(at.plan))
		b = binary.AppendUvarint(b, uint64(at.step))
	} else {
		b = append(b, formatVersion)
		b = binary.AppendUvarint(b, uint64(at.option))
	}
	return append(b, payload...)
}

func decodeEntry(b []byte) (fingerprint uint64, at position, payload []byte, err error) {
	if len(b) < 10 {
		return 0, position{}, nil, fmt.Errorf("entry of %d bytes is too short: %w", len(b), ErrInvalid)
	}
	if b[8] != formatVersion && b[8] != stepsVersion {
		return 0, position{}, nil, errUnknownVersion(b[8])
	}
	r := reader{b: b[9:]}
	at.option = r.index()
	if b[8] == stepsVersion {
		at.planned, at.plan, at.step = true, r.index(), r.index()
	}
	return binary.BigEndian.Uint64(b), at, r.b, r.err
}

// unknownVersionError is a stored version that newer code wrote.
type unknownVersionError byte

func errUnknownVersion(v byte) error { return unknownVersionError(v) }

func (v unknownVersionError) Error() string {
	return fmt.Sprintf("stored by a newer version of the queue (format %d, this code knows up to %d)", byte(v), stepsVersion)
}

// commonData is what the tasks of a wave share: the caller's bytes, the distinct task
// options, and the distinct plans of tasks with further steps.
type commonData struct {
	options []TaskOptions
	plans   []plan
	user    []byte
}

// plan are the further steps of a task, and the index of the options of each.
type plan struct {
	steps   []Step
	options []int
}

// positionOf returns where the task's data are, and adds what is not there yet.
func (c *commonData) positionOf(t *Task) position {
	at := position{option: c.optionOf(t.Options)}
	if len(t.Then) == 0 {
		return at
	}
	at.planned = true
	at.plan = slices.IndexFunc(c.plans, func(p plan) bool { return equalSteps(p.steps, t.Then) })
	if at.plan < 0 {
		at.plan = len(c.plans)
		p := plan{steps: t.Then}
		for i := range t.Then {
			p.options = append(p.options, c.optionOf(t.Then[i].Options))
		}
		c.plans = append(c.plans, p)
	}
	return at
}

func (c *commonData) optionOf(o TaskOptions) int {
	option := slices.Index(c.options, o)
	if option < 0 {
		option = len(c.options)
		c.options = append(c.options, o)
	}
	return option
}

func equalSteps(a, b []Step) bool {
	if len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) {
		return true // the rule, where a caller gives many tasks the same steps
	}
	return slices.EqualFunc(a, b, func(a, b Step) bool {
		return a.Type == b.Type && a.Options == b.Options && bytes.Equal(a.Payload, b.Payload)
	})
}

func encodeCommon(c commonData) []byte {
	b := []byte{formatVersion}
	if len(c.plans) > 0 {
		b[0] = stepsVersion
	}
	b = binary.AppendUvarint(b, uint64(len(c.options)))
	for _, o := range c.options {
		b = appendOptions(b, o)
	}
	if len(c.plans) > 0 {
		b = binary.AppendUvarint(b, uint64(len(c.plans)))
	}
	for _, p := range c.plans {
		b = binary.AppendUvarint(b, uint64(len(p.steps)))
		for i, s := range p.steps {
			b = appendString(b, s.Type)
			b = appendString(b, string(s.Payload))
			b = binary.AppendUvarint(b, uint64(p.options[i]))
		}
	}
	return append(b, c.user...)
}

// errNoCommon: the run has trimmed the data of the task's wave.
var errNoCommon = fmt.Errorf("common data is missing: %w", ErrInvalid)

func decodeCommon(b []byte) (commonData, error) {
	if len(b) == 0 {
		return commonData{}, errNoCommon
	}
	if b[0] != formatVersion && b[0] != stepsVersion {
		return commonData{}, errUnknownVersion(b[0])
	}
	r := reader{b: b[1:]}
	n := r.uvarint()
	if n > 1<<16 {
		return commonData{}, fmt.Errorf("common data with %d options: %w", n, ErrInvalid)
	}
	c := commonData{}
	for range n {
		c.options = append(c.options, r.options())
	}
	if b[0] == stepsVersion {
		for range r.length() {
			c.plans = append(c.plans, r.plan(c.options))
		}
	}
	c.user = r.b
	return c, r.err
}

func appendOptions(b []byte, o TaskOptions) []byte {
	for _, d := range []time.Duration{o.ScheduleToStart, o.ScheduleToClose, o.StartToClose, o.Heartbeat, o.Retry.InitialInterval, o.Retry.MaximumInterval} {
		b = binary.AppendUvarint(b, uint64(max(d, 0)))
	}
	b = binary.AppendUvarint(b, uint64(max(o.Retry.MaximumAttempts, 0)))
	b = binary.AppendUvarint(b, finalTimeouts(o.Retry))
	return appendString(b, strconv.FormatFloat(o.Retry.BackoffCoefficient, 'g', -1, 64))
}

// Time-outs that are not retried, as bits.
const (
	finalStartToClose = 1 << iota
	finalHeartbeat
)

func finalTimeouts(p RetryPolicy) (bits uint64) {
	if p.FinalStartToClose {
		bits |= finalStartToClose
	}
	if p.FinalHeartbeat {
		bits |= finalHeartbeat
	}
	return bits
}

// kindInStep is added to the kind of an outcome where the number of a step follows.
const kindInStep = 16

// encodeOutcome is an outcome's body: the kind, then the rest. Its number and
// fingerprint stand before it, written by the scripts.
func encodeOutcome(o *Outcome) []byte {
	b := make([]byte, 0, 26+len(o.Executor)+len(o.LastFailure)+len(o.Details)+len(o.Payload))
	b = append(b, byte(o.Kind))
	if o.Step > 0 {
		b[0] += kindInStep
		b = binary.AppendUvarint(b, uint64(o.Step))
	}
	b = binary.AppendUvarint(b, uint64(max(o.Attempt, 0)))
	b = binary.AppendUvarint(b, uint64(max(o.Retry, 0)))
	b = appendString(b, o.Executor)
	b = appendString(b, string(o.LastFailure))
	b = appendString(b, string(o.Details))
	return append(b, o.Payload...)
}

// unknownKindError is a kind of outcome that newer code wrote.
type unknownKindError byte

func (k unknownKindError) Error() string {
	return fmt.Sprintf("outcome of kind %d, which only newer code knows", byte(k))
}

// decodeOutcome reads an element of a run's box: "<number>:" fingerprint wave body. With an
// error the outcome has its number and fingerprint, if these could be read.
func decodeOutcome(element string) (Outcome, error) {
	number, rest, ok := strings.Cut(element, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || len(rest) < 17 {
		return Outcome{}, fmt.Errorf("outcome of %d bytes has no identity: %w", len(element), ErrInvalid)
	}
	o := Outcome{Number: n, Fingerprint: binary.BigEndian.Uint64([]byte(rest[:8]))}
	kind, body := rest[16], rest[17:]
	switch {
	case strings.IndexByte("scSC", kind) >= 0:
		// Written by a script, when a waiting deadline ran out; in upper case in a later step.
		o.Kind, o.Retry = KindScheduleToStart, RetryTimeout
		if kind == 'c' || kind == 'C' {
			o.Kind = KindScheduleToClose
		}
		if kind == 'S' || kind == 'C' {
			var step string
			step, body, _ = strings.Cut(body, ":")
			o.Step, _ = strconv.Atoi(step)
		}
		attempt, failure, _ := strings.Cut(body, ":")
		o.Attempt, _ = strconv.Atoi(attempt)
		if failure != "" {
			o.LastFailure = []byte(failure)
		}
		return o, nil
	case kind%kindInStep >= byte(KindCompleted) && kind%kindInStep <= byte(KindPoison) && kind < 2*kindInStep:
		r := reader{b: []byte(body)}
		o.Kind = Kind(kind % kindInStep)
		if kind > kindInStep {
			o.Step = r.index()
		}
		o.Attempt = int(r.uvarint())
		o.Retry = RetryState(r.uvarint())
		o.Executor = string(r.string())
		o.LastFailure = r.string()
		o.Details = r.string()
		o.Payload = r.b
		return o, r.err
	default:
		return o, fmt.Errorf("outcome %d: %w", n, unknownKindError(kind))
	}
}

// metadata is the changeable part of a task that was claimed before.
type metadata struct {
	attempt, losses, alone int
	scheduledMS            int64
}

func (m metadata) String() string {
	return fmt.Sprintf("%d:%d:%d:%d", m.attempt, m.losses, m.alone, m.scheduledMS)
}

func parseMetadata(s string) (metadata, error) {
	m := metadata{attempt: 1}
	if s == "" {
		return m, nil
	}
	_, err := fmt.Sscanf(s, "%d:%d:%d:%d", &m.attempt, &m.losses, &m.alone, &m.scheduledMS)
	if err != nil {
		return m, fmt.Errorf("metadata %q: %w", s, ErrInvalid)
	}
	return m, nil
}

// entryTime is when a stream entry was added, by Redis's clock: its ID says so.
func entryTime(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	at, _ := strconv.ParseInt(ms, 10, 64)
	return time.UnixMilli(at)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reader takes values off the front of b; after the first error everything is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// maxIndex bounds indices and lengths of lists.
const maxIndex = 1 << 20

// index reads an index into one of the lists of the common data, or the number of a step.
func (r *reader) index() int {
	v := r.uvarint()
	if v > maxIndex {
		r.fail()
		return 0
	}
	return int(v)
}

// length reads the length of a list whose elements take a byte at least.
func (r *reader) length() int {
	n := r.index()
	if n > len(r.b) {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) string() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	if n == 0 {
		return nil
	}
	return s
}

func (r *reader) plan(options []TaskOptions) (p plan) {
	for range r.length() {
		s := Step{Type: string(r.string()), Payload: r.string()}
		option := r.index()
		if option >= len(options) {
			r.fail()
			return plan{}
		}
		s.Options = options[option]
		p.steps, p.options = append(p.steps, s), append(p.options, option)
	}
	return p
}

func (r *reader) duration() time.Duration { return time.Duration(r.uvarint()) }

func (r *reader) options() TaskOptions {
	o := TaskOptions{
		ScheduleToStart: r.duration(), ScheduleToClose: r.duration(),
		StartToClose: r.duration(), Heartbeat: r.duration(),
	}
	o.Retry.InitialInterval, o.Retry.MaximumInterval = r.duration(), r.duration()
	o.Retry.MaximumAttempts = int(r.uvarint())
	final := r.uvarint()
	o.Retry.FinalStartToClose, o.Retry.FinalHeartbeat = final&finalStartToClose != 0, final&finalHeartbeat != 0
	f, err := strconv.ParseFloat(string(r.string()), 64)
	if err != nil {
		r.fail()
	}
	o.Retry.BackoffCoefficient = f
	return o
}

func (r *reader) fail() {
	r.b = nil
	if r.err == nil {
		r.err = fmt.Errorf("stored data ends too soon: %w", ErrInvalid)
	}
}
