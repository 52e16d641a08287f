package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// account is how a run ended.
type account struct {
	Seed      uint64  `json:"seed"`
	Seconds   float64 `json:"seconds"`
	Workers   int     `json:"workers"`
	Workflows []tally `json:"workflows"`
	// Lost is the number of calls with MaximumAttempts 1 that ended as a lost worker does.
	Lost       int         `json:"lost_of_those_that_start_once"`
	Executions repeats     `json:"executions"`
	Faults     []happened  `json:"faults"`
	Recoveries []recovered `json:"recoveries"`
	// Keys is how many keys were in Redis at the end, all with a time-to-live or an owner but for Leftovers. (What an ended
	// workflow did not take goes after 15 minutes.)
	Keys       int      `json:"keys_at_the_end"`
	Leftovers  []string `json:"leftovers"`
	Violations []string `json:"violations"`
}

// tally counts the workflows of a shape.
type tally struct {
	Shape   string `json:"shape"`
	Started int    `json:"started"`
	Right   int    `json:"right"`
	Wrong   int    `json:"wrong"`
	Failed  int    `json:"failed"`
	Open    int    `json:"open"`
}

// happened is a fault, with what proves it.
type happened struct {
	Number   int      `json:"number"`
	Fault    string   `json:"fault"`
	At       float64  `json:"at_seconds"`
	Storm    bool     `json:"storm"`
	Evidence []string `json:"evidence"`
	Error    string   `json:"error,omitempty"`
}

// settle draws up the account of what has happened.
func settle(a *account, h *history, begin time.Time, violatef func(string, ...any)) {
	a.Workflows, a.Lost = h.tallies(violatef)
	a.Executions = countExecutions(h.executions, h.strikes, violatef)
	a.Recoveries = h.recoveries(violatef)
	for _, f := range h.strikes {
		fact := happened{Number: f.number, Fault: f.fault.String(), At: f.began.Sub(begin).Seconds(), Storm: f.storm, Evidence: f.evidence}
		if f.err != nil {
			fact.Error = f.err.Error()
		}
		a.Faults = append(a.Faults, fact)
	}
	for _, key := range a.Leftovers {
		violatef("a key without time-to-live or owner stays in Redis: %s", key)
	}
}

func (h *history) tallies(violatef func(string, ...any)) (tallies []tally, lost int) {
	for _, s := range shapes {
		t := tally{Shape: s.name}
		for _, j := range h.jobs {
			if j.shape == s {
				h.check(j, &t, violatef)
				lost += len(j.answer.Lost)
			}
		}
		tallies = append(tallies, t)
	}
	return tallies, lost
}

func (h *history) check(j *job, t *tally, violatef func(string, ...any)) {
	if !j.begun.IsZero() {
		t.Started++
	}
	switch want := j.shape.want(j.in, j.answer.Lost); {
	case j.done.IsZero():
		t.Open++
		violatef("workflow %s did not end", j.in.ID)
	case j.err != nil:
		t.Failed++
		violatef("workflow %s failed: %v", j.in.ID, j.err)
	case j.answer.Value != want:
		t.Wrong++
		violatef("workflow %s answered %d, right is %d", j.in.ID, j.answer.Value, want)
	default:
		t.Right++
	}
	for _, i := range j.answer.Lost {
		if faultBetween(j.begun, j.done, h.strikes) == causeNone {
			violatef("step %s was lost with no fault near", j.in.key(i))
		}
	}
}

func (a *account) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nSeed %d, %d workers, %.0f s\n\nworkflows\tstarted\tright\twrong\tfailed\topen\n", a.Seed, a.Workers, a.Seconds)
	total := tally{Shape: "all"}
	for _, t := range a.Workflows {
		if t.Started+t.Open > 0 {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", t.Shape, t.Started, t.Right, t.Wrong, t.Failed, t.Open)
		}
		total.Started += t.Started
		total.Right += t.Right
		total.Wrong += t.Wrong
		total.Failed += t.Failed
		total.Open += t.Open
	}
	fmt.Fprintf(w, "all\t%d\t%d\t%d\t%d\t%d\n", total.Started, total.Right, total.Wrong, total.Failed, total.Open)

	e := a.Executions
	fmt.Fprintf(w, "\nsteps\t%d\nexecutions\t%d\t%d routed, %d diverted, %d in place\n", e.Steps, e.Executions, e.Routed, e.Diverted, e.InPlace)
	fmt.Fprintf(w, "most of one step\t%d\n", e.Most)
	for _, cause := range sortedKeys(e.Again) {
		fmt.Fprintf(w, "again: %s\t%d\t%d of them after a result\n", cause, e.Again[cause], e.AfterResult[cause])
	}
	fmt.Fprintf(w, "lost, of those that start once\t%d\n", a.Lost)
	fmt.Fprintf(w, "started twice, of those that start once\t%d\tby failovers that lost the claim, a known gap\n", e.Forgotten)
	a.printRecoveries(w)
	fmt.Fprintf(w, "\nkeys in Redis at the end\t%d\t%d without time-to-live or owner\n", a.Keys, len(a.Leftovers))
	_ = w.Flush() // to a terminal or a buffer

	if len(a.Violations) == 0 {
		fmt.Fprintln(out, "\nNothing was lost.")
		return
	}
	fmt.Fprintf(out, "\n%d violations:\n", len(a.Violations))
	for _, v := range a.Violations {
		fmt.Fprintf(out, "  %s\n", v)
	}
}

// printRecoveries prints the longest recovery of each kind of fault.
func (a *account) printRecoveries(w io.Writer) {
	fmt.Fprintln(w, "\nfault\ttimes\thit\tlongest recovery\tbound")
	for _, k := range kinds {
		var worst recovered
		times, hit := 0, 0
		for _, r := range a.Recoveries {
			if r.Fault != k.name {
				continue
			}
			times++
			hit += r.Hit
			if times == 1 || better(r, worst) {
				worst = r
			}
		}
		if times == 0 {
			continue
		}
		bound := fmt.Sprintf("%.1f s", worst.Bound)
		switch {
		case worst.Hit == 0:
			bound = "-"
		case !worst.Judged:
			bound += " (other faults meanwhile)"
		}
		fmt.Fprintf(w, "%s\t%d\t%d %s\t%.1f s\t%s\n", k.name, times, hit, worst.Of, worst.Worst, bound)
	}
}

// better: it says more about the kind. Those with no other fault meanwhile come first.
func better(a, b recovered) bool {
	if a.Judged != b.Judged {
		return a.Judged
	}
	return a.Worst > b.Worst
}

// writeJSON writes the accounts of all seeds.
func writeJSON(name string, accounts []*account) error {
	b, err := json.MarshalIndent(accounts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o600)
}

func failedRuns(accounts []*account) bool {
	return slices.ContainsFunc(accounts, func(a *account) bool { return len(a.Violations) > 0 })
}
