package main

import "github.com/slipstream-go/slipstream/samples/internal/history"

// sample is what one repetition of one variant measured. What a variant has no use for is left zero.
type sample struct {
	Variant     string  `json:"variant"`
	Tasks       int     `json:"tasks"` // steps, or workflows where those are what is counted
	WallSeconds float64 `json:"wall_seconds"`
	// Latency is of what the case says: from being scheduled to the handler's start, or of a whole workflow.
	Latency *latency `json:"latency,omitempty"`
	// Retried counts attempts that were lost before they began, and came again after a time-out that is in the wall time.
	Retried         int        `json:"retried,omitempty"`
	PeakConcurrency int        `json:"peak_concurrency,omitempty"`
	Concurrency     *timeline  `json:"concurrency,omitempty"`
	CPU             cpuSeconds `json:"cpu_seconds"`
	// PeakMemory is what the Go runtime of this process held at most, in bytes.
	PeakMemory uint64         `json:"peak_memory_bytes"`
	Redis      redisUse       `json:"redis"`
	History    history.Counts `json:"history"`
	// Values are figures that only this case has, by name.
	Values map[string]float64 `json:"values,omitempty"`
}

// cpuSeconds are by process; 0 where they cannot be known.
type cpuSeconds struct {
	Process  float64 `json:"process"`  // this one: starters, workers, handlers
	Temporal float64 `json:"temporal"` // the server in a child process
	Redis    float64 `json:"redis"`    // the Redis server, as it says itself
}

// redisUse is what the Redis server executed, by its own count: scripts, and the commands inside them.
type redisUse struct {
	Commands  int64                   `json:"commands"`
	ByCommand map[string]redisCommand `json:"by_command,omitempty"`
}

type redisCommand struct {
	Calls   int64   `json:"calls"`
	Seconds float64 `json:"seconds"` // a script's include those of the commands in it
}

// figure is something that a sample has a number for.
type figure struct {
	name string
	unit unit
	of   func(*sample) float64
}

// unit says how to print a number.
type unit string

const (
	unitSeconds   unit = "s"
	unitMillis    unit = "ms"
	unitPerSecond unit = "/s"
	unitBytes     unit = "B"
	unitPercent   unit = "%"
	unitNone      unit = ""
)

var (
	wallTime = figure{"wall time", unitSeconds, func(s *sample) float64 { return s.WallSeconds }}
	rate     = figure{"rate", unitPerSecond, func(s *sample) float64 { return perSecond(s.Tasks, s.WallSeconds) }}
	p50      = figure{"p50", unitMillis, func(s *sample) float64 { return s.latency().P50 }}
	p95      = figure{"p95", unitMillis, func(s *sample) float64 { return s.latency().P95 }}
	p99      = figure{"p99", unitMillis, func(s *sample) float64 { return s.latency().P99 }}

	eventsPerTask = figure{"history events per step", unitNone, func(s *sample) float64 { return s.perTask(float64(s.History.Events)) }}
	redisPerTask  = figure{"Redis commands per step", unitNone, redisCommandsPerTask}
	redisPerRun   = figure{"Redis commands per workflow", unitNone, redisCommandsPerTask}
)

// commonFigures are summed up for every variant of every case.
var commonFigures = []figure{
	wallTime, rate, p50, p95, p99, redisPerTask, eventsPerTask,
	{"history bytes per step", unitBytes, func(s *sample) float64 { return s.perTask(float64(s.History.Bytes)) }},
	{"signals", unitNone, func(s *sample) float64 { return float64(s.History.Signals) }},
	{"steps at a time", unitNone, func(s *sample) float64 { return float64(s.PeakConcurrency) }},
	{"CPU of this process", unitSeconds, func(s *sample) float64 { return s.CPU.Process }},
	{"CPU of Temporal", unitSeconds, func(s *sample) float64 { return s.CPU.Temporal }},
	{"CPU of Redis", unitSeconds, func(s *sample) float64 { return s.CPU.Redis }},
	{"memory of this process", unitBytes, func(s *sample) float64 { return float64(s.PeakMemory) }},
}

// value is the figure of that name among a sample's Values.
func value(name string, u unit) figure {
	return figure{name, u, func(s *sample) float64 { return s.Values[name] }}
}

func (s *sample) latency() latency {
	if s.Latency == nil {
		return latency{}
	}
	return *s.Latency
}

func (s *sample) perTask(total float64) float64 {
	if s.Tasks == 0 {
		return 0
	}
	return total / float64(s.Tasks)
}

func redisCommandsPerTask(s *sample) float64 { return s.perTask(float64(s.Redis.Commands)) }

func perSecond(n int, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}
