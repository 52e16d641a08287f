package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

const deadHelp = `A dead letter is a task that was given up: three executors died while they ran it, and it alone (config set
--poison-limit), or it could not be decoded. The workflow was told at once, by a failure that is not retried
(workflow.ErrorTypePoison). The letter is for people: it says which task it was, and can be redriven once the fault is
mended. The newest 10,000 are kept for each slot.`

// letterID names a dead letter within its pool: its slot, and its ID there.
func letterID(l batchqueue.DeadLetter) string { return fmt.Sprintf("%d/%s", l.Slot, l.ID) }

func parseLetterID(s string) (slot int, id string, err error) {
	number, id, ok := strings.Cut(s, "/")
	slot, err = strconv.Atoi(number)
	at, seq, dashed := strings.Cut(id, "-")
	_, atErr := strconv.ParseUint(at, 10, 64)
	_, seqErr := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || slot < 0 || !dashed || atErr != nil || seqErr != nil {
		return 0, "", usage("%q is no dead letter's ID: dead list shows them, such as 2/1795911525149-0", s)
	}
	return slot, id, nil
}

type letterJSON struct {
	Pool        string    `json:"pool"`
	ID          string    `json:"id"`
	At          time.Time `json:"at"`
	Run         string    `json:"run"`
	Number      uint64    `json:"number"`
	Type        string    `json:"type"`
	Losses      int       `json:"losses"`
	Undecodable bool      `json:"undecodable,omitempty"`
	Payload     int       `json:"payloadBytes"`
	Workflow    string    `json:"workflow,omitempty"`
	WorkflowRun string    `json:"workflowRun,omitempty"`
	Batch       string    `json:"batch,omitempty"`
	Receiver    string    `json:"receiver,omitempty"`
	// State is where the task stands now, if the queue knows it.
	State string `json:"state,omitempty"`
}

// letterList is what dead list found.
type letterList struct {
	Letters []letterJSON `json:"letters"`
	More    bool         `json:"more"` // there are more than the limit
}

func newLetter(pool string, l batchqueue.DeadLetter) letterJSON {
	var t taskJSON
	t.own(l.Common)
	losses := l.Losses + 1 // the letter's own count ends before the last
	if l.Undecodable {
		losses = 0
	}
	return letterJSON{Pool: pool, ID: letterID(l), At: l.At.UTC(), Run: l.Run, Number: l.Number, Type: l.Type, Losses: losses,
		Undecodable: l.Undecodable, Payload: len(l.Payload), Workflow: t.Workflow, WorkflowRun: t.WorkflowRun, Batch: t.Batch, Receiver: t.Receiver}
}

func (l letterJSON) owner() string {
	if l.Batch != "" {
		return "batch " + l.Batch
	}
	return l.Workflow
}

func (a *app) deadCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "dead",
		Short: "List, show, redrive and drop dead letters",
		Long:  deadHelp,
	}, a.deadListCommand(), a.deadShowCommand(), a.deadRedriveCommand(), a.deadDropCommand())
}

func (a *app) deadListCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:               "list [POOL...]",
		Short:             "List dead letters",
		Long:              "Lists the dead letters of the pools, or of all pools, the oldest of each slot first.\n\n" + deadHelp,
		Args:              takes(0, -1, "names of pools"),
		ValidArgsFunction: a.completeManyPools,
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usage("--limit is %d: give 1 or more", limit)
			}
			pools, err := a.pools(c.Context(), args...)
			if err != nil {
				return err
			}
			all := []letterJSON{}
			for _, p := range pools {
				letters, err := p.letters(c.Context(), limit+1-len(all))
				if err != nil {
					return err
				}
				for _, l := range letters {
					all = append(all, newLetter(p.name, l))
				}
			}
			out := letterList{all[:min(limit, len(all))], len(all) > limit}
			return a.show(out, func(w io.Writer) {
				if len(out.Letters) == 0 {
					fmt.Fprintln(w, "There are no dead letters.")
					return
				}
				row(w, "POOL", "ID", "AT", "TYPE", "LOSSES", "RUN", "NUMBER", "FOR")
				for _, l := range out.Letters {
					row(w, l.Pool, l.ID, clock(l.At), l.Type, l.Losses, l.Run, l.Number, l.owner())
				}
				if out.More {
					fmt.Fprintf(w, "There are more: give a higher --limit than %d.\n", limit)
				}
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "how many at most")
	return c
}

// letters returns dead letters of all slots.
func (p pool) letters(ctx context.Context, limit int) ([]batchqueue.DeadLetter, error) {
	config, err := p.q.Config(ctx, p.name)
	if err != nil {
		return nil, err
	}
	var out []batchqueue.DeadLetter
	for slot := 0; slot < config.MaxSlots() && len(out) < limit; slot++ {
		letters, err := p.q.DeadLetters(ctx, p.name, slot, "", limit-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, letters...)
	}
	return out, nil
}

