package activity

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// Handle names a batch for Status and Cancel. Its text form may be stored, and used by any
// process whose plugin has the same Redis, key prefix and Temporal namespace. Handles of the
// same batch are equal.
type Handle struct {
	// ID is the batch's ID.
	ID   string
	pool string // full name
	slot int
}

// run is the batch as the queue knows it. Run IDs are UUIDs, so a batch is never a run.
func (h Handle) run() string { return runPrefix + h.ID }

const runPrefix = "b."

// handleVersion begins the text form.
const handleVersion = "v1"

// String returns the handle's text form, which ParseHandle reads.
func (h Handle) String() string {
	return strings.Join([]string{handleVersion, url.QueryEscape(h.pool), strconv.Itoa(h.slot), url.QueryEscape(h.ID)}, "/")
}

// ParseHandle reads a handle's text form. The error matches batchqueue.ErrInvalid.
func ParseHandle(s string) (Handle, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 || parts[0] != handleVersion {
		return Handle{}, fmt.Errorf("parse handle %q: it does not read %s/pool/slot/id: %w", s, handleVersion, batchqueue.ErrInvalid)
	}
	var h Handle
	var err error
	if h.pool, err = url.QueryUnescape(parts[1]); err == nil {
		if h.slot, err = strconv.Atoi(parts[2]); err == nil {
			h.ID, err = url.QueryUnescape(parts[3])
		}
	}
	if err != nil || h.pool == "" || h.slot < 0 || h.ID == "" {
		return Handle{}, fmt.Errorf("parse handle %q: a part of it cannot be read: %w", s, batchqueue.ErrInvalid)
	}
	return h, nil
}

// MarshalText implements encoding.TextMarshaler.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Handle) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHandle(string(b))
	return err
}
