package wire

import (
	"fmt"
	"math"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of a marker. The states are the column that is always there: its length is
// the number of answers. A reconcile reply uses the same fields, without First.
const (
	markerVersion                       = 1
	markerRun          protowire.Number = 2
	markerFirst        protowire.Number = 3
	markerAddress      protowire.Number = 4
	markerTypes        protowire.Number = 5
	markerStates       protowire.Number = 6  // state << 1, lowest bit: has a fingerprint
	markerFingerprints protowire.Number = 7  // of those answers that have one
	markerRefused      protowire.Number = 11 // which answers have a failure, in order
	markerFailure      protowire.Number = 12
	markerDone         protowire.Number = 13 // which answers have an outcome, in order
	markerBatch        protowire.Number = 14 // their outcomes, then the taken ones
	markerPayload      protowire.Number = 15
	markerSummary      protowire.Number = 16

	addressPool protowire.Number = 1
	addressSlot protowire.Number = 2
)

var (
	markerType   = column{number: 8}
	markerNumber = column{number: 9, usual: protowire.EncodeZigZag(1)} // differences; the first one to First-1
	markerPlace  = column{number: 10, usual: 1}                        // address index + 1, zero: none
)

// EncodeMarker writes the marker that a dispatch leaves in history.
func EncodeMarker(m *Marker) []byte {
	b := appendUint(nil, fieldVersion, markerVersion)
	b = appendUint(b, markerFirst, m.First)
	b = appendAnswers(b, m.RunID, m.First, m.Addresses, m.Answers, m.Taken)
	if m.Summary != "" {
		b = appendText(b, markerSummary, m.Summary)
	}
	return b
}

// DecodeMarker reads what EncodeMarker wrote.
func DecodeMarker(b []byte) (*Marker, error) {
	d, err := decodeAnswers(b)
	if err != nil {
		return nil, fmt.Errorf("decode dispatch marker: %w", err)
	}
	return &Marker{
		RunID:     d.run,
		First:     d.first,
		Addresses: d.addresses,
		Answers:   d.answers,
		Taken:     d.taken,
		Summary:   d.summary,
	}, nil
}

// EncodeAskReply writes a reconcile's reply.
func EncodeAskReply(r *AskReply) []byte {
	b := appendUint(nil, fieldVersion, markerVersion)
	return appendAnswers(b, r.RunID, 0, r.Addresses, r.Found, r.Taken)
}

// DecodeAskReply reads what EncodeAskReply wrote.
func DecodeAskReply(b []byte) (*AskReply, error) {
	d, err := decodeAnswers(b)
	if err != nil {
		return nil, fmt.Errorf("decode reconcile reply: %w", err)
	}
	return &AskReply{RunID: d.run, Addresses: d.addresses, Found: d.answers, Taken: d.taken}, nil
}

func appendAnswers(b []byte, run string, first uint64, addresses []Address, answers []Answer, taken []Outcome) []byte {
	b = appendText(b, markerRun, run)
	for _, a := range addresses {
		message := appendText(nil, addressPool, a.Pool)
		b = appendMessage(b, markerAddress, appendUint(message, addressSlot, uint64(a.Slot)))
	}
	var (
		types                                   table
		states, refused, done                   []byte
		typeIndex, numbers, places, fingerprint []uint64
		failures                                []*commonpb.Payload
		outcomes                                []Outcome
		last                                    = first - 1
	)
	for i := range answers {
		a := &answers[i]
		state := uint64(a.State) << 1
		if a.Fingerprint != 0 {
			state |= 1
			fingerprint = append(fingerprint, a.Fingerprint)
		}
		states = protowire.AppendVarint(states, state)
		typeIndex = append(typeIndex, types.add(a.Type))
		numbers = append(numbers, protowire.EncodeZigZag(int64(a.Number-last)))
		last = a.Number
		places = append(places, uint64(a.Address+1))
		if a.Failure != nil {
			refused = protowire.AppendVarint(refused, uint64(i))
			failures = append(failures, a.Failure)
		}
		if a.Outcome != nil {
			done = protowire.AppendVarint(done, uint64(i))
			outcomes = append(outcomes, *a.Outcome)
		}
	}
	for _, name := range types.names {
		b = appendText(b, markerTypes, name)
	}
	if len(states) > 0 {
		b = appendMessage(b, markerStates, states)
	}
	if len(fingerprint) > 0 {
		b = appendFixed64s(b, markerFingerprints, fingerprint)
	}
	b = markerType.append(b, typeIndex)
	b = markerNumber.append(b, numbers)
	b = markerPlace.append(b, places)
	if len(refused) > 0 {
		b = appendMessage(b, markerRefused, refused)
	}
	for _, p := range failures {
		b = appendPayload(b, markerFailure, p)
	}
	if len(done) > 0 {
		b = appendMessage(b, markerDone, done)
	}
	if outcomes = append(outcomes, taken...); len(outcomes) > 0 {
		index, payloads := encodeBatch(outcomes)
		b = appendMessage(b, markerBatch, index)
		for _, p := range payloads {
			b = appendPayload(b, markerPayload, p)
		}
	}
	return b
}

type decodedAnswers struct {
	run, summary string
	first        uint64
	addresses    []Address
	answers      []Answer
	taken        []Outcome
}

func decodeAnswers(b []byte) (*decodedAnswers, error) {
	var (
		d                                                decodedAnswers
		types                                            []string
		states, fingerprints, typeIndex, numbers, places []uint64
		refused, done                                    []uint64
		failures, payloads                               []*commonpb.Payload
		batch                                            []byte
		versioned                                        bool
	)
	for f, err := range fields(b) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldVersion:
			versioned, err = true, f.version(markerVersion)
		case markerRun:
			err = f.text(&d.run)
		case markerFirst:
			err = f.varint(&d.first)
		case markerAddress:
			err = f.address(&d.addresses)
		case markerTypes:
			err = f.texts(&types)
		case markerStates:
			err = f.varints(&states)
		case markerFingerprints:
			err = f.fixed64s(&fingerprints)
		case markerType.number:
			err = f.varints(&typeIndex)
		case markerNumber.number:
			err = f.varints(&numbers)
		case markerPlace.number:
			err = f.varints(&places)
		case markerRefused:
			err = f.varints(&refused)
		case markerFailure:
			err = f.payload(&failures)
		case markerDone:
			err = f.varints(&done)
		case markerBatch:
			batch, err = f.Bytes, f.is(protowire.BytesType)
		case markerPayload:
			err = f.payload(&payloads)
		case markerSummary:
			err = f.text(&d.summary)
		}
		if err != nil {
			return nil, err
		}
	}
	if !versioned {
		return nil, errNoVersion
	}
	if err := d.fill(types, states, fingerprints, typeIndex, numbers, places); err != nil {
		return nil, err
	}
	if len(refused) != len(failures) {
		return nil, fmt.Errorf("%d failures for %d refused calls", len(failures), len(refused))
	}
	for i, at := range refused {
		if at >= uint64(len(d.answers)) {
			return nil, fmt.Errorf("failure of answer %d of %d", at, len(d.answers))
		}
		d.answers[at].Failure = failures[i]
	}
	var outcomes []Outcome
	if batch != nil {
		var err error
		if outcomes, err = decodeBatch(batch, payloads); err != nil {
			return nil, err
		}
	}
	if len(done) > len(outcomes) {
		return nil, fmt.Errorf("%d outcomes for %d calls that are done", len(outcomes), len(done))
	}
	for i, at := range done {
		if at >= uint64(len(d.answers)) {
			return nil, fmt.Errorf("outcome of answer %d of %d", at, len(d.answers))
		}
		d.answers[at].Outcome = &outcomes[i]
	}
	if rest := outcomes[len(done):]; len(rest) > 0 {
		d.taken = rest
	}
	return &d, nil
}

