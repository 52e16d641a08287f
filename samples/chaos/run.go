package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

const (
	// finishWithin is how long workflows may take after the last fault has been watched.
	finishWithin = 3 * time.Minute
	// longer is how much longer the faults may take than planned before there is no new workflow for them.
	longer = 4
	// statusEvery is how often the run says how far it is.
	statusEvery = 10 * time.Second
	// looksAt is how many workflows that did not end are looked at more closely.
	looksAt = 5
)

// runSeed is one run: schedule, stage, load and faults, account. An error is the harness's own; what is wrong with what it
// has run is among the account's violations.
func runSeed(ctx context.Context, c config, seed uint64, out io.Writer) (_ *account, err error) {
	plan := draw(seed, c.kinds, c.workers, c.duration, c.short)
	n := c.workflows
	if n == 0 {
		n = max(1, int(plan.length.Seconds()*perSecond))
	}
	every := plan.length / time.Duration(n)
	fmt.Fprintf(out, "Seed %d: about %d workflows in %s, %d workers, %d faults. The same seed gives the same schedule; what a fault meets varies.\n",
		seed, n, plan.length.Round(time.Second), c.workers, len(plan.faults))
	plan.print(out)
	if missing := plan.missing(c.kinds); len(missing) > 0 {
		fmt.Fprintf(out, "  no room for %v; a longer -duration has\n", missing)
	}

	dir, err := os.MkdirTemp("", "slipstream-chaos-")
	if err != nil {
		return nil, err
	}
	keep := true
	defer func() {
		if keep {
			fmt.Fprintf(out, "Logs and journals are in %s.\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	s, err := setStage(ctx, &c, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	a, err := s.play(ctx, plan, drawJobs(seed, longer*n), every, out)
	if err != nil {
		return nil, err
	}
	a.Seed, a.Workers = seed, c.workers
	a.Violations = s.found()
	keep = len(a.Violations) > 0
	return a, nil
}

// play lets everything happen and draws up the account.
func (s *stage) play(ctx context.Context, plan schedule, jobs []*job, every time.Duration, out io.Writer) (*account, error) {
	begin := time.Now()
	loadCtx, end := context.WithCancel(ctx)
	defer end()
	enough := make(chan struct{})
	l := startLoad(loadCtx, s, jobs, every, enough)
	fmt.Fprintln(out, "Everything runs.")
	saying := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.say(begin, out, saying)
	}()
	strikes := strikeAll(ctx, s, plan, out)
	if n := len(plan.faults); n > 0 {
		wait(ctx, plan.length-plan.faults[n-1].at-plan.faults[n-1].hold)
	}
	close(enough)
	_ = until(ctx, finishWithin, "all workflows end", func() bool { return l.finished.Load() == l.started.Load() })
	close(saying)
	<-done
	end()
	l.open.Wait()
	jobs = slices.DeleteFunc(jobs, func(j *job) bool { return !j.planned })
	s.inspect(ctx, jobs, out)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	a := &account{Seconds: time.Since(begin).Seconds(), Leftovers: []string{}}
	// The workers tidy up, so first what they leave while they are there, then what is left when they have gone.
	if err := s.tidied(ctx, a); err != nil {
		return nil, err
	}
	if err := s.stopFleet(ctx); err != nil {
		s.violatef("%v", err)
	}
	if err := s.tidied(ctx, a); err != nil {
		return nil, err
	}
	events, err := readJournals(s.journals())
	if err != nil {
		return nil, err
	}
	settle(a, newHistory(jobs, strikes, events, s.patience), begin, s.violatef)
	return a, nil
}

func (s *stage) tidied(ctx context.Context, a *account) (err error) {
	a.Leftovers, a.Keys, err = leftovers(ctx, s.redis.db)
	return err
}

// say says how far the load is, until saying is closed.
func (l *load) say(begin time.Time, out io.Writer, saying <-chan struct{}) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-saying:
			return
		case <-tick.C:
			started, finished := l.started.Load(), l.finished.Load()
			fmt.Fprintf(out, "%7.1fs  %d workflows started, %d ended, %d open\n",
				time.Since(begin).Seconds(), started, finished, started-finished)
		}
	}
}

// inspect looks at some workflows that did not end, before all workers go.
func (s *stage) inspect(ctx context.Context, jobs []*job, out io.Writer) {
	looked := 0
	for _, j := range jobs {
		if !j.done.IsZero() || looked == looksAt || ctx.Err() != nil {
			continue
		}
		looked++
		fmt.Fprintf(out, "%s did not end: %s\n", j.in.ID, s.look(ctx, j.in.ID))
	}
}

func (s *stage) look(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	described, err := s.client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s, %d events, %d pending activities, pending workflow task %v", described.GetWorkflowExecutionInfo().GetStatus(),
		described.GetWorkflowExecutionInfo().GetHistoryLength(), len(described.GetPendingActivities()), described.GetPendingWorkflowTask())
	value, err := s.client.QueryWorkflow(ctx, id, "", "slipstream_open_calls")
	if err != nil {
		return fmt.Sprintf("%s; no open calls: %v", text, err)
	}
	var calls any
	if err := value.Get(&calls); err != nil {
		return fmt.Sprintf("%s; open calls: %v", text, err)
	}
	return fmt.Sprintf("%s; open calls: %v", text, calls)
}
