// Package progress shows how far a sample is while it runs.
package progress

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Progress shows how far a run is: a bar on a terminal, a line every two seconds elsewhere. One goroutine draws it,
// from Start until Finish.
type Progress struct {
	done atomic.Int64
	end  chan struct{}
	gone chan struct{}
}

// Start shows label's way to total steps on out. A total of 0 means that nobody knows it.
func Start(out *os.File, label string, total int) *Progress {
	p := &Progress{end: make(chan struct{}), gone: make(chan struct{})}
	draw, every := lines(out, label, total), 2*time.Second
	if term.IsTerminal(int(out.Fd())) {
		draw, every = bar(out, label, total), 100*time.Millisecond
	}
	go p.run(draw, every)
	return p
}

// Add counts steps that are done. It is safe for concurrent use.
func (p *Progress) Add(steps int) { p.done.Add(int64(steps)) }

// Finish draws the last state and returns once nothing is drawn any more.
func (p *Progress) Finish() {
	close(p.end)
	<-p.gone
}

func (p *Progress) run(draw func(done int64, last bool), every time.Duration) {
	defer close(p.gone)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			draw(p.done.Load(), false)
		case <-p.end:
			draw(p.done.Load(), true)
			return
		}
	}
}

func bar(out *os.File, label string, total int) func(int64, bool) {
	limit := int64(total)
	if total == 0 {
		limit = -1 // a spinner
	}
	b := progressbar.NewOptions64(limit,
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(fmt.Sprintf("%-10s", label)),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("steps"),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSetPredictTime(true),
	)
	return func(done int64, last bool) {
		if total > 0 {
			done = min(done, limit) // a step that ran twice counts twice
		}
		_ = b.Set64(done) // it fails when the terminal does, and then nobody looks
		if last {
			_ = b.Exit()
			fmt.Fprintln(out)
		}
	}
}

func lines(out *os.File, label string, total int) func(int64, bool) {
	begin, before := time.Now(), int64(-1)
	return func(done int64, _ bool) {
		if done == before {
			return
		}
		before = done
		of := ""
		if total > 0 {
			done = min(done, int64(total))
			of = fmt.Sprintf(" of %d (%d %%)", total, 100*done/int64(total))
		}
		fmt.Fprintf(out, "%s: %d%s steps, %.0f s\n", label, done, of, time.Since(begin).Seconds())
	}
}
