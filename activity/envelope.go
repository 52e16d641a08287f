package activity

import (
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// What a task carries through the queue, which looks at none of it. Both envelopes stay
// in Redis while workers of other releases run: field numbers are never reused, unknown
// fields are skipped, and a form that an older release must not run has a higher version.
//
// Arguments, header and failures went through the user's codec before they came here;
// the rest (names, IDs, error type names) is readable in Redis.

const envelopeVersion = 1

// errNewerEnvelope is wrapped when a newer Slipstream wrote a task in a form that this
// one cannot run.
var errNewerEnvelope = errors.New("the task was written by a newer version of Slipstream; update this worker")

const (
	fieldVersion protowire.Number = 1

	callActivityID   protowire.Number = 2
	callInput        protowire.Number = 3
	callNonRetryable protowire.Number = 4
	callHeader       protowire.Number = 5
	callGather       protowire.Number = 6
	callEarlier      protowire.Number = 7
	callTask         protowire.Number = 20

	addressNamespace    protowire.Number = 2
	addressWorkflowID   protowire.Number = 3
	addressRunID        protowire.Number = 4
	addressWorkflowType protowire.Number = 5
	addressTaskQueue    protowire.Number = 6
	addressHeader       protowire.Number = 7
	addressBatch        protowire.Number = 8
	addressReceiver     protowire.Number = 9
	addressSignal       protowire.Number = 10
	addressStart        protowire.Number = 11
	addressTypes        protowire.Number = 12
	addressTaskToken    protowire.Number = 20
	addressHeartbeats   protowire.Number = 21
	addressLossFinal    protowire.Number = 22

	reportPayloads protowire.Number = 2
	reportDetails  protowire.Number = 3
	reportPending  protowire.Number = 4
)

// call is what a task knows that the queue does not: a batchqueue.Task's Payload. In a
// chain, ActivityID and NonRetryable are the step's; those of later steps stand in the
// Payload of the batchqueue.Step, the rest in what the step before handed on.
type call struct {
	// ActivityID is empty where it follows from the call's number, which is the rule.
	ActivityID string
	// Input is an encoded commonpb.Payloads; nil means no arguments.
	Input []byte
	// NonRetryable are the error types of the retry policy, the one field of it that the
	// queue cannot use.
	NonRetryable []string
	// Header is an encoded commonpb.Header where it differs from the wave's; nil where not.
	Header []byte
	// Gather: the chain's outcome has the results of all steps.
	Gather bool
	// Earlier are those of the steps before, an encoded commonpb.Payloads with one payload
	// per step. Nil unless they are gathered.
	Earlier []byte
	// Task is set for a diverted activity task and for nothing else: the task as Temporal
	// handed it out, an encoded PollActivityTaskQueueResponse. The other fields are empty
	// then.
	Task []byte
	// Trace is the task's own trace context; nil where the wave's is.
	Trace []byte
}

// address is what all tasks of a wave share: a batchqueue.Wave's Common. It says where
// outcomes go and under which header.
type address struct {
	Namespace    string
	WorkflowID   string // empty for a batch
	RunID        string // of a batch: tells it from others that had its ID before
	WorkflowType string
	TaskQueue    string
	Header       *commonpb.Header

	// Batch is the ID of the batch that was enqueued without a workflow; empty otherwise.
	Batch string
	// Receiver is the ID of the workflow that is told of the batch's outcomes; empty if
	// nobody is.
	Receiver string
	// Signal is an encoded SignalWorkflowExecutionRequest, or, if the receiver is started
	// where it does not run, Start an encoded SignalWithStartWorkflowExecutionRequest. The
	// input is the caller's context value. Both are left encoded here: only who delivers
	// needs them, and every handler decodes an address.
	Signal []byte
	Start  []byte
	// Types tell the activity type of each task, see encodeTypes.
	Types []byte

	// TaskToken is set for a diverted activity task: its outcome answers the token
	// instead of going to the run as a signal.
	TaskToken []byte
	// Heartbeats: the diverted task has a heartbeat time-out. LossFinal: its policy does
	// not retry the time-out by which Temporal notices a lost worker.
	Heartbeats, LossFinal bool

	// Trace is the trace context of the tasks that have the wave's header; see encodeTrace.
	Trace []byte
}

// report is how a diverted attempt ended: the Payload of its outcome.
type report struct {
	// Payloads are an encoded commonpb.Payloads: the result, the details of a
	// cancellation, or the failure as one payload.
	Payloads []byte
	// Details are heartbeat details, encoded alike, that Temporal has not got yet.
	Details []byte
	// Pending: Temporal is told nothing, because the handler returned
	// activity.ErrResultPending or its deadline has passed.
	Pending bool
}

// headerOr returns the call's own header, or the wave's.
func (c *call) headerOr(wave *commonpb.Header) (*commonpb.Header, error) {
	if c.Header == nil {
		return wave, nil
	}
	own := &commonpb.Header{}
	if err := proto.Unmarshal(c.Header, own); err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	return own, nil
}

func encodeCall(c *call) []byte {
	b := appendVarint(make([]byte, 0, len(c.Input)+16), fieldVersion, envelopeVersion)
	if c.ActivityID != "" {
		b = appendString(b, callActivityID, c.ActivityID)
	}
	if c.Input != nil {
		b = appendBytes(b, callInput, c.Input)
	}
	for _, name := range c.NonRetryable {
		b = appendString(b, callNonRetryable, name)
	}
	if c.Header != nil {
		b = appendBytes(b, callHeader, c.Header)
	}
	b = appendFlag(b, callGather, c.Gather)
	if c.Earlier != nil {
		b = appendBytes(b, callEarlier, c.Earlier)
	}
	if c.Task != nil {
		b = appendBytes(b, callTask, c.Task)
	}
	return withTrace(b, c.Trace)
}

func decodeCall(b []byte) (*call, error) {
	c := &call{}
	err := readEnvelope(b, func(number protowire.Number, value []byte) error {
		switch number {
		case callActivityID:
			c.ActivityID = string(value)
		case callInput:
			c.Input = value
		case callNonRetryable:
			c.NonRetryable = append(c.NonRetryable, string(value))
		case callHeader:
			c.Header = value
		case callGather:
			c.Gather = true
		case callEarlier:
			c.Earlier = value
		case callTask:
			c.Task = value
		case fieldTrace:
			c.Trace = value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode task: %w", err)
	}
	return c, nil
}

func encodeAddress(a *address) ([]byte, error) {
	b := appendVarint(nil, fieldVersion, envelopeVersion)
	b = appendString(b, addressNamespace, a.Namespace)
	b = appendString(b, addressWorkflowID, a.WorkflowID)
	b = appendString(b, addressRunID, a.RunID)
	b = appendString(b, addressWorkflowType, a.WorkflowType)
	b = appendString(b, addressTaskQueue, a.TaskQueue)
	if len(a.Header.GetFields()) > 0 {
		header, err := encodeHeader(a.Header)
		if err != nil {
			return nil, err
		}
		b = appendBytes(b, addressHeader, header)
	}
	b = withTrace(b, a.Trace)
	if a.TaskToken != nil {
		b = appendBytes(b, addressTaskToken, a.TaskToken)
	}
	b = appendFlag(b, addressHeartbeats, a.Heartbeats)
	b = appendFlag(b, addressLossFinal, a.LossFinal)
	if a.Batch == "" {
		return b, nil
	}
	b = appendString(b, addressBatch, a.Batch)
	if a.Receiver == "" {
		return b, nil
	}
	b = appendString(b, addressReceiver, a.Receiver)
	if a.Start != nil {
		b = appendBytes(b, addressStart, a.Start)
	} else {
		b = appendBytes(b, addressSignal, a.Signal)
	}
	return appendBytes(b, addressTypes, a.Types), nil
}

// encodeHeader is deterministic, because equal waves should look equal in Redis. No header
// is not nil: it may differ from the wave's.
func encodeHeader(h *commonpb.Header) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{}, h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	return b, nil
}

func decodeAddress(b []byte) (*address, error) {
	a := &address{}
	err := readEnvelope(b, func(number protowire.Number, value []byte) error {
		switch number {
		case addressNamespace:
			a.Namespace = string(value)
		case addressWorkflowID:
			a.WorkflowID = string(value)
		case addressRunID:
			a.RunID = string(value)
		case addressWorkflowType:
			a.WorkflowType = string(value)
		case addressTaskQueue:
			a.TaskQueue = string(value)
		case addressHeader:
			a.Header = &commonpb.Header{}
			return proto.Unmarshal(value, a.Header)
		case addressBatch:
			a.Batch = string(value)
		case addressReceiver:
			a.Receiver = string(value)
		case addressSignal:
			a.Signal = value
		case addressStart:
			a.Start = value
		case addressTypes:
			a.Types = value
		case fieldTrace:
			a.Trace = value
		case addressTaskToken:
			a.TaskToken = value
		case addressHeartbeats:
			a.Heartbeats = true
		case addressLossFinal:
			a.LossFinal = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode address: %w", err)
	}
	return a, nil
}

func encodeReport(r *report) []byte {
	b := appendVarint(nil, fieldVersion, envelopeVersion)
	if r.Payloads != nil {
		b = appendBytes(b, reportPayloads, r.Payloads)
	}
	if r.Details != nil {
		b = appendBytes(b, reportDetails, r.Details)
	}
	return appendFlag(b, reportPending, r.Pending)
}

func decodeReport(b []byte) (*report, error) {
	r := &report{}
	err := readEnvelope(b, func(number protowire.Number, value []byte) error {
		switch number {
		case reportPayloads:
			r.Payloads = value
		case reportDetails:
			r.Details = value
		case reportPending:
			r.Pending = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode report: %w", err)
	}
	return r, nil
}

// readEnvelope checks the version and hands out the fields that have a length; value
// shares b's memory.
func readEnvelope(b []byte, each func(number protowire.Number, value []byte) error) error {
	err := wire.ReadFields(b, envelopeVersion, each)
	if errors.Is(err, wire.ErrVersion) {
		return errNewerEnvelope
	}
	return err
}

func appendVarint(b []byte, number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), v)
}

func appendString(b []byte, number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), s)
}

func appendBytes(b []byte, number protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v)
}

// appendFlag writes a true flag as an empty field: only fields with a length are read.
func appendFlag(b []byte, number protowire.Number, flag bool) []byte {
	if flag {
		return appendBytes(b, number, nil)
	}
	return b
}
