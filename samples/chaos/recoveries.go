package main

import (
	"slices"
	"time"
)

const (
	// firstAsk is when a run first asks for calls that it misses; from then on the interval doubles. askAgain is the time
	// between the two asks that must miss a call before it is added again.
	firstAsk = 15 * time.Second
	askAgain = 2 * time.Second
	// temporalResumes is what Temporal takes to notice lost workflow tasks, which may be lost twice, and to be connected to.
	temporalResumes = 30 * time.Second
)

// patience is what the bounds of recoveries allow the machine.
type patience struct {
	slack  time.Duration // for what has a bound of its own
	atOnce time.Duration // what "no wait" means
}

var (
	// usualPatience is for two busy cores that everything shares.
	usualPatience = patience{slack: 4 * time.Second, atOnce: 2 * time.Second}
	// shortPatience is that of -short, which runs where other tests do. With it the steps of a lost worker are still
	// started again before they time out (startToClose), and those of one that stopped before its leases end.
	shortPatience = patience{slack: 7 * time.Second, atOnce: 4 * time.Second}
)

// recovered is how long it took until what a fault hit went on.
type recovered struct {
	Fault  string  `json:"fault"`
	Number int     `json:"number"`
	Hit    int     `json:"hit"` // steps or workflows
	Of     string  `json:"of"`
	Worst  float64 `json:"longest_seconds"`
	Which  string  `json:"which,omitempty"`
	Bound  float64 `json:"bound_seconds"`
	// Judged: nothing else happened meanwhile, so that the bound counts.
	Judged   bool `json:"judged"`
	Exceeded bool `json:"exceeded"`
}

// history is what a run of the harness has left, to be looked through.
type history struct {
	patience

	jobs       []*job
	strikes    []*strike
	executions map[string][]*execution
	// progress is when something happened for a workflow: starts and ends of its steps.
	starts, ends map[string][]time.Time
}

func newHistory(jobs []*job, strikes []*strike, events []event, p patience) *history {
	h := &history{patience: p, jobs: jobs, strikes: strikes, executions: executionsOf(events), starts: map[string][]time.Time{}, ends: map[string][]time.Time{}}
	for _, list := range h.executions {
		for _, x := range list {
			id := workflowOf(x.key)
			h.starts[id] = append(h.starts[id], x.at)
			if x.outcome == ended {
				h.ends[id] = append(h.ends[id], x.end)
			}
		}
	}
	return h
}

// recoveries measures the recovery from each fault that happened.
func (h *history) recoveries(violatef func(string, ...any)) []recovered {
	var all []recovered
	for i, f := range h.strikes {
		if f.err != nil {
			continue
		}
		m := measure{history: h, strike: f, quietUntil: farAway}
		if i+1 < len(h.strikes) {
			m.quietUntil = h.strikes[i+1].began
		}
		m.violatef = violatef
		all = append(all, m.measure())
	}
	return all
}

var farAway = time.Now().Add(24 * time.Hour)

// measure measures the recovery from one fault.
type measure struct {
	*history

	strike     *strike
	quietUntil time.Time // the next fault begins
	violatef   func(string, ...any)
	result     recovered
}

func (m *measure) measure() recovered {
	f := m.strike
	m.result = recovered{Fault: f.kind.name, Number: f.number}
	switch f.kind.recovery {
	case claims:
		m.claims()
	case handover:
		m.handover()
	case asks:
		m.workflows(f.began, false)
	case resumes:
		m.workflows(f.healed, true)
	}
	if m.result.Exceeded {
		m.violatef("fault %d, %s: recovery took %.1f s for %s, the bound is %.1f s", f.number, f.fault, m.result.Worst, m.result.Which, m.result.Bound)
	}
	return m.result
}

