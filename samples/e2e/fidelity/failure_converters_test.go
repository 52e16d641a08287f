package fidelity

import (
	"context"
	"errors"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Failure converters, codecs and propagators of the user's own.
var failureConverterScenarios = []scenario{
	{
		name: "encoded failure attributes",
		play: failingWith(func(o *client.Options) {
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
		}, func() error {
			return temporal.NewApplicationErrorWithCause("outer secret", "Outer", errors.New("inner secret"), "detail")
		}),
	},
	{
		name: "encoded failure attributes of a panic",
		play: failingWith(func(o *client.Options) {
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
		}, func() error { panic("a secret") }),
	},
	{
		name: "encoded failure attributes behind a codec",
		play: failingWith(func(o *client.Options) {
			o.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), rot13{})
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
				DataConverter: o.DataConverter, EncodeCommonAttributes: true,
			})
		}, func() error { return temporal.NewApplicationError("secret", "Secret", "detail") }),
	},
	{
		name: "custom failure converter",
		play: failingWith(func(o *client.Options) { o.FailureConverter = wordFailures{temporal.GetDefaultFailureConverter()} },
			func() error { return &wordError{"palabra"} }),
	},
	{
		name: "custom failure converter and a panic",
		play: failingWith(func(o *client.Options) { o.FailureConverter = wordFailures{temporal.GetDefaultFailureConverter()} },
			func() error { panic("out of words") }),
	},
	{
		name: "context propagator that cannot read the header",
		play: func(p *play) {
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{unreadable{}}
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 200 * ms, RetryPolicy: quickly(2)})
				_ = noteResult[any](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
				return nil
			})
		},
		differs: map[string]string{"call": failsAtOnce},
	},
}

// failingWith is failing with another client.
func failingWith(change func(o *client.Options), err func() error) func(p *play) {
	return func(p *play) {
		change(&p.clientOptions)
		failing(err)(p)
	}
}

// unreadable is a propagator that no handler gets past. Local activities do: the dispatch is one.
type unreadable struct{}

func (unreadable) Inject(context.Context, workflow.HeaderWriter) error { return nil }

func (unreadable) InjectFromWorkflow(workflow.Context, workflow.HeaderWriter) error { return nil }

func (unreadable) Extract(ctx context.Context, _ workflow.HeaderReader) (context.Context, error) {
	if activity.IsActivity(ctx) && !activity.GetInfo(ctx).IsLocalActivity {
		return nil, errors.New("no tenant in the header")
	}
	return ctx, nil
}

func (unreadable) ExtractToWorkflow(ctx workflow.Context, _ workflow.HeaderReader) (workflow.Context, error) {
	return ctx, nil
}

// wordFailures is a failure converter of a user that keeps one type of error across the border.
type wordFailures struct{ converter.FailureConverter }

func (c wordFailures) ErrorToFailure(err error) *failurepb.Failure {
	var word *wordError
	if !errors.As(err, &word) {
		f := c.FailureConverter.ErrorToFailure(err)
		if _, ok := errors.AsType[*temporal.PanicError](err); ok {
			f.Message = "hidden"
		}
		return f
	}
	return &failurepb.Failure{
		Message: word.Word, Source: "words",
		FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "Word"}},
	}
}

func (c wordFailures) FailureToError(f *failurepb.Failure) error {
	if f.GetApplicationFailureInfo().GetType() == "Word" {
		return &wordError{f.GetMessage()}
	}
	return c.FailureConverter.FailureToError(f)
}

// rot13 is a codec that anybody can break, and nobody overlooks.
type rot13 struct{}

func (rot13) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return rotated(payloads, 13), nil
}

func (rot13) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return rotated(payloads, 256-13), nil
}

func rotated(payloads []*commonpb.Payload, by byte) []*commonpb.Payload {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		data := slices.Clone(p.GetData())
		for k := range data {
			data[k] += by
		}
		out[i] = &commonpb.Payload{Metadata: p.GetMetadata(), Data: data}
	}
	return out
}
