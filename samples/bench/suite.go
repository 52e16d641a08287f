package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/slipstream-go/slipstream/samples/devstack"
	"github.com/slipstream-go/slipstream/samples/internal/versions"
)

// repetitionTimeout ends a repetition that will never end. Plain ones of full size take minutes.
const repetitionTimeout = 20 * time.Minute

// runSuite runs the cases one after the other. What goes wrong within a case is in the report; the error is for what kept
// the suite from being run to its end. The report is never nil.
func runSuite(ctx context.Context, c config, out *os.File) (*report, error) {
	r := &report{Configuration: newConfiguration(c), CPUs: runtime.NumCPU(), Started: time.Now().Format(time.RFC3339)}
	var program *devstack.Program
	if c.stack.Temporal == "" {
		fmt.Fprintln(out, "building the Temporal server")
		var err error
		if program, err = devstack.Build(ctx); err != nil {
			return r, err
		}
		defer func() { _ = program.Remove() }() // a folder in the temporary folder
	}
	for _, b := range c.cases {
		if ctx.Err() != nil {
			break
		}
		if err := runCase(ctx, c, b, program, out, r); err != nil {
			return r, fmt.Errorf("case %s: %w", b.name, err)
		}
	}
	return r, context.Cause(ctx)
}

// runCase runs the variants of a case in turn (A B A B), so that what the machine does meanwhile meets all of them, and
// adds what became of them to the report.
func runCase(ctx context.Context, c config, b *benchCase, program *devstack.Program, out *os.File, r *report) (err error) {
	l, err := openLab(ctx, program, c.stack, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if r.Stack == "" {
		r.Stack, r.Versions = l.stack.Describe(), versions.Of(ctx, l.client, l.stack)
	}

	fmt.Fprintf(out, "%s: slipstream top --redis %s --address %s --namespace %s --key-prefix %s\n",
		b.name, l.stack.RedisURL(), l.stack.Temporal(), l.stack.Namespace(), l.prefix)

	s := b.sizes[c.suite]
	if c.reps > 0 {
		s.Reps = c.reps
	}
	cr := newCaseReport(b, s)
	for rep := range s.Reps {
		for _, v := range b.variants {
			if ctx.Err() != nil || !c.wants(v.name) {
				continue
			}
			l.label = fmt.Sprintf("%s, %s, %d of %d", b.name, v.name, rep+1, s.Reps)
			l.profile = profiler{}
			if v.name == slipstream && rep == s.Reps-1 {
				l.profile = profiler{cpuFolder: c.cpuProfiles, memFolder: c.memProfiles, name: b.name}
			}
			cr.add(runVariant(ctx, l, v, s))
		}
	}
	cr.judge(b, c.suite)
	r.Cases = append(r.Cases, cr)
	return nil
}

func runVariant(ctx context.Context, l *lab, v variant, s size) (*sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, repetitionTimeout, fmt.Errorf("it took longer than %s", repetitionTimeout))
	defer cancel()
	measured, err := v.run(ctx, l, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.label, err)
	}
	measured.Variant = v.name
	return measured, nil
}
