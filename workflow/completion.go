package workflow

import (
	"encoding/json"
	"errors"
	"strconv"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// OutcomeKind says how a task of a batch ended.
type OutcomeKind string

// The kinds of outcome.
const (
	OutcomeCompleted OutcomeKind = "completed"
	OutcomeFailed    OutcomeKind = "failed"
	OutcomeCanceled  OutcomeKind = "canceled"
	OutcomeTimedOut  OutcomeKind = "timed out"
)

// Completion tells a workflow how one task of a batch ended that somebody enqueued without
// a workflow (see activity.Queue). It comes in a signal with others of its batch:
//
//	var completions []workflow.Completion
//	sdkworkflow.GetSignalChannel(ctx, "done").Receive(ctx, &completions)
//	for _, c := range completions {
//		var result string
//		err := c.Get(ctx, &result)
//		...
//	}
//
// The worker that receives it needs neither the plugin nor Redis. Each task of a batch has
// one completion; it comes once, unless the workflow ends, continues as new or is reset
// while its signal is on the way: Batch and Index then tell a repetition.
//
// A Completion is JSON for its data converter, and may be passed on as it is, for example to
// the next run of the same workflow. It must be decoded by a workflow of the ID that it was
// sent to, where converters look at the workflow ID.
type Completion struct {
	// Batch is the batch's ID.
	Batch string
	// Index is the task's place in the batch, from 0.
	Index int
	// ActivityType is the name of the activity's type.
	ActivityType string
	// Outcome is how the task ended.
	Outcome OutcomeKind
	// Attempts is how many attempts were started.
	Attempts int

	outcome wire.Outcome
	context *commonpb.Payload // nil if the caller gave none
}

// Get decodes the result into valuePtr, which may be nil, or returns the error that
// workflow.ExecuteActivity would have given: a *temporal.ActivityError around a
// *temporal.ApplicationError, *temporal.TimeoutError or *temporal.CanceledError. It does not
// block. ctx must be of the coroutine that calls; as with a future, that is none of a query
// handler. Safe to repeat.
func (c *Completion) Get(ctx sdkworkflow.Context, valuePtr any) error {
	if c.outcome.Kind == wire.KindCompleted {
		return decodeAll(ctx, c.outcome.Payloads, valuePtr)
	}
	dc := contextConverter{ctx}
	e := errorMaker{
		data: func() converter.DataConverter { return dc },
		failure: func() converter.FailureConverter {
			return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: dc})
		},
	}
	// Only the plugin knows the worker's failure converter.
	if r, ok := ctx.Value(routerKey{}).(*router); ok {
		e.failure = r.errors(ctx).failure
	}
	return e.of(&c.outcome, c.ActivityType, c.Batch+"/"+strconv.Itoa(c.Index))
}

// GetContext decodes the value that the caller gave in OnComplete.Context into valuePtr. If
// there was none, valuePtr stays as it is.
func (c *Completion) GetContext(ctx sdkworkflow.Context, valuePtr any) error {
	if c.context == nil {
		return nil
	}
	return decode(ctx, c.context, valuePtr)
}

// MarshalJSON implements json.Marshaler.
func (c Completion) MarshalJSON() ([]byte, error) {
	return json.Marshal(wire.Completion{Batch: c.Batch, Index: c.Index, Type: c.ActivityType, Outcome: c.outcome, Context: c.context})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Completion) UnmarshalJSON(b []byte) error {
	var w wire.Completion
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*c = Completion{
		Batch: w.Batch, Index: w.Index, ActivityType: w.Type,
		Outcome: OutcomeKind(w.Outcome.Kind.Class()), Attempts: int(w.Outcome.Attempt),
		outcome: w.Outcome, context: w.Context,
	}
	return nil
}

// routerKey finds the run's router in the context of its workflow code.
type routerKey struct{}

// contextConverter is the data converter of a workflow context, which the SDK shows to
// nobody, as far as decoding goes.
type contextConverter struct{ ctx sdkworkflow.Context }

var errDecodesOnly = errors.New("slipstream: this data converter decodes only")

func (c contextConverter) FromPayload(p *commonpb.Payload, valuePtr any) error {
	return decode(c.ctx, p, valuePtr)
}

func (c contextConverter) FromPayloads(p *commonpb.Payloads, valuePtrs ...any) error {
	return decodeAll(c.ctx, p.GetPayloads(), valuePtrs...)
}

func (contextConverter) ToPayload(any) (*commonpb.Payload, error) { return nil, errDecodesOnly }

func (contextConverter) ToPayloads(...any) (*commonpb.Payloads, error) { return nil, errDecodesOnly }

func (contextConverter) ToString(p *commonpb.Payload) string {
	return converter.GetDefaultDataConverter().ToString(p)
}

func (contextConverter) ToStrings(p *commonpb.Payloads) []string {
	return converter.GetDefaultDataConverter().ToStrings(p)
}

// decodeAll decodes as many payloads as there are values for.
func decodeAll(ctx sdkworkflow.Context, payloads []*commonpb.Payload, valuePtrs ...any) error {
	for i, valuePtr := range valuePtrs {
		if i >= len(payloads) || valuePtr == nil {
			continue
		}
		if err := decode(ctx, payloads[i], valuePtr); err != nil {
			return err
		}
	}
	return nil
}
