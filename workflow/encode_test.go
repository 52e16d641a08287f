package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// sealing is a codec that, as an encrypting one may, binds payloads to the context that
// they were written in, and gives other bytes each time.
type sealing struct {
	context string
	counter *int
}

func (c *sealing) WithSerializationContext(sc converter.SerializationContext) converter.PayloadCodec {
	bound := *c
	switch sc := sc.(type) {
	case converter.WorkflowSerializationContext:
		bound.context = "workflow " + sc.WorkflowID
	case converter.ActivitySerializationContext:
		bound.context = "activity " + sc.ActivityType
	}
	return &bound
}

func (c *sealing) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	var sealed []*commonpb.Payload
	for _, p := range payloads {
		b, err := p.Marshal()
		if err != nil {
			return nil, err
		}
		*c.counter++
		sealed = append(sealed, &commonpb.Payload{
			Metadata: map[string][]byte{
				"encoding": []byte("binary/sealed"), "context": []byte(c.context), "nonce": []byte(fmt.Sprint(*c.counter)),
			},
			Data: b,
		})
	}
	return sealed, nil
}

func (c *sealing) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	var opened []*commonpb.Payload
	for _, p := range payloads {
		if string(p.GetMetadata()["encoding"]) != "binary/sealed" {
			opened = append(opened, p)
			continue
		}
		if got := string(p.GetMetadata()["context"]); got != c.context {
			return nil, fmt.Errorf("sealed for %q, opened for %q", got, c.context)
		}
		inner := &commonpb.Payload{}
		if err := inner.Unmarshal(p.GetData()); err != nil {
			return nil, err
		}
		opened = append(opened, inner)
	}
	return opened, nil
}

func sealed() converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), &sealing{counter: new(int)})
}

func workflowContext(b *bench) converter.SerializationContext {
	return converter.WorkflowSerializationContext{Namespace: "default-test-namespace", WorkflowID: "default-test-workflow-id"}
}

// All of Slipstream's payloads are written and read under the workflow's serialization
// context, for only that one is known on both sides.
func TestPayloadsBelongToTheWorkflow(t *testing.T) {
	t.Parallel()
	dc := sealed()
	b := newBench(t, func(c *workflow.Config) { c.DataConverter = func() converter.DataConverter { return dc } })
	b.SetDataConverter(dc)
	bound := converter.WithDataConverterSerializationContext(dc, workflowContext(b))
	b.queue.answer = func(c *wire.Call) wire.Answer {
		var s string
		if err := bound.FromPayloads(c.Input, &s); err != nil {
			panic(err)
		}
		o := &wire.Outcome{Kind: wire.KindCompleted, Attempt: 1}
		if s == "fail" {
			p, err := wire.EncodeFailure(bound, temporal.GetDefaultFailureConverter().ErrorToFailure(errors.New("failed")))
			if err != nil {
				panic(err)
			}
			o.Kind, o.Payloads = wire.KindFailed, []*commonpb.Payload{p}
			return wire.Answer{State: wire.StateDone, Outcome: o}
		}
		p, err := bound.ToPayload("handled " + s)
		if err != nil {
			panic(err)
		}
		o.Payloads = []*commonpb.Payload{p}
		return wire.Answer{State: wire.StateDone, Outcome: o}
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var s string
		if err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "x").Get(ctx, &s); err != nil {
			return "", err
		}
		err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "fail").Get(ctx, nil)
		var application *temporal.ApplicationError
		if !errors.As(err, &application) {
			return "", err
		}
		return s + " " + application.Message(), nil
	})
	require.NoError(t, err)
	require.Equal(t, "handled x failed", got)
	require.NotNil(t, b.queue.waves[0].Calls[0].Canonical, "the fingerprint must not depend on the nonce")
	require.Equal(t, "workflow default-test-workflow-id", string(b.queue.waves[0].Calls[0].Input.GetPayloads()[0].GetMetadata()["context"]))
}

// A plain fallback is an activity: its payloads belong to the activity, and come back
// through the call's future all the same.
func TestPlainPayloadsBelongToTheActivity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetDataConverter(sealed())
	b.queue.answer = plainly
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "plain a", got)
}

// Without a codec the input is as good as canonical and is not encoded twice.
func TestNoCanonicalWithoutCodec(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Nil(t, b.queue.waves[0].Calls[0].Canonical)
}

