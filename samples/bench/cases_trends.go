package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/samples/internal/sent"
)

// timePerThousand is what shows whether cost grows with size alone.
var timePerThousand = figure{"time per 1,000 steps", unitMillis, func(s *sample) float64 {
	return s.perTask(s.WallSeconds) * 1000 * 1000
}}

var cpuPerThousand = figure{"CPU per 1,000 steps, all processes", unitMillis, func(s *sample) float64 {
	return s.perTask(s.CPU.Process+s.CPU.Temporal+s.CPU.Redis) * 1000 * 1000
}}

// scaling runs no-op fan-outs of growing size. Its workflows have the same width throughout, so that the number of steps is
// all that grows.
func scaling() *benchCase {
	b := &benchCase{
		name: "scaling",
		about: func(s size) string {
			return fmt.Sprintf("no-op steps, from %s to %s, in workflows of %s", count(s.Steps), count(s.Steps*100), count(s.Steps))
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 10, Workers: 2, Concurrency: 1000},
			quick: {Reps: 2, Steps: 1000, Workers: 5, Concurrency: 1000},
			full:  {Reps: 5, Steps: 1000, Workers: 5, Concurrency: 1000},
		},
		targets: []target{
			{figure: timePerThousand, variant: times(100), against: times(10), bound: atMost, limit: 1.25},
			{figure: cpuPerThousand, variant: times(100), against: times(10)},
			{figure: timePerThousand, variant: times(1), against: times(10)},
		},
		plotsGrowth: true,
	}
	for _, factor := range []int{1, 3, 10, 30, 100} {
		b.variants = append(b.variants, variant{times(factor), func(ctx context.Context, l *lab, s size) (*sample, error) {
			s.Workflows = 1
			return l.runLoad(ctx, s.rig(true), fanOutLoad(s, factor*s.Steps))
		}})
	}
	return b
}

func times(factor int) string { return fmt.Sprintf("x%d", factor) }

const joining = "time until a second executor is busy"

func secondExecutor() *benchCase {
	return &benchCase{
		name: "second-executor",
		about: func(s size) string {
			return fmt.Sprintf("%s tasks of %s through the queue alone, %d at a time; then a second executor joins",
				count(s.Steps), s.step(), s.Concurrency)
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 4000, Concurrency: 20, StepMillis: 50},
			quick: {Reps: 2, Steps: 20_000, Concurrency: 500, StepMillis: 200},
			full:  {Reps: 5, Steps: 20_000, Concurrency: 500, StepMillis: 200},
		},
		variants: []variant{{slipstream, joinSample}},
		targets:  []target{{figure: value(joining, unitMillis), variant: slipstream, bound: atMost, limit: 1000}},
	}
}

// joinSample starts an executor beside one that is busy. Both are in this process: what counts is how soon the queue gives
// the new one work.
func joinSample(ctx context.Context, l *lab, s size) (*sample, error) {
	done, finish := l.progress(s.Steps)
	defer finish()
	b, err := l.openQueue(s.Steps, done)
	if err != nil {
		return nil, err
	}
	defer b.close()
	b.takes = s.step()
	busy := func(executors int) error {
		return poll(ctx, func() (bool, error) {
			if b.arrived.Load() == int64(s.Steps) {
				return false, fmt.Errorf("all %s tasks had ended before %s had been seen busy", count(s.Steps), plural(executors, "executor"))
			}
			return b.record.running() >= executors*s.Concurrency*9/10, nil
		})
	}
	var joined time.Duration
	measured, err := b.measure(ctx, l, func(ctx context.Context) error {
		if err := b.enqueueAll(ctx, 0, s.Steps, waveTasks); err != nil {
			return err
		}
		if err := b.startExecutor(ctx, s.Concurrency, batchqueue.Observer{}); err != nil {
			return err
		}
		if err := busy(1); err != nil {
			return err
		}
		begin := time.Now()
		if err := b.startExecutor(ctx, s.Concurrency, batchqueue.Observer{}); err != nil {
			return err
		}
		err := busy(2)
		joined = time.Since(begin)
		return err
	})
	if err != nil {
		return nil, err
	}
	measured.Values[joining] = float64(joined) / float64(time.Millisecond)
	return measured, nil
}

const (
	idleCPU  = "CPU of an idle worker"
	idleSent = "Redis commands sent, per slot"
	idleRun  = "Redis commands with those in scripts, per slot"
	// poolSlots is how many slots a pool has by default.
	poolSlots = 4
)

func idle() *benchCase {
	return &benchCase{
		name: "idle",
		about: func(s size) string {
			return fmt.Sprintf("%s with nothing to do, for %d s", plural(s.Workers, "worker"), s.Seconds)
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Workers: 2, Concurrency: 1000, Seconds: 1},
			quick: {Reps: 1, Workers: 5, Concurrency: 1000, Seconds: 10},
			full:  {Reps: 3, Workers: 5, Concurrency: 1000, Seconds: 30},
		},
		variants: []variant{
			{slipstream, func(ctx context.Context, l *lab, s size) (*sample, error) { return idleSample(ctx, l, s, true) }},
			{plain, func(ctx context.Context, l *lab, s size) (*sample, error) { return idleSample(ctx, l, s, false) }},
		},
		targets: []target{
			{figure: value(idleCPU, unitPercent), variant: slipstream, bound: atMost, limit: 1},
			{figure: value(idleSent, unitPerSecond), variant: slipstream, bound: atMost, limit: 5},
			{figure: value(idleRun, unitPerSecond), variant: slipstream},
			{figure: value(idleCPU, unitPercent), variant: plain},
		},
	}
}

// idleSample watches workers that have worked and now wait.
func idleSample(ctx context.Context, l *lab, s size, routed bool) (*sample, error) {
	_, finish := l.progress(0)
	defer finish()
	o := s.rig(routed)
	o.steps = &Steps{}
	r, err := l.startRig(ctx, o)
	if err != nil {
		return nil, err
	}
	commands := 0
	measured, err := l.measure(ctx, 0, func(ctx context.Context) error {
		counter, err := sent.Start(ctx, l.redis)
		if err != nil {
			return err
		}
		waitErr := wait(ctx, time.Duration(s.Seconds)*time.Second)
		counts, err := counter.Stop(context.WithoutCancel(ctx))
		commands = counts.Total()
		return cmp.Or(waitErr, err)
	})
	if stopErr := r.stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return nil, err
	}
	measured.Values[idleCPU] = 100 * measured.CPU.Process / measured.WallSeconds / float64(s.Workers)
	measured.Values[idleSent] = float64(commands) / measured.WallSeconds / poolSlots
	measured.Values[idleRun] = float64(measured.Redis.Commands) / measured.WallSeconds / poolSlots
	return measured, nil
}
