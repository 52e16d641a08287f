package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// Fingerprint tells two calls with the same number apart: it covers the activity type,
// the arguments and every option that changes how the call is executed. It is keyed
// with the run that dispatches, so equal calls of two runs differ.
//
// It is computed once, at dispatch, and then stored (protocol I1). It is never zero: zero
// means not known.
func Fingerprint(runID string, c *Call) uint64 {
	h := make(fingerprint, 0, 1<<10) // on the stack: most calls fit
	h = h.text(runID)
	h = h.text(c.Type)
	h = h.text(c.TaskQueue)
	h = h.text(c.Pool)
	h = h.text(c.ActivityID)
	h = h.options(&c.Options)
	// What follows came with chains; a call that is none has the sum it always had.
	if len(c.Then) > 0 {
		h = h.number(uint64(len(c.Then)))
	}
	for i := range c.Then {
		s := &c.Then[i]
		h = h.text(s.Type)
		h = h.text(s.ActivityID)
		h = h.options(&s.Options)
	}
	if c.Results {
		h = h.text("results")
	}
	if c.Canonical != nil {
		h = h.bytes(c.Canonical)
	} else {
		for _, p := range c.Input.GetPayloads() {
			for key, value := range sortedMetadata(p) {
				h = h.text(key)
				h = h.bytes(value)
			}
			h = h.bytes(p.GetData())
		}
	}
	sum := sha256.Sum256(h)
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

func (h fingerprint) options(o *CallOptions) fingerprint {
	for _, d := range []time.Duration{o.ScheduleToClose, o.ScheduleToStart, o.StartToClose, o.Heartbeat} {
		h = h.number(uint64(d))
	}
	h = h.number(uint64(o.Retry.GetInitialInterval().AsDuration()))
	h = h.number(uint64(o.Retry.GetMaximumInterval().AsDuration()))
	h = h.number(math.Float64bits(o.Retry.GetBackoffCoefficient()))
	h = h.number(uint64(o.Retry.GetMaximumAttempts()))
	h = h.number(uint64(len(o.Retry.GetNonRetryableErrorTypes())))
	for _, name := range o.Retry.GetNonRetryableErrorTypes() {
		h = h.text(name)
	}
	return h
}

// fingerprint is what is hashed: fields with their lengths, so that moving a byte from one
// field to the next changes the sum. It is gathered first, because a hash that is written
// to field by field allocates for each of them.
type fingerprint []byte

func (h fingerprint) number(v uint64) fingerprint { return binary.BigEndian.AppendUint64(h, v) }

func (h fingerprint) text(s string) fingerprint { return append(h.number(uint64(len(s))), s...) }

func (h fingerprint) bytes(b []byte) fingerprint { return append(h.number(uint64(len(b))), b...) }
