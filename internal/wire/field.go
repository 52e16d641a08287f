package wire

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrVersion is wrapped by the decoders when the data was written by a newer
// Slipstream in a form that this one must not read.
var ErrVersion = errors.New("written by a newer version of Slipstream")

// fieldVersion is the first field of every stored message.
const fieldVersion protowire.Number = 1

// field is one field of a message: varint and fixed64 values are in Value, everything
// with a length in Bytes.
type field struct {
	Number protowire.Number
	Type   protowire.Type
	Value  uint64
	Bytes  []byte
}

// fields walks over the top-level fields of b. A malformed message yields an error
// once, as the last element.
func fields(b []byte) iter.Seq2[field, error] {
	return func(yield func(field, error) bool) {
		for len(b) > 0 {
			number, typ, n := protowire.ConsumeTag(b)
			if n < 0 {
				yield(field{}, protowire.ParseError(n))
				return
			}
			b = b[n:]
			f := field{Number: number, Type: typ}
			switch typ {
			case protowire.VarintType:
				f.Value, n = protowire.ConsumeVarint(b)
			case protowire.Fixed64Type:
				f.Value, n = protowire.ConsumeFixed64(b)
			case protowire.BytesType:
				f.Bytes, n = protowire.ConsumeBytes(b)
			default:
				n = protowire.ConsumeFieldValue(number, typ, b)
			}
			if n < 0 {
				yield(field{}, fmt.Errorf("field %d: %w", number, protowire.ParseError(n)))
				return
			}
			b = b[n:]
			if !yield(f, nil) {
				return
			}
		}
	}
}

// ReadFields checks that the message b has a version, at most known, and hands out those
// of its fields that have a length, in order; value shares b's memory. A newer version is
// ErrVersion; each's error ends the walk and is returned as it is.
func ReadFields(b []byte, known uint64, each func(number protowire.Number, value []byte) error) error {
	versioned := false
	for f, err := range fields(b) {
		switch {
		case err != nil:
		case f.Number == fieldVersion:
			versioned = true
			err = f.version(known)
		case f.Type == protowire.BytesType:
			err = each(f.Number, f.Bytes)
		}
		if err != nil {
			return err
		}
	}
	if !versioned {
		return errors.New("no version: not written by Slipstream")
	}
	return nil
}

func (f field) is(typ protowire.Type) error {
	if f.Type != typ {
		return fmt.Errorf("field %d has wire type %d, want %d", f.Number, f.Type, typ)
	}
	return nil
}

func (f field) varint(into *uint64) error {
	*into = f.Value
	return f.is(protowire.VarintType)
}

func (f field) text(into *string) error {
	*into = string(f.Bytes)
	return f.is(protowire.BytesType)
}

func (f field) texts(into *[]string) error {
	*into = append(*into, string(f.Bytes))
	return f.is(protowire.BytesType)
}

// version checks the first field. Zero is not written by any version.
func (f field) version(known uint64) error {
	if err := f.is(protowire.VarintType); err != nil {
		return err
	}
	if f.Value == 0 || f.Value > known {
		return fmt.Errorf("version %d, this build reads up to %d: %w", f.Value, known, ErrVersion)
	}
	return nil
}

// varints reads a packed column.
func (f field) varints(into *[]uint64) error {
	if err := f.is(protowire.BytesType); err != nil {
		return err
	}
	for b := f.Bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return fmt.Errorf("field %d: %w", f.Number, protowire.ParseError(n))
		}
		*into = append(*into, v)
		b = b[n:]
	}
	return nil
}

// fixed64s reads a packed column of eight-byte values.
func (f field) fixed64s(into *[]uint64) error {
	if err := f.is(protowire.BytesType); err != nil {
		return err
	}
	if len(f.Bytes)%8 != 0 {
		return fmt.Errorf("field %d has %d bytes, not a multiple of 8", f.Number, len(f.Bytes))
	}
	for b := f.Bytes; len(b) > 0; b = b[8:] {
		v, _ := protowire.ConsumeFixed64(b)
		*into = append(*into, v)
	}
	return nil
}

func appendUint(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

func appendText(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func appendMessage(b []byte, number protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), message)
}

// column is a packed column that is left out when it holds nothing but its usual value.
type column struct {
	number protowire.Number
	usual  uint64
}

func (c column) append(b []byte, values []uint64) []byte {
	if !slices.ContainsFunc(values, func(v uint64) bool { return v != c.usual }) {
		return b
	}
	var packed []byte
	for _, v := range values {
		packed = protowire.AppendVarint(packed, v)
	}
	return appendMessage(b, c.number, packed)
}

// fill returns the column with count entries; the usual value stands in for a column
// that was left out.
func (c column) fill(values []uint64, count int) ([]uint64, error) {
	if len(values) == 0 {
		return slices.Repeat([]uint64{c.usual}, count), nil
	}
	if len(values) != count {
		return nil, fmt.Errorf("column %d has %d entries, want %d", c.number, len(values), count)
	}
	return values, nil
}

func appendFixed64s(b []byte, number protowire.Number, values []uint64) []byte {
	packed := make([]byte, 0, 8*len(values))
	for _, v := range values {
		packed = protowire.AppendFixed64(packed, v)
	}
	return appendMessage(b, number, packed)
}

// table gives each distinct string an index, in the order of first use.
type table struct {
	names []string
	index map[string]uint64
}

func (t *table) add(name string) uint64 {
	if i, ok := t.index[name]; ok {
		return i
	}
	if t.index == nil {
		t.index = map[string]uint64{}
	}
	i := uint64(len(t.names))
	t.names = append(t.names, name)
	t.index[name] = i
	return i
}

func lookup(names []string, index uint64) (string, error) {
	if index >= uint64(len(names)) {
		return "", fmt.Errorf("index %d is outside of a table of %d", index, len(names))
	}
	return names[index], nil
}
