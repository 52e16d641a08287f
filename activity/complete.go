package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// completionOverhead is what a completion adds to its outcome, names and context apart.
const completionOverhead = 200

// base64Bytes is how long n bytes become in JSON.
func base64Bytes(n int) int { return (n + 2) / 3 * 4 }

// complete sends outcomes of a batch that was enqueued without a workflow to whom its
// OnComplete names.
func (w *Worker) complete(ctx context.Context, h *host, b *batchqueue.Batch, a *address) error {
	send := w.signal
	if a.Start != nil {
		send = w.signalWithStart
	}
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	err := send(ctx, h, b, a)
	if err == nil {
		w.rt.metrics.signalled(b)
		return nil
	}
	err = fmt.Errorf("signal workflow %q for batch %q: %w", a.Receiver, a.Batch, err)
	if isRefusal(err) {
		// Unlike a run, nobody ever asks for a batch. What cannot be delivered is parked.
		w.logger.Error("[Slipstream] a workflow cannot be told of a batch; its tasks that wait will not start. "+
			"Within 15 minutes, enqueue the batch again with the same ID to go on",
			"Batch", a.Batch, "WorkflowID", a.Receiver, "Error", err)
		return errors.Join(batchqueue.ErrRunGone, err)
	}
	return withRetryHint(err)
}

// isRefusal tells whether the server will never take the signal.
func isRefusal(err error) bool {
	var notFound *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument
	var started *serviceerror.WorkflowExecutionAlreadyStarted // and may not be started again
	return errors.As(err, &notFound) || errors.As(err, &invalid) || errors.As(err, &started)
}

func (w *Worker) signal(ctx context.Context, h *host, b *batchqueue.Batch, a *address) error {
	request := &workflowservice.SignalWorkflowExecutionRequest{}
	if err := proto.Unmarshal(a.Signal, request); err != nil {
		return fmt.Errorf("decode signal: %w", err)
	}
	input, err := w.completions(ctx, b, a, request.GetHeader(), request.GetInput())
	if err != nil {
		return err
	}
	request.Input, request.Identity, request.RequestId = input, w.identity, requestID(b, a)
	_, err = h.client.WorkflowService().SignalWorkflowExecution(ctx, request)
	return err
}

func (w *Worker) signalWithStart(ctx context.Context, h *host, b *batchqueue.Batch, a *address) error {
	request := &workflowservice.SignalWithStartWorkflowExecutionRequest{}
	if err := proto.Unmarshal(a.Start, request); err != nil {
		return fmt.Errorf("decode signal with start: %w", err)
	}
	input, err := w.completions(ctx, b, a, request.GetHeader(), request.GetSignalInput())
	if err != nil {
		return err
	}
	request.SignalInput, request.Identity, request.RequestId = input, w.identity, requestID(b, a)
	_, err = h.client.WorkflowService().SignalWithStartWorkflowExecution(ctx, request)
	return err
}

// requestID is the same for each sending of a batch of outcomes, and another one for a
// batch of tasks that has the ID of an earlier one: a run swallows a request ID for life.
func requestID(b *batchqueue.Batch, a *address) string { return b.ID + "-" + a.RunID }

// completions encodes the outcomes as the signal's argument, as a client of the user would.
// A codec may give other bytes each time; the request ID keeps a repetition out all the same.
func (w *Worker) completions(ctx context.Context, b *batchqueue.Batch, a *address, header *commonpb.Header, value *commonpb.Payloads) (input *commonpb.Payloads, err error) {
	types, err := decodeTypes(a.Types)
	if err != nil {
		return nil, err
	}
	var own *commonpb.Payload
	if payloads := value.GetPayloads(); len(payloads) > 0 {
		own = payloads[0]
	}
	list := make([]wire.Completion, len(b.Outcomes))
	for i := range b.Outcomes {
		index := int(b.Outcomes[i].Number) - 1
		list[i] = wire.Completion{
			Batch: a.Batch, Index: index, Type: types.of(index),
			Outcome: wireOutcome("", &b.Outcomes[i]), Context: own,
		}
	}
	// Converters and propagators are the user's, and may panic.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("encode completions: panic: %v", p)
		}
	}()
	if ctx, err = w.rt.client.withHeader(ctx, header); err != nil {
		return nil, err
	}
	dc, _ := w.rt.client.converters(a.Namespace, a.Receiver)
	if input, err = contextAware(ctx, dc).ToPayloads(list); err != nil {
		return nil, fmt.Errorf("encode completions: %w", err)
	}
	return input, nil
}

// typeRuns tell the activity type of each task of a batch: runs of neighbours that have the
// same, because mostly all have.
type typeRuns struct {
	names []string
	name  []uint64 // of each run, in names
	end   []int    // index after its last task
}

const (
	typesNames protowire.Number = 2
	typesRuns  protowire.Number = 3 // packed: name, length, name, length...
)

func encodeTypes(types []string) []byte {
	var names []string
	var runs []byte
	for i := 0; i < len(types); {
		j := i
		for j < len(types) && types[j] == types[i] {
			j++
		}
		name := slices.Index(names, types[i])
		if name < 0 {
			name = len(names)
			names = append(names, types[i])
		}
		runs = protowire.AppendVarint(protowire.AppendVarint(runs, uint64(name)), uint64(j-i))
		i = j
	}
	b := appendVarint(nil, fieldVersion, envelopeVersion)
	for _, name := range names {
		b = appendString(b, typesNames, name)
	}
	return appendBytes(b, typesRuns, runs)
}

func decodeTypes(b []byte) (*typeRuns, error) {
	t := &typeRuns{}
	end := 0
	err := readEnvelope(b, func(number protowire.Number, value []byte) error {
		switch number {
		case typesNames:
			t.names = append(t.names, string(value))
		case typesRuns:
			for len(value) > 0 {
				name, n := protowire.ConsumeVarint(value)
				if n < 0 {
					return protowire.ParseError(n)
				}
				length, m := protowire.ConsumeVarint(value[n:])
				if m < 0 {
					return protowire.ParseError(m)
				}
				value, end = value[n+m:], end+int(length)
				t.name, t.end = append(t.name, name), append(t.end, end)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode types: %w", err)
	}
	return t, nil
}

// of is empty for an index that is not in the batch.
func (t *typeRuns) of(index int) string {
	run := sort.SearchInts(t.end, index+1)
	if run >= len(t.end) || t.name[run] >= uint64(len(t.names)) {
		return ""
	}
	return t.names[t.name[run]]
}
