// Package tracetree keeps the spans of a process and writes a trace as a tree.
package tracetree

import (
	"context"
	"slices"
	"strings"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Exporter keeps every span that ends. The zero value is ready; it is safe for concurrent use.
type Exporter struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan // protected by mu
}

var _ sdktrace.SpanExporter = (*Exporter)(nil)

// ExportSpans implements sdktrace.SpanExporter.
func (e *Exporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spans = append(e.spans, spans...)
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *Exporter) Shutdown(context.Context) error { return nil }

// Spans are those kept so far, in the order of their start.
func (e *Exporter) Spans() []sdktrace.ReadOnlySpan {
	e.mu.Lock()
	defer e.mu.Unlock()
	spans := slices.Clone(e.spans)
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return spans
}

// Links returns what writes a span's links: " -> " and a name for each. name is that of a span; one that is not there has none.
func Links(spans []sdktrace.ReadOnlySpan, name func(sdktrace.ReadOnlySpan) string) func(sdktrace.ReadOnlySpan) string {
	names := map[trace.SpanID]string{}
	for _, s := range spans {
		names[s.SpanContext().SpanID()] = name(s)
	}
	return func(s sdktrace.ReadOnlySpan) string {
		var text strings.Builder
		for _, l := range s.Links() {
			text.WriteString(" -> " + names[l.SpanContext.SpanID()])
		}
		return text.String()
	}
}

// Tree is one line per span, each below its parent and further to the right, in the order of their start. A span
// whose parent is not there begins a tree of its own.
func Tree(spans []sdktrace.ReadOnlySpan, line func(sdktrace.ReadOnlySpan) string) []string {
	known := map[trace.SpanID]bool{}
	for _, s := range spans {
		known[s.SpanContext().SpanID()] = true
	}
	below := map[trace.SpanID][]sdktrace.ReadOnlySpan{}
	for _, s := range spans {
		parent := s.Parent().SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		below[parent] = append(below[parent], s)
	}
	var lines []string
	var add func(parent trace.SpanID, depth int)
	add = func(parent trace.SpanID, depth int) {
		for _, s := range below[parent] {
			lines = append(lines, strings.Repeat("  ", depth)+line(s))
			add(s.SpanContext().SpanID(), depth+1)
		}
	}
	add(trace.SpanID{}, 0)
	return lines
}
