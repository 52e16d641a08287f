package activity

import (
	"sync"
	"time"
)

// latencies remembers how long activities took in this process, to tell whether waiting
// for a wave is likely to pay.
type latencies struct {
	mu    sync.Mutex
	types map[string]*latency
}

type latency struct {
	mean time.Duration // moving, the last observation counts a quarter
	at   time.Time
}

// latencyKept is how long an observation counts: after that a type may try again.
const latencyKept = 10 * time.Second

func newLatencies() *latencies { return &latencies{types: map[string]*latency{}} }

func (l *latencies) observe(activityType string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.types[activityType]
	if !ok || time.Since(known.at) > latencyKept {
		l.types[activityType] = &latency{mean: took, at: time.Now()}
		return
	}
	known.mean += (took - known.mean) / 4
	known.at = time.Now()
}

// fits tells whether activities, one after the other, are likely to end within d. Those
// that nothing is known of may take no time.
func (l *latencies) fits(d time.Duration, activityTypes ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum time.Duration
	for _, name := range activityTypes {
		if known, ok := l.types[name]; ok && time.Since(known.at) <= latencyKept {
			sum += known.mean
		}
	}
	return sum <= d
}
