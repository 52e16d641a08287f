package wire

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"unicode/utf8"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Payloads are read and written by hand here, to the same bytes as by protobuf: that goes
// through reflection for each entry of the metadata, which was a tenth of what a worker
// does for a short step. A payload with anything but metadata and data is left to protobuf.
const (
	payloadsPayload protowire.Number = 1

	payloadMetadata protowire.Number = 1
	payloadData     protowire.Number = 2

	entryKey   protowire.Number = 1
	entryValue protowire.Number = 2

	tagSize = 1 // of every field above
)

// PayloadsSize is the size of p in protobuf.
func PayloadsSize(p *commonpb.Payloads) int {
	if len(p.ProtoReflect().GetUnknown()) > 0 {
		return proto.Size(p)
	}
	n := 0
	for _, payload := range p.GetPayloads() {
		n += tagSize + protowire.SizeBytes(PayloadSize(payload))
	}
	return n
}

// PayloadSize is the size of p in protobuf.
func PayloadSize(p *commonpb.Payload) int {
	if !isCommon(p) {
		return proto.Size(p)
	}
	n := 0
	for key, value := range p.GetMetadata() {
		n += tagSize + protowire.SizeBytes(entrySize(key, value))
	}
	if len(p.GetData()) > 0 {
		n += tagSize + protowire.SizeBytes(len(p.GetData()))
	}
	return n
}

func entrySize(key string, value []byte) int {
	return tagSize + protowire.SizeBytes(len(key)) + tagSize + protowire.SizeBytes(len(value))
}

// EncodePayloads writes p in protobuf, equal data to equal bytes. Nil stays nil: no
// payloads is not the same as zero payloads. A metadata key that is not UTF-8 is an error.
func EncodePayloads(p *commonpb.Payloads) ([]byte, error) {
	if p == nil {
		return nil, nil
	}
	b := make([]byte, 0, PayloadsSize(p))
	for _, payload := range p.GetPayloads() {
		var err error
		b = protowire.AppendTag(b, payloadsPayload, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(PayloadSize(payload)))
		if b, err = appendPayloadFields(b, payload); err != nil {
			return nil, fmt.Errorf("encode payloads: %w", err)
		}
	}
	return append(b, p.ProtoReflect().GetUnknown()...), nil
}

// DecodePayloads reads what EncodePayloads wrote, or protobuf. It keeps no reference to b.
func DecodePayloads(b []byte) (*commonpb.Payloads, error) {
	if b == nil {
		return nil, nil
	}
	p := &commonpb.Payloads{}
	for f, err := range fields(b) {
		if err == nil && f.Number == payloadsPayload && f.Type == protowire.BytesType {
			err = f.payload(&p.Payloads)
		} else if err == nil {
			err = errUncommon
		}
		if err != nil {
			p.Reset()
			if err = proto.Unmarshal(b, p); err != nil {
				return nil, fmt.Errorf("decode payloads: %w", err)
			}
			return p, nil
		}
	}
	return p, nil
}

// isCommon says whether the payload has nothing but metadata and data.
func isCommon(p *commonpb.Payload) bool {
	return len(p.GetExternalPayloads()) == 0 && len(p.ProtoReflect().GetUnknown()) == 0
}

// appendPayloadFields writes the payload without a tag and a length.
func appendPayloadFields(b []byte, p *commonpb.Payload) ([]byte, error) {
	if !isCommon(p) {
		return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, p)
	}
	for key, value := range sortedMetadata(p) {
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("metadata key %q is not UTF-8", key)
		}
		b = protowire.AppendTag(b, payloadMetadata, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(entrySize(key, value)))
		b = protowire.AppendString(protowire.AppendTag(b, entryKey, protowire.BytesType), key)
		b = protowire.AppendBytes(protowire.AppendTag(b, entryValue, protowire.BytesType), value)
	}
	if len(p.GetData()) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, payloadData, protowire.BytesType), p.GetData())
	}
	return b, nil
}

// appendPayload writes p in a deterministic form, so that equal data has equal bytes.
// A payload that protobuf cannot write (invalid UTF-8 in a metadata key) is written
// empty: there is nobody to give the error to, and its reader gets a decoding error.
func appendPayload(b []byte, number protowire.Number, p *commonpb.Payload) []byte {
	with := protowire.AppendTag(b, number, protowire.BytesType)
	with = protowire.AppendVarint(with, uint64(PayloadSize(p)))
	with, err := appendPayloadFields(with, p)
	if err != nil {
		return appendMessage(b, number, nil)
	}
	return with
}

func (f field) payload(into *[]*commonpb.Payload) error {
	if err := f.is(protowire.BytesType); err != nil {
		return err
	}
	p := &commonpb.Payload{}
	if readPayload(f.Bytes, p) != nil {
		p.Reset()
		if err := proto.Unmarshal(f.Bytes, p); err != nil {
			return fmt.Errorf("field %d: %w", f.Number, err)
		}
	}
	*into = append(*into, p)
	return nil
}

// errUncommon leaves something to protobuf, which can read it, or says what is wrong.
var errUncommon = errors.New("neither metadata nor data")

// readPayload reads metadata and data, or fails. What it reads shares one copy of b.
func readPayload(b []byte, p *commonpb.Payload) error {
	for f, err := range fields(bytes.Clone(b)) {
		switch {
		case err != nil:
			return err
		case f.Number == payloadMetadata && f.Type == protowire.BytesType:
			key, value, err := readEntry(f.Bytes)
			if err != nil {
				return err
			}
			if p.Metadata == nil {
				p.Metadata = make(map[string][]byte, 1)
			}
			p.Metadata[key] = value
		case f.Number == payloadData && f.Type == protowire.BytesType:
			p.Data = slices.Clip(f.Bytes)
		default:
			return errUncommon
		}
	}
	return nil
}

func readEntry(b []byte) (key string, value []byte, err error) {
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return "", nil, err
		case f.Number == entryKey && f.Type == protowire.BytesType:
			if key = metadataKey(f.Bytes); !utf8.ValidString(key) {
				return "", nil, errUncommon
			}
		case f.Number == entryValue && f.Type == protowire.BytesType:
			value = slices.Clip(f.Bytes)
		default:
			return "", nil, errUncommon
		}
	}
	return key, value, nil
}

// metadataKey is the key as a string, without a copy for those that nearly all payloads have.
func metadataKey(b []byte) string {
	switch string(b) {
	case converter.MetadataEncoding:
		return converter.MetadataEncoding
	case converter.MetadataMessageType:
		return converter.MetadataMessageType
	}
	return string(b)
}

// sortedMetadata goes over the metadata by key.
func sortedMetadata(p *commonpb.Payload) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if len(p.GetMetadata()) == 1 {
			for key, value := range p.GetMetadata() {
				yield(key, value)
			}
			return
		}
		for _, key := range slices.Sorted(maps.Keys(p.GetMetadata())) {
			if !yield(key, p.GetMetadata()[key]) {
				return
			}
		}
	}
}