// workflow.WithDataConverter is honoured as far as it is by the SDK.
type shouting struct{ converter.DataConverter }

func (s shouting) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	for i, v := range values {
		values[i] = fmt.Sprint(v, "!")
	}
	return s.DataConverter.ToPayloads(values...)
}

func TestConverterOfTheContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		sctx := sdkworkflow.WithDataConverter(options(ctx), shouting{converter.GetDefaultDataConverter()})
		var s string
		err := sdkworkflow.ExecuteActivity(sctx, "Echo", "a").Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "a!", got)
}

// tenant is a context propagator as strict as they come.
type tenant struct{}

type tenantKey struct{}

func (p *tenant) Inject(context.Context, sdkworkflow.HeaderWriter) error { return nil }

func (p *tenant) Extract(ctx context.Context, _ sdkworkflow.HeaderReader) (context.Context, error) {
	return ctx, nil
}

func (p *tenant) InjectFromWorkflow(ctx sdkworkflow.Context, w sdkworkflow.HeaderWriter) error {
	if ctx.Value(tenantKey{}) == "nobody" {
		return errors.New("no tenant")
	}
	payload, err := converter.GetDefaultDataConverter().ToPayload(ctx.Value(tenantKey{}))
	if err != nil {
		return err
	}
	w.Set("tenant", payload)
	return nil
}

func (p *tenant) ExtractToWorkflow(ctx sdkworkflow.Context, _ sdkworkflow.HeaderReader) (sdkworkflow.Context, error) {
	return sdkworkflow.WithValue(ctx, tenantKey{}, "root"), nil
}

// tracer is a user's interceptor that puts something on every call.
type tracer struct {
	interceptor.WorkerInterceptorBase
}

type tracerInbound struct {
	interceptor.WorkflowInboundInterceptorBase
}

type tracerOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	calls int
}

func (*tracer) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &tracerInbound{}
	in.Next = next
	return in
}

func (in *tracerInbound) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	out := &tracerOutbound{}
	out.Next = outbound
	return in.Next.Init(out)
}

func (out *tracerOutbound) ExecuteActivity(ctx sdkworkflow.Context, name string, args ...any) sdkworkflow.Future {
	out.calls++
	interceptor.WorkflowHeader(ctx)["trace"] = &commonpb.Payload{Data: []byte(fmt.Sprint(out.calls))}
	return out.Next.ExecuteActivity(ctx, name, args...)
}

func TestHeadersOfTheCalls(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, []interceptor.WorkerInterceptor{&tracer{}})
	b.SetContextPropagators([]sdkworkflow.ContextPropagator{&tenant{}})
	b.queue.answer = echo
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		one := sdkworkflow.ExecuteActivity(ctx, "Echo", "one")
		two := sdkworkflow.ExecuteActivity(sdkworkflow.WithValue(ctx, tenantKey{}, "other"), "Echo", "two")
		refused := sdkworkflow.ExecuteActivity(sdkworkflow.WithValue(ctx, tenantKey{}, "nobody"), "Echo", "three")
		return fmt.Sprint(kind(ctx, one), " ", kind(ctx, two), " ", kind(ctx, refused)), nil
	})
	require.NoError(t, err)
	require.Equal(t, "one two failed propagating header: no tenant", got)
	w := b.queue.waves[0]
	require.Len(t, w.Headers, 2)
	for i, want := range []string{`"root"`, `"other"`} {
		require.Equal(t, want, string(w.Headers[i].GetFields()["tenant"].GetData()))
		require.Equal(t, fmt.Sprint(i+1), string(w.Headers[i].GetFields()["trace"].GetData()))
	}
}

func TestEqualHeadersAreShared(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.SetContextPropagators([]sdkworkflow.ContextPropagator{&tenant{}})
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		sdkworkflow.ExecuteActivity(ctx, "Echo", "one")
		return "", sdkworkflow.ExecuteActivity(ctx, "Echo", "two").Get(ctx, nil)
	})
	require.NoError(t, err)
	w := b.queue.waves[0]
	require.Same(t, w.Headers[0], w.Headers[1])

	none := newBench(t)
	none.queue.answer = echo
	_, err = none.run(echoOnce)
	require.NoError(t, err)
	require.Nil(t, none.queue.waves[0].Headers[0])
}
