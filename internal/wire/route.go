package wire

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Route is the decision of one run, recorded once at its first activity call: which
// activity types go through the queue. It never changes afterwards.
type Route struct {
	// Protocol is the version of the rules by which the run writes its history.
	Protocol uint64
	// Pools maps the routed activity types to the pool name of their mark, "" for the
	// default pool.
	Pools map[string]string
}

const (
	routeVersion                   = 1
	routeProtocol protowire.Number = 2
	routeEntry    protowire.Number = 3

	entryType protowire.Number = 1
	entryPool protowire.Number = 2
)

// EncodeRoute writes a route record; equal routes give equal bytes.
func EncodeRoute(r *Route) []byte {
	b := appendUint(nil, fieldVersion, routeVersion)
	b = appendUint(b, routeProtocol, r.Protocol)
	for _, name := range slices.Sorted(maps.Keys(r.Pools)) {
		entry := appendText(nil, entryType, name)
		if pool := r.Pools[name]; pool != "" {
			entry = appendText(entry, entryPool, pool)
		}
		b = appendMessage(b, routeEntry, entry)
	}
	return b
}

// DecodeRoute reads what EncodeRoute wrote.
func DecodeRoute(b []byte) (*Route, error) {
	r := &Route{Pools: map[string]string{}}
	var versioned bool
	for f, err := range fields(b) {
		if err != nil {
			return nil, fmt.Errorf("decode route record: %w", err)
		}
		switch f.Number {
		case fieldVersion:
			versioned, err = true, f.version(routeVersion)
		case routeProtocol:
			err = f.varint(&r.Protocol)
		case routeEntry:
			err = f.routeEntry(r.Pools)
		}
		if err != nil {
			return nil, fmt.Errorf("decode route record: %w", err)
		}
	}
	if !versioned {
		return nil, fmt.Errorf("decode route record: %w", errNoVersion)
	}
	return r, nil
}

func (f field) routeEntry(into map[string]string) error {
	if err := f.is(protowire.BytesType); err != nil {
		return err
	}
	var name, pool string
	for part, err := range fields(f.Bytes) {
		if err != nil {
			return err
		}
		switch part.Number {
		case entryType:
			err = part.text(&name)
		case entryPool:
			err = part.text(&pool)
		}
		if err != nil {
			return err
		}
	}
	into[name] = pool
	return nil
}