// letter returns one dead letter by its ID.
func (p pool) letter(ctx context.Context, id string) (batchqueue.DeadLetter, error) {
	slot, entry, err := parseLetterID(id)
	if err != nil {
		return batchqueue.DeadLetter{}, err
	}
	l, err := p.q.DeadLetter(ctx, p.name, slot, entry)
	if errors.Is(err, batchqueue.ErrNotFound) {
		return l, notFound("pool %s has no dead letter %s: dead list shows those it has", p.name, id)
	}
	return l, err
}

func (a *app) deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show POOL ID",
		Short:             "Show one dead letter",
		Args:              takes(2, 2, "a pool and a dead letter's ID"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			letter, err := p.letter(c.Context(), args[1])
			if err != nil {
				return err
			}
			l := newLetter(p.name, letter)
			if l.State, err = p.stateOf(c.Context(), letter); err != nil {
				return err
			}
			return a.show(l, l.write)
		},
	}
}

// stateOf is where a dead letter's task stands by now; "" if the queue has forgotten it.
func (p pool) stateOf(ctx context.Context, l batchqueue.DeadLetter) (string, error) {
	if l.Undecodable {
		return "", nil
	}
	t, err := p.q.Status(ctx, p.name, l.Run, l.Number)
	if errors.Is(err, batchqueue.ErrNotFound) {
		return "", nil
	}
	return string(t.State), err
}

func (l letterJSON) write(w io.Writer) {
	row(w, "pool", l.Pool)
	row(w, "letter", l.ID)
	row(w, "at", ago(l.At))
	row(w, "type", l.Type)
	if l.Undecodable {
		row(w, "cause", "it could not be decoded")
	} else {
		row(w, "cause", plural(l.Losses, "executor")+" died with it")
	}
	row(w, "run", l.Run)
	row(w, "number", l.Number)
	row(w, "payload", size(int64(l.Payload)))
	if l.Batch != "" {
		row(w, "batch", l.Batch)
		row(w, "tells workflow", l.Receiver)
	} else {
		row(w, "workflow", l.Workflow)
	}
	switch batchqueue.TaskState(l.State) {
	case "":
		row(w, "task now", "forgotten by the queue: its run has ended, or gone on")
	case batchqueue.StateFinished:
		row(w, "task now", "its failure has not been delivered yet")
	case batchqueue.StateAcknowledged, batchqueue.StateTaken:
		row(w, "task now", "its failure has been delivered")
	default:
		row(w, "task now", l.State+": it was asked for again")
	}
}

type droppedJSON struct {
	Pool string   `json:"pool"`
	IDs  []string `json:"ids"`
}

func (a *app) deadDropCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:               "drop POOL [ID...]",
		Short:             "Remove dead letters for good",
		Args:              takes(1, -1, "a pool, and IDs of dead letters or --all"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			p, letters, err := a.chosen(c.Context(), args, all)
			if err != nil {
				return err
			}
			ctx, err := a.confirm("This removes %s of pool %s for good", plural(len(letters), "dead letter"), p.name)
			if err != nil {
				return err
			}
			out, failed := p.drop(ctx, letters)
			if err := a.done(out, "Dropped %s of pool %s.", plural(len(out.IDs), "dead letter"), p.name); err != nil {
				return err
			}
			return failed
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all dead letters of the pool")
	return a.ask(c)
}

// drop stops at the first error, and returns what it has done until then.
func (p pool) drop(ctx context.Context, letters []batchqueue.DeadLetter) (droppedJSON, error) {
	out := droppedJSON{p.name, []string{}}
	for _, l := range letters {
		if err := p.q.DropDeadLetter(ctx, p.name, l.Slot, l.ID); err != nil {
			return out, err
		}
		out.IDs = append(out.IDs, letterID(l))
	}
	return out, nil
}

// mostLetters bounds what --all takes at once.
const mostLetters = 100000

// chosen returns the dead letters that a command is about: those that are named, or all.
func (a *app) chosen(ctx context.Context, args []string, all bool) (pool, []batchqueue.DeadLetter, error) {
	if (len(args) > 1) == all {
		return pool{}, nil, usage("give either IDs of dead letters or --all")
	}
	p, err := a.pool(ctx, args[0])
	if err != nil {
		return p, nil, err
	}
	if all {
		letters, err := p.letters(ctx, mostLetters)
		if err == nil && len(letters) == 0 {
			err = notFound("pool %s has no dead letters", p.name)
		}
		return p, letters, err
	}
	var letters []batchqueue.DeadLetter
	for _, id := range args[1:] {
		l, err := p.letter(ctx, id)
		if err != nil {
			return p, nil, err
		}
		letters = append(letters, l)
	}
	return p, letters, nil
}