// fill makes the answers out of their columns.
func (d *decodedAnswers) fill(types []string, states, fingerprints, typeIndex, numbers, places []uint64) error {
	count := len(states)
	for _, c := range []struct {
		column
		values *[]uint64
	}{
		{markerType, &typeIndex},
		{markerNumber, &numbers},
		{markerPlace, &places},
	} {
		var err error
		if *c.values, err = c.fill(*c.values, count); err != nil {
			return err
		}
	}
	if count > 0 {
		d.answers = make([]Answer, count)
	}
	number := d.first - 1
	for i := range d.answers {
		a := &d.answers[i]
		number += uint64(protowire.DecodeZigZag(numbers[i]))
		a.Number = number
		if states[i]>>1 > math.MaxUint8 {
			return fmt.Errorf("answer %d has state %d", i, states[i]>>1)
		}
		a.State = State(states[i] >> 1)
		if states[i]&1 == 1 {
			if len(fingerprints) == 0 {
				return fmt.Errorf("answer %d lacks its fingerprint", i)
			}
			a.Fingerprint, fingerprints = fingerprints[0], fingerprints[1:]
		}
		if places[i] > uint64(len(d.addresses)) {
			return fmt.Errorf("answer %d is at address %d of %d", i, places[i], len(d.addresses))
		}
		a.Address = int(places[i]) - 1
		var err error
		if a.Type, err = lookup(types, typeIndex[i]); err != nil {
			return fmt.Errorf("type of answer %d: %w", i, err)
		}
	}
	if len(fingerprints) > 0 {
		return fmt.Errorf("%d fingerprints belong to no answer", len(fingerprints))
	}
	return nil
}

func (f field) address(into *[]Address) error {
	if err := f.is(protowire.BytesType); err != nil {
		return err
	}
	var a Address
	for part, err := range fields(f.Bytes) {
		if err != nil {
			return err
		}
		switch part.Number {
		case addressPool:
			err = part.text(&a.Pool)
		case addressSlot:
			var slot uint64
			if err = part.varint(&slot); err == nil && slot > math.MaxInt32 {
				err = fmt.Errorf("slot %d", slot)
			}
			a.Slot = int(slot)
		}
		if err != nil {
			return err
		}
	}
	*into = append(*into, a)
	return nil
}
