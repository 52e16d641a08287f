package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"math"
	"slices"
	"time"
)

// Fingerprint tells two calls with the same number apart: it covers the activity type,
// the arguments and every option that changes how the call is executed. It is keyed
// with the run that dispatches, so equal calls of two runs differ.
//
// It is computed once, at dispatch, and then stored (protocol I1). It is never zero: zero
// means not known.
func Fingerprint(runID string, c *Call) uint64 {
	h := fingerprint{sha256.New()}
	h.text(runID)
	h.text(c.Type)
	h.text(c.TaskQueue)
	h.text(c.Pool)
	h.text(c.ActivityID)
	h.options(&c.Options)
	// What follows came with chains; a call that is none has the sum it always had.
	if len(c.Then) > 0 {
		h.number(uint64(len(c.Then)))
	}
	for i := range c.Then {
		s := &c.Then[i]
		h.text(s.Type)
		h.text(s.ActivityID)
		h.options(&s.Options)
	}
	if c.Results {
		h.text("results")
	}
	if c.Canonical != nil {
		h.text(string(c.Canonical))
	} else {
		for _, p := range c.Input.GetPayloads() {
			for _, key := range slices.Sorted(maps.Keys(p.GetMetadata())) {
				h.text(key)
				h.text(string(p.GetMetadata()[key]))
			}
			h.text(string(p.GetData()))
		}
	}
	return max(1, binary.BigEndian.Uint64(h.Sum(nil)))
}

func (h fingerprint) options(o *CallOptions) {
	for _, d := range []time.Duration{o.ScheduleToClose, o.ScheduleToStart, o.StartToClose, o.Heartbeat} {
		h.number(uint64(d))
	}
	h.number(uint64(o.Retry.GetInitialInterval().AsDuration()))
	h.number(uint64(o.Retry.GetMaximumInterval().AsDuration()))
	h.number(math.Float64bits(o.Retry.GetBackoffCoefficient()))
	h.number(uint64(o.Retry.GetMaximumAttempts()))
	h.number(uint64(len(o.Retry.GetNonRetryableErrorTypes())))
	for _, name := range o.Retry.GetNonRetryableErrorTypes() {
		h.text(name)
	}
}

// fingerprint hashes fields with their lengths, so that moving a byte from one field to
// the next changes the sum.
type fingerprint struct{ hash.Hash }

func (h fingerprint) number(v uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	h.Write(b[:])
}

func (h fingerprint) text(s string) {
	h.number(uint64(len(s)))
	h.Write([]byte(s))
}