// note takes a recovery into account that began at a time, took so long and had a bound.
func (m *measure) note(which string, from time.Time, took, bound time.Duration) {
	m.result.Hit++
	judged := !m.strike.storm && from.Add(bound).Before(m.quietUntil)
	exceeded := judged && took > bound
	r := &m.result
	switch {
	case m.result.Hit == 1:
	case exceeded != r.Exceeded:
		if !exceeded {
			return
		}
	case judged != r.Judged:
		if !judged {
			return
		}
	case took.Seconds() <= r.Worst:
		return
	}
	r.Worst, r.Which, r.Bound, r.Judged, r.Exceeded = took.Seconds(), which, bound.Seconds(), judged, exceeded
}

// claims: what the worker had of the queue's is started by another.
func (m *measure) claims() {
	m.result.Of = "steps"
	bound := 2*lease + retryInterval + m.slack
	for key, list := range m.executions {
		for i, x := range list {
			at, hit := m.strike.stopped[x.pid]
			if !hit || x.how == inPlace || isOnce(key) || !x.lastsUntil(at) {
				continue
			}
			switch {
			case i+1 < len(list):
				m.note("step "+key, at, list[i+1].at.Sub(at), bound)
			case x.outcome == ended: // a process that went on, before anybody had noticed
				m.note("step "+key, at, x.end.Sub(at), bound)
			default:
				m.violatef("step %s was lost with its worker in fault %d, %s, and never started again", key, m.strike.number, m.strike.fault)
			}
		}
	}
}

// handover: what the worker gave back is started by another at once, as the same attempt.
func (m *measure) handover() {
	m.result.Of = "steps"
	for key, list := range m.executions {
		for i, x := range list {
			at, hit := m.strike.stopped[x.pid]
			if !hit || x.how == inPlace || isOnce(key) || x.outcome != interrupted || x.end.Before(at) || superseded(list, x) {
				continue
			}
			if i+1 == len(list) {
				m.violatef("step %s was given back in fault %d, %s, and never started again", key, m.strike.number, m.strike.fault)
				continue
			}
			next := list[i+1]
			m.note("step "+key, x.end, next.at.Sub(x.end), m.atOnce)
			if next.attempt != x.attempt && !m.strike.storm {
				m.violatef("step %s was given back in fault %d, %s, and lost an attempt: %s, then %s", key, m.strike.number, m.strike.fault, x, next)
			}
		}
	}
}

// superseded: the step has been started elsewhere too, and that execution is the one that counts.
func superseded(list []*execution, x *execution) bool {
	return slices.ContainsFunc(list, func(other *execution) bool {
		return other != x && !other.at.After(x.end) && (other.outcome == ended || other.lastsUntil(x.end))
	})
}

// workflows: each that was open at the time goes on. Where Redis has lost data, the end of a step that ran at the time does
// not count: its outcome may have been lost.
func (m *measure) workflows(from time.Time, endsCount bool) {
	m.result.Of = "workflows"
	for _, j := range m.jobs {
		if j.begun.IsZero() || j.begun.After(from) || !j.done.IsZero() && j.done.Before(from) {
			continue
		}
		next := first(m.starts[j.in.ID], from, j.done)
		if endsCount {
			next = first(m.ends[j.in.ID], from, next)
		}
		if next.IsZero() {
			continue // it is among those that never ended
		}
		m.note("workflow "+j.in.ID, from, next.Sub(from), m.bound(j, from))
	}
}

func (m *measure) bound(j *job, from time.Time) time.Duration {
	// The interval of the asks doubles, so the next one is never further away than the run is old.
	bound := max(firstAsk, from.Sub(j.begun)+firstAsk) + askAgain + m.slack
	if m.strike.kind.on == onTemporal {
		bound = temporalResumes + m.slack
	}
	if j.shape.tokens {
		bound = max(bound, startToClose+retryInterval+m.slack)
	}
	return bound
}

// first is the first of the times that is not before from, or best, if that is earlier and no zero.
func first(times []time.Time, from, best time.Time) time.Time {
	for _, t := range times {
		if !t.Before(from) && (best.IsZero() || t.Before(best)) {
			best = t
		}
	}
	return best
}
