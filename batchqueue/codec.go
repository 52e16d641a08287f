package batchqueue

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What the queue stores, in bytes. Every format starts with a version; an entry of a
// version this code does not know is left for newer executors.
const formatVersion = 1

// encodeEntry is the immutable part of a stream entry: fingerprint (8 bytes, the scripts
// read them), version, index of the task's options in the common data, payload.
func encodeEntry(t *Task, option int) []byte {
	b := make([]byte, 0, 8+1+2+len(t.Payload))
	b = binary.BigEndian.AppendUint64(b, t.Fingerprint)
	b = append(b, formatVersion)
	b = binary.AppendUvarint(b, uint64(option))
	return append(b, t.Payload...)
}

func decodeEntry(b []byte) (fingerprint uint64, option int, payload []byte, err error) {
	if len(b) < 10 {
		return 0, 0, nil, fmt.Errorf("entry of %d bytes is too short: %w", len(b), ErrInvalid)
	}
	if b[8] != formatVersion {
		return 0, 0, nil, errUnknownVersion(b[8])
	}
	v, n := binary.Uvarint(b[9:])
	if n <= 0 || v > 1<<20 {
		return 0, 0, nil, fmt.Errorf("entry has no option index: %w", ErrInvalid)
	}
	return binary.BigEndian.Uint64(b), int(v), b[9+n:], nil
}

// unknownVersionError is a stored version that newer code wrote.
type unknownVersionError byte

func errUnknownVersion(v byte) error { return unknownVersionError(v) }

func (v unknownVersionError) Error() string {
	return fmt.Sprintf("stored by a newer version of the queue (format %d, this code knows %d)", byte(v), formatVersion)
}

// commonData is what the tasks of a wave share: the caller's bytes and the distinct
// task options.
type commonData struct {
	options []TaskOptions
	user    []byte
}

func encodeCommon(c commonData) []byte {
	b := []byte{formatVersion}
	b = binary.AppendUvarint(b, uint64(len(c.options)))
	for _, o := range c.options {
		b = appendOptions(b, o)
	}
	return append(b, c.user...)
}

// errNoCommon: the run has trimmed the data of the task's wave.
var errNoCommon = fmt.Errorf("common data is missing: %w", ErrInvalid)

func decodeCommon(b []byte) (commonData, error) {
	if len(b) == 0 {
		return commonData{}, errNoCommon
	}
	if b[0] != formatVersion {
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

// encodeOutcome is an outcome's body: the kind, then the rest. Its number and
// fingerprint stand before it, written by the scripts.
func encodeOutcome(o *Outcome) []byte {
	b := make([]byte, 0, 24+len(o.Executor)+len(o.LastFailure)+len(o.Details)+len(o.Payload))
	b = append(b, byte(o.Kind))
	b = binary.AppendUvarint(b, uint64(max(o.Attempt, 0)))
	b = binary.AppendUvarint(b, uint64(max(o.Retry, 0)))
	b = appendString(b, o.Executor)
	b = appendString(b, string(o.LastFailure))
	b = appendString(b, string(o.Details))
	return append(b, o.Payload...)
}

// decodeOutcome reads an element of a run's box: "<number>:" fingerprint wave body.
func decodeOutcome(element string) (Outcome, error) {
	number, rest, ok := strings.Cut(element, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || len(rest) < 17 {
		return Outcome{}, fmt.Errorf("outcome of %d bytes has no identity: %w", len(element), ErrInvalid)
	}
	o := Outcome{Number: n, Fingerprint: binary.BigEndian.Uint64([]byte(rest[:8]))}
	kind, body := rest[16], rest[17:]
	switch {
	case kind == 's' || kind == 'c':
		// Written by a script, when a waiting deadline ran out.
		o.Kind, o.Retry = KindScheduleToStart, RetryTimeout
		if kind == 'c' {
			o.Kind = KindScheduleToClose
		}
		attempt, failure, _ := strings.Cut(body, ":")
		o.Attempt, _ = strconv.Atoi(attempt)
		if failure != "" {
			o.LastFailure = []byte(failure)
		}
		return o, nil
	case kind >= byte(KindCompleted) && kind <= byte(KindPoison):
		r := reader{b: []byte(body)}
		o.Kind = Kind(kind)
		o.Attempt = int(r.uvarint())
		o.Retry = RetryState(r.uvarint())
		o.Executor = string(r.string())
		o.LastFailure = r.string()
		o.Details = r.string()
		o.Payload = r.b
		return o, r.err
	default:
		return Outcome{}, fmt.Errorf("outcome %d of unknown kind %d: %w", n, kind, ErrInvalid)
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
