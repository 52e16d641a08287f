package batchqueue

import (
	"fmt"
	"strconv"
)

// storedEntry is a stream entry; state.lua's fields says what stands where.
type storedEntry struct {
	run, wave, number, task  string
	meta, failure, heartbeat string
	// common is the common data itself in the entry of a run that was folded.
	common string
	folded bool
}

// commonKey names the common data that entries refer to.
type commonKey struct{ run, wave string }

func (s *storedEntry) commonKey() commonKey { return commonKey{s.run, s.wave} }

// sharedName is the first byte of a field name that tells wave (8 bytes) and run.
const sharedName = '@'

// firstDigest stands where a digest does for common data that came in an entry.
const firstDigest = "\x00\x00\x00\x00\x00\x00\x00\x00"

// check finds what is wrong with an entry by itself. What it refers to may be missing all
// the same.
func (s *storedEntry) check() error {
	switch {
	case s.run == "":
		return fmt.Errorf("entry without a run: %w", ErrInvalid)
	case s.wave == "" || (s.folded && s.common == ""):
		return fmt.Errorf("entry without common data: %w", ErrInvalid)
	}
	if _, err := strconv.ParseUint(s.number, 10, 64); err != nil {
		return errUndecodable("task number", s.number)
	}
	_, _, _, err := decodeEntry([]byte(s.task))
	return err
}

// readStored reads what XRANGE and XREADGROUP give: names and values.
func readStored(flat []any) (s storedEntry) {
	for i := 0; i+1 < len(flat); i += 2 {
		s.set(text(flat[i]), text(flat[i+1]))
	}
	return s
}

func (s *storedEntry) set(name, value string) {
	switch name {
	case "r":
		s.run = value
	case "w":
		s.wave = value
	case "n":
		s.number = value
	case "e":
		s.task = value
	case "m":
		s.meta = value
	case "l":
		s.failure = value
	case "h":
		s.heartbeat = value
	case "c":
		s.common, s.wave, s.folded = value, firstDigest, true
	default:
		if len(name) > 9 && name[0] == sharedName {
			s.wave, s.run, s.number = name[1:9], name[9:], value
		}
	}
}
