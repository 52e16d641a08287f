package fidelity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// logLines keeps what is logged: level, message, then the tags in their order.
type logLines struct {
	mu   sync.Mutex
	all  []logLine  // protected by mu
	next log.Logger // sees everything, too
}

type logLine struct {
	level, message string
	tags           []any
}

// matching returns the lines that f accepts, as text.
func (l *logLines) matching(f func(logLine) bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.all {
		if f(line) {
			found = append(found, line.String())
		}
	}
	return found
}

func (l logLine) tag(key string) any {
	for i := 0; i+1 < len(l.tags); i += 2 {
		if l.tags[i] == key {
			return l.tags[i+1]
		}
	}
	return nil
}

// stacks differ in their frames, and a numbered activity ID counts something else in each mode.
func (l logLine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", l.level, l.message)
	for i := 0; i+1 < len(l.tags); i += 2 {
		key, value := fmt.Sprint(l.tags[i]), show(l.tags[i+1])
		switch key {
		case "ActivityID":
			value = activityID(fmt.Sprint(l.tags[i+1]))
		case "PanicStack":
			value = topOfStack(fmt.Sprint(l.tags[i+1]))
		}
		fmt.Fprintf(&b, " %s=%s", key, value)
	}
	return b.String()
}

type capturingLogger struct {
	lines *logLines
	tags  []any
}

var _ log.WithLogger = (*capturingLogger)(nil)

func (c *capturingLogger) With(tags ...any) log.Logger {
	return &capturingLogger{lines: c.lines, tags: slices.Concat(c.tags, tags)}
}

func (c *capturingLogger) add(level, message string, tags []any) {
	all := slices.Concat(c.tags, tags)
	c.lines.mu.Lock()
	c.lines.all = append(c.lines.all, logLine{level, message, all})
	c.lines.mu.Unlock()
	c.lines.next.Info(level+" "+message, all...)
}

func (c *capturingLogger) Debug(message string, tags ...any) { c.add("DEBUG", message, tags) }
func (c *capturingLogger) Info(message string, tags ...any)  { c.add("INFO", message, tags) }
func (c *capturingLogger) Warn(message string, tags ...any)  { c.add("WARN", message, tags) }
func (c *capturingLogger) Error(message string, tags ...any) { c.add("ERROR", message, tags) }

// captureLogs puts a capturing logger before the play's own.
func (p *play) captureLogs() *logLines {
	lines := &logLines{next: p.clientOptions.Logger}
	p.clientOptions.Logger = &capturingLogger{lines: lines}
	return lines
}

// metricCounts keeps how often each metric was emitted, by name and tags.
type metricCounts struct {
	mu     sync.Mutex
	counts map[string]int // protected by mu
}

// matching returns the metrics whose name begins so, with their tags and counts. Those of the host activity, which the
// SDK emits once per worker, are left out.
func (m *metricCounts) matching(prefixes ...string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []string
	for _, name := range slices.Sorted(maps.Keys(m.counts)) {
		if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) &&
			!strings.Contains(name, "activity_type="+hostActivity) {
			found = append(found, fmt.Sprintf("%s %d", name, m.counts[name]))
		}
	}
	return found
}

// hostActivity is what the plugin runs once in each worker.
const hostActivity = "slipstream.host"

type countingMetrics struct {
	counts *metricCounts
	tags   map[string]string
}

var _ client.MetricsHandler = countingMetrics{}

func (c countingMetrics) WithTags(tags map[string]string) client.MetricsHandler {
	all := maps.Clone(c.tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, tags)
	return countingMetrics{c.counts, all}
}

func (c countingMetrics) add(name string, n int) {
	for _, key := range slices.Sorted(maps.Keys(c.tags)) {
		name += " " + key + "=" + c.tags[key]
	}
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	c.counts.counts[name] += n
}

func (c countingMetrics) Counter(name string) client.MetricsCounter { return counted{c, name} }
func (c countingMetrics) Gauge(name string) client.MetricsGauge     { return counted{c, name} }
func (c countingMetrics) Timer(name string) client.MetricsTimer     { return counted{c, name} }

type counted struct {
	metrics countingMetrics
	name    string
}

func (c counted) Inc(n int64)          { c.metrics.add(c.name, int(n)) }
func (c counted) Update(float64)       { c.metrics.add(c.name, 1) }
func (c counted) Record(time.Duration) { c.metrics.add(c.name, 1) }

// captureMetrics gives the client a metrics handler that counts.
func (p *play) captureMetrics() *metricCounts {
	counts := &metricCounts{counts: map[string]int{}}
	p.clientOptions.MetricsHandler = countingMetrics{counts: counts}
	return counts
}
