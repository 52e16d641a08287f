package wire

import (
	"encoding/json"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// Completion is the outcome of one task of a batch, for a workflow that is told of it by a
// signal of its own. It goes through the data converter of whoever sends and receives it,
// so unlike all else here it is JSON: every converter takes that, in every language, and
// people can read it in a history.
//
// Its JSON names stand in histories: they never change, and are only ever added to.
type Completion struct {
	// Batch is the batch's ID, Index the task's place in it, from 0.
	Batch string
	Index int
	// Type is the activity type name.
	Type string
	// Outcome is how it ended; its identity is the queue's own business and stays there.
	Outcome Outcome
	// Context is the caller's value, as the caller's data converter encoded it; nil if the
	// caller gave none.
	Context *commonpb.Payload
}

type completionJSON struct {
	Batch    string         `json:"batch"`
	Index    int            `json:"index"`
	Activity string         `json:"activity"`
	Kind     string         `json:"kind"`
	Attempt  int32          `json:"attempt,omitempty"`
	Retry    RetryState     `json:"retryState,omitempty"`
	Worker   string         `json:"worker,omitempty"`
	Payloads []*payloadJSON `json:"payloads,omitempty"`
	Details  []*payloadJSON `json:"details,omitempty"`
	Context  *payloadJSON   `json:"context,omitempty"`
}

// kindNames are the kinds as JSON has them.
var kindNames = map[Kind]string{
	KindCompleted:       "completed",
	KindFailed:          "failed",
	KindCanceled:        "canceled",
	KindScheduleToStart: "scheduleToStartTimeout",
	KindScheduleToClose: "scheduleToCloseTimeout",
	KindStartToClose:    "startToCloseTimeout",
	KindHeartbeat:       "heartbeatTimeout",
	KindPoison:          "poison",
}

// Class is the kind as callers outside of workflows know it: all time-outs are one, and
// whatever else is no result is a failure. It is empty for no kind.
func (k Kind) Class() string {
	switch k {
	case KindUnknown:
		return ""
	case KindCompleted:
		return "completed"
	case KindCanceled:
		return "canceled"
	case KindScheduleToStart, KindScheduleToClose, KindStartToClose, KindHeartbeat:
		return "timed out"
	case KindFailed, KindPoison:
	}
	return "failed"
}

// MarshalJSON implements json.Marshaler. Equal completions give equal bytes.
func (c Completion) MarshalJSON() ([]byte, error) {
	o := &c.Outcome
	return json.Marshal(completionJSON{
		Batch: c.Batch, Index: c.Index, Activity: c.Type,
		Kind: kindNames[o.Kind], Attempt: o.Attempt, Retry: o.Retry, Worker: o.Worker,
		Payloads: payloadsToJSON(o.Payloads), Details: payloadsToJSON(o.Details), Context: payloadToJSON(c.Context),
	})
}

// UnmarshalJSON implements json.Unmarshaler. A kind that only a newer version knows is
// KindUnknown.
func (c *Completion) UnmarshalJSON(b []byte) error {
	var j completionJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("decode completion: %w", err)
	}
	*c = Completion{
		Batch: j.Batch, Index: j.Index, Type: j.Activity,
		Outcome: Outcome{
			Attempt: j.Attempt, Retry: j.Retry, Worker: j.Worker,
			Payloads: payloadsFromJSON(j.Payloads), Details: payloadsFromJSON(j.Details),
		},
		Context: j.Context.payload(),
	}
	for kind, name := range kindNames {
		if name == j.Kind {
			c.Outcome.Kind = kind
		}
	}
	return nil
}

// payloadJSON is a payload within JSON. One that is JSON itself, as the SDK's default
// converter makes them, stands there as it is; any other has Temporal's own JSON form.
type payloadJSON struct {
	Value    json.RawMessage   `json:"value,omitempty"`
	Metadata map[string][]byte `json:"metadata,omitempty"`
	Data     []byte            `json:"data,omitempty"`
}

func payloadToJSON(p *commonpb.Payload) *payloadJSON {
	if p == nil {
		return nil
	}
	encoding := string(p.GetMetadata()[converter.MetadataEncoding])
	if len(p.GetMetadata()) == 1 && encoding == converter.MetadataEncodingJSON && json.Valid(p.GetData()) {
		return &payloadJSON{Value: p.GetData()}
	}
	return &payloadJSON{Metadata: p.GetMetadata(), Data: p.GetData()}
}

func (j *payloadJSON) payload() *commonpb.Payload {
	if j == nil {
		return nil
	}
	if j.Value != nil {
		return &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)},
			Data:     j.Value,
		}
	}
	return &commonpb.Payload{Metadata: j.Metadata, Data: j.Data}
}

func payloadsToJSON(payloads []*commonpb.Payload) []*payloadJSON {
	out := make([]*payloadJSON, len(payloads))
	for i, p := range payloads {
		out[i] = payloadToJSON(p)
	}
	return out
}

func payloadsFromJSON(list []*payloadJSON) []*commonpb.Payload {
	if len(list) == 0 {
		return nil
	}
	out := make([]*commonpb.Payload, len(list))
	for i, j := range list {
		out[i] = j.payload()
	}
	return out
}
