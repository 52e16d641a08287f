package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/samples/devstack"
	"github.com/slipstream-go/slipstream/samples/internal/history"
	"github.com/slipstream-go/slipstream/samples/internal/progress"
	"github.com/slipstream-go/slipstream/samples/internal/versions"
)

// job is one call of the command, with everything that could be checked before any server runs.
type job struct {
	config
	translator     Translator
	sentences      []string
	telemetry      *telemetry
	stdout, stderr *os.File
}

// outcome is what a job found out.
type outcome struct {
	stack    string
	versions map[string]string
	results  []*result
	figures  []figures
	compared int
	problems []error
}

func prepare(ctx context.Context, c config, stdout, stderr *os.File) (*job, error) {
	j := &job{config: c, stdout: stdout, stderr: stderr}
	var err error
	if c.role != roleStarter {
		if j.translator, err = newTranslator(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.jsonFile != "" {
		if err := checkWritable(c.jsonFile); err != nil {
			return nil, err
		}
	}
	switch {
	case c.role == roleWorker:
	case c.input != "":
		j.sentences, err = readSentences(c.input, c.n)
	default:
		j.sentences = builtinSentences(c.n)
	}
	return j, err
}

// run plays the role that was asked for. The error is what should make the command fail.
func (j *job) run(ctx context.Context) (err error) {
	options := j.stack
	options.NoRedis = j.role == roleStarter || j.mode == standard
	stack, err := devstack.Start(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	if j.telemetry, err = newTelemetry(ctx, j.config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.telemetry.stop()) }()
	fmt.Fprintln(j.stderr, stack.Describe())
	if j.telemetry.page != nil {
		fmt.Fprintln(j.stderr, "Metrics:", j.telemetry.page.url)
	}

	if j.role == roleWorker {
		return j.work(ctx, stack)
	}
	return j.translate(ctx, stack)
}

// work runs workers until ctx ends, which is how this role is meant to end.
func (j *job) work(ctx context.Context, stack *devstack.Stack) error {
	p := progress.Start(j.stderr, "worker", 0)
	defer p.Finish()
	w, err := startWorkers(j.config, j.mode, stack, &Activities{translator: j.translator, stepDone: func() { p.Add(1) }}, j.telemetry)
	if err != nil {
		return err
	}
	defer w.stop()
	<-ctx.Done()
	return nil
}

// translate makes the runs, reports them and returns what is wrong with them.
func (j *job) translate(ctx context.Context, stack *devstack.Stack) error {
	options, err := clientOptions(stack, j.telemetry)
	if err != nil {
		return err
	}
	c, err := client.Dial(options)
	if err != nil {
		return fmt.Errorf("cannot connect to Temporal at %s: %w", stack.Temporal(), err)
	}
	defer c.Close()

	o := &outcome{stack: stack.Describe()}
	for _, m := range j.modes() {
		r, err := j.translateIn(ctx, m, c, stack)
		if err != nil {
			return err
		}
		counts, err := history.Read(ctx, c, r.histories())
		if err != nil {
			return err
		}
		f := measure(r, counts)
		o.results, o.figures, o.problems = append(o.results, r), append(o.figures, f), append(o.problems, f.problems()...)
	}
	o.versions = versions.Of(ctx, c, stack)
	o.compare(j.translator)
	return j.report(o)
}

// translateIn makes the run of one mode, with workers of its own unless they run elsewhere.
func (j *job) translateIn(ctx context.Context, m mode, c client.Client, stack *devstack.Stack) (r *result, err error) {
	sentences := j.sentencesFor(m, j.sentences)
	p := progress.Start(j.stderr, string(m), stepsPerSentence*len(sentences))
	defer p.Finish()
	workflowDone := func(int) {}
	if j.role == roleStarter { // steps are done where nobody here can count them
		workflowDone = func(sentences int) { p.Add(stepsPerSentence * sentences) }
	} else {
		w, err := startWorkers(j.config, m, stack, &Activities{translator: j.translator, stepDone: func() { p.Add(1) }}, j.telemetry)
		if err != nil {
			return nil, err
		}
		defer w.stop()
		defer func() { err = errors.Join(err, j.telemetry.flush()) }()
	}
	return translateAll(ctx, c, m, j.queue(m), sentences, j.perWorkflow, workflowDone)
}

func (o *outcome) compare(t Translator) {
	if len(o.results) < 2 || !t.Deterministic() {
		return
	}
	var err error
	if o.compared, err = compare(o.results[0], o.results[1]); err != nil {
		o.problems = append(o.problems, err)
	}
}

func (j *job) report(o *outcome) error {
	last := o.results[len(o.results)-1]
	fmt.Fprintln(j.stdout)
	printTranslations(j.stdout, last)
	j.telemetry.printTrace(j.stdout)
	printFigures(j.stdout, o.figures)
	switch {
	case len(o.problems) > 0:
	case o.compared > 0:
		fmt.Fprintf(j.stdout, "Both modes gave equal outputs for all %s common sentences.\n", count(o.compared))
	case len(o.results) == 2:
		fmt.Fprintf(j.stdout, "Outputs were not compared: the %s translator may word a sentence differently each time.\n", j.config.translator)
	}
	if j.jsonFile != "" {
		if err := writeJSON(j.jsonFile, newJSONReport(j.config, o)); err != nil {
			o.problems = append(o.problems, err)
		}
	}
	return errors.Join(o.problems...)
}
