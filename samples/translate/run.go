package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-go/slipstream/samples/internal/history"
)

const (
	// maxOpenWorkflows bounds the workflows under way, so that -per-workflow 1 does not start a million at once.
	maxOpenWorkflows = 1000
	// maxPlainPipelines is the most that one standard workflow gets: Temporal refuses a workflow more than 2,000
	// pending activities, and retries for ever.
	maxPlainPipelines = 1000
	// maxInputBytes keeps input and result of a workflow far from Temporal's limit of 2 MB.
	maxInputBytes = 256 << 10
)

// result is one mode's run over its sentences.
type result struct {
	mode         mode
	sentences    []string
	translations []Translation // one for each sentence, in their order
	workflows    []workflowRun
	wall         time.Duration
}

// workflowRun is one workflow of a run, over sentences first to end (exclusive). err is why it has no result.
type workflowRun struct {
	id, runID  string
	first, end int
	err        error
}

// histories are the workflows that have one: those that started.
func (r *result) histories() []history.Run {
	var runs []history.Run
	for _, w := range r.workflows {
		if w.runID != "" {
			runs = append(runs, history.Run{ID: w.id, RunID: w.runID})
		}
	}
	return runs
}

// translateAll runs sentences through workflows on taskQueue and waits for all of them. Failures are part of the
// result; the error is for what kept the run from being made, such as ctx ending.
func translateAll(ctx context.Context, c client.Client, m mode, taskQueue string, sentences []string, perWorkflow int, workflowDone func(sentences int)) (*result, error) {
	if m == standard {
		perWorkflow = min(perWorkflow, maxPlainPipelines)
	}
	chunks := chunk(sentences, perWorkflow, maxInputBytes)
	r := &result{mode: m, sentences: sentences, translations: make([]Translation, len(sentences)), workflows: make([]workflowRun, len(chunks))}
	run := uuid.NewString()
	var group errgroup.Group
	group.SetLimit(maxOpenWorkflows)

	begin, first := time.Now(), 0
	for i, inputs := range chunks {
		w := &r.workflows[i]
		w.id, w.first, w.end = fmt.Sprintf("translate-%s-%s-%d", m, run, i), first, first+len(inputs)
		first = w.end
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			w.err = w.translate(ctx, c, taskQueue, inputs, r.translations[w.first:w.end])
			workflowDone(len(inputs))
			return nil
		})
	}
	_ = group.Wait() // errors are in the runs
	r.wall = time.Since(begin)
	if err := ctx.Err(); err != nil {
		terminate(c, r.workflows)
		return nil, context.Cause(ctx)
	}
	return r, nil
}

// translate runs the workflow and fills in outputs.
func (w *workflowRun) translate(ctx context.Context, c client.Client, taskQueue string, inputs []string, outputs []Translation) error {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: w.id, TaskQueue: taskQueue}, Translate, inputs)
	if err != nil {
		return fmt.Errorf("workflow %s did not start: %w", w.id, err)
	}
	w.runID = run.GetRunID()
	var translations []Translation
	if err := run.Get(ctx, &translations); err != nil {
		return fmt.Errorf("workflow %s: %w", w.id, err)
	}
	if len(translations) != len(inputs) {
		return fmt.Errorf("workflow %s returned %d results for %d sentences", w.id, len(translations), len(inputs))
	}
	copy(outputs, translations)
	return nil
}

// terminate ends workflows that nobody will wait for any more, as well as it can in a moment.
func terminate(c client.Client, runs []workflowRun) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(32)
	for _, w := range runs {
		if w.runID == "" || w.err == nil {
			continue
		}
		group.Go(func() error {
			return c.TerminateWorkflow(ctx, w.id, w.runID, "translate was interrupted")
		})
	}
	_ = group.Wait() // a workflow that ended meanwhile is no matter, nor is a server that went away
}
