package main

import (
	"bytes"
	"fmt"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// recordLine is what a worker prints when it has written its first route record of the older protocol.
const recordLine = "older record written"

// olderConverter makes a worker write route records that name the protocol one version older, as one of the release before
// does. What the record says then decides how the run goes on, in this worker and in newer ones. It stands where the record is
// encoded, because nothing in the plugin can be told to be old.
type olderConverter struct {
	converter.DataConverter

	said func()
}

func newOlderConverter() olderConverter {
	return olderConverter{converter.GetDefaultDataConverter(), sync.OnceFunc(func() { fmt.Println(recordLine) })}
}

// ToPayloads implements converter.DataConverter.
func (c olderConverter) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	if len(values) == 1 {
		if b, ok := values[0].([]byte); ok {
			values = []any{c.older(b)}
		}
	}
	return c.DataConverter.ToPayloads(values...)
}

func (c olderConverter) older(b []byte) []byte {
	route, err := wire.DecodeRoute(b)
	if err != nil || len(route.Pools) == 0 || !bytes.Equal(wire.EncodeRoute(route), b) {
		return b // some other bytes
	}
	route.Protocol--
	c.said()
	return wire.EncodeRoute(route)
}
