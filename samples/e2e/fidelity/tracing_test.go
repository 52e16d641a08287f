package fidelity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/workflow"
)

// spans keeps what is traced.
type spans struct {
	exporter *tracetest.InMemoryExporter
	provider *sdktrace.TracerProvider
}

// traced gives the play OpenTelemetry as users set it up: an interceptor of the client, which its workers have too.
func (p *play) traced() *spans {
	p.t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	p.t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(p.ctx)) })
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: provider.Tracer("fidelity")})
	require.NoError(p.t, err)
	p.clientOptions.Interceptors = append(p.clientOptions.Interceptors, tracing)
	return &spans{exporter, provider}
}

// tree describes the spans, each below its parent, in the order of their start. A parent that is not there is named.
func (s *spans) tree() []string {
	all := s.exporter.GetSpans()
	slices.SortStableFunc(all, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	ids := map[trace.SpanID]bool{}
	for _, span := range all {
		ids[span.SpanContext.SpanID()] = true
	}
	var lines []string
	var add func(parent trace.SpanID, depth int)
	add = func(parent trace.SpanID, depth int) {
		for _, span := range all {
			above := span.Parent.SpanID()
			if above != parent {
				continue
			}
			var attributes []string
			for _, a := range span.Attributes {
				if a.Key != "temporalActivityID" { // a number of events in one mode, of calls in the other
					attributes = append(attributes, string(a.Key)+"="+a.Value.String())
				}
			}
			slices.Sort(attributes)
			lines = append(lines, fmt.Sprintf("%s%s (%s, %s) %s", strings.Repeat("| ", depth), span.Name, span.SpanKind, span.Status.Code, strings.Join(attributes, " ")))
			add(span.SpanContext.SpanID(), depth+1)
		}
	}
	add(trace.SpanID{}, 0)
	if len(lines) < len(all) {
		lines = append(lines, fmt.Sprintf("%d spans without parent", len(all)-len(lines)))
	}
	return lines
}

// note notes the tree under a key.
func (s *spans) note(see *notes, key string) {
	for _, line := range s.tree() {
		see.note(key, line)
	}
}

var tracingScenarios = []scenario{
	{
		name: "spans of calls",
		play: func(p *play) {
			traces := p.traced()
			tracer := traces.provider.Tracer("user")
			ctx, caller := tracer.Start(p.ctx, "caller")
			p.ctx = ctx
			p.activity("Act", func(ctx context.Context, s string) (string, error) {
				_, span := tracer.Start(ctx, "in the handler of "+s)
				defer span.End()
				if s == "fails" && activity.GetInfo(ctx).Attempt < 3 {
					return "", errors.New("no luck")
				}
				return s, nil
			})
			p.child("Child", func(ctx workflow.Context) error {
				return workflow.ExecuteActivity(attempts(ctx, 1), "Act", "of the child").Get(ctx, nil)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 3)
				_ = noteResult[string](ctx, see, "first", workflow.ExecuteActivity(ctx, "Act", "first"))
				_ = noteResult[string](ctx, see, "second", workflow.ExecuteActivity(ctx, "Act", "fails"))
				ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: p.workflowID + "-child"})
				return workflow.ExecuteChildWorkflow(ctx, "Child").Get(ctx, nil)
			})
			p.start()
			p.finish()
			p.stopWorker()
			caller.End()
			traces.note(p.seen, "spans")
		},
	},
	{
		name: "spans of calls side by side",
		play: func(p *play) {
			traces := p.traced()
			p.pluginOptions.Window = -1
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var calls []workflow.Future
				for n := range 5 {
					calls = append(calls, workflow.ExecuteActivity(attempts(ctx, 1), "Act", n))
				}
				for _, call := range calls {
					_ = noteResult[int](ctx, see, "call", call)
				}
				return nil
			})
			p.start()
			p.finish()
			p.stopWorker()
			traces.note(p.seen, "spans")
		},
	},
}
