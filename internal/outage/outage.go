// Package outage keeps a row of failures from flooding a log: one line when it begins, one a
// minute while it lasts, with the number of failures, and one when it is over.
package outage

import (
	"sync"
	"time"
)

// Every is the least time between two lines of the same kind.
const Every = time.Minute

// Outage is one thing that may fail again and again. The zero value is ready; it is safe for
// concurrent use.
type Outage struct {
	mu       sync.Mutex
	began    time.Time // of the row that goes on; zero: none does
	said     time.Time // when the last line about failures was written
	open     bool      // the row that goes on was mentioned
	failures int       // that no line has counted
}

// Failed notes a failure. If say is true it should be logged, with the number of failures
// since the line before.
func (o *Outage) Failed(now time.Time) (failures int, say bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = now
	}
	o.failures++
	if !o.said.IsZero() && now.Sub(o.said) < Every {
		return 0, false
	}
	failures, o.failures = o.failures, 0
	o.said, o.open = now, true
	return failures, true
}

// Worked notes that it works. If say is true a row that was mentioned is over and should be
// logged as such: how long it lasted, and how many failures no line has counted. What comes
// and goes several times a minute is mentioned once.
func (o *Outage) Worked(now time.Time) (failures int, lasted time.Duration, say bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		return 0, 0, false
	}
	lasted, say = now.Sub(o.began), o.open
	o.began, o.open = time.Time{}, false
	if say {
		failures, o.failures = o.failures, 0
	}
	return failures, lasted, say
}
