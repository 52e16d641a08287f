package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// measure runs work and returns what it cost. The meters are read before and after; what they need themselves is not
// in the figures.
func (l *lab) measure(ctx context.Context, tasks int, work func(context.Context) error) (*sample, error) {
	runtime.GC() // no variant pays for what the one before left behind
	redisBefore, err := readRedis(ctx, l.redis)
	if err != nil {
		return nil, err
	}
	peak := watchMemory()
	profiles, err := l.profile.start()
	if err != nil {
		peak()
		return nil, err
	}
	before, begin := l.cpu(), time.Now()
	err = work(ctx)
	wall, after := time.Since(begin), l.cpu()
	if stopErr := profiles.stop(); err == nil {
		err = stopErr
	}
	s := &sample{Tasks: tasks, WallSeconds: wall.Seconds(), PeakMemory: peak(), Values: map[string]float64{}}
	if err != nil {
		return nil, err
	}
	redisAfter, err := readRedis(ctx, l.redis)
	if err != nil {
		return nil, err
	}
	s.CPU = cpuSeconds{
		Process:  after.Process - before.Process,
		Temporal: after.Temporal - before.Temporal,
		Redis:    redisAfter.cpu - redisBefore.cpu,
	}
	s.Redis = redisAfter.since(redisBefore)
	return s, nil
}

// cpu is what this process and the server's have used so far.
func (l *lab) cpu() cpuSeconds {
	c := cpuSeconds{Process: ownCPU()}
	if pid := l.stack.TemporalPID(); pid != 0 {
		c.Temporal = processCPU(pid)
	}
	return c
}

// redisMeters are a Redis server's own counts since it started.
type redisMeters struct {
	cpu      float64
	commands map[string]redisCommand
}

func readRedis(ctx context.Context, rdb redis.UniversalClient) (redisMeters, error) {
	m := redisMeters{commands: map[string]redisCommand{}}
	info, err := rdb.InfoMap(ctx, "cpu", "commandstats").Result()
	if err != nil {
		return m, fmt.Errorf("cannot read Redis' INFO: %w", err)
	}
	for _, key := range []string{"used_cpu_sys", "used_cpu_user"} {
		m.cpu += parseFloat(info["CPU"][key])
	}
	for key, fields := range info["Commandstats"] {
		if name, ok := strings.CutPrefix(key, "cmdstat_"); ok && name != "info" {
			m.commands[name] = parseCommand(fields)
		}
	}
	return m, nil
}

// parseCommand reads "calls=3,usec=12,usec_per_call=4.00,...".
func parseCommand(fields string) redisCommand {
	var c redisCommand
	for field := range strings.SplitSeq(fields, ",") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "calls":
			c.Calls = int64(parseFloat(value))
		case "usec":
			c.Seconds = parseFloat(value) / 1e6
		}
	}
	return c
}

// parseFloat is 0 for what is no number: a server that does not count costs a figure, not the run.
func parseFloat(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

func (m redisMeters) since(before redisMeters) redisUse {
	use := redisUse{ByCommand: map[string]redisCommand{}}
	for name, now := range m.commands {
		then := before.commands[name]
		if calls := now.Calls - then.Calls; calls > 0 {
			use.Commands += calls
			use.ByCommand[name] = redisCommand{Calls: calls, Seconds: now.Seconds - then.Seconds}
		}
	}
	return use
}

// heldMemory is what the Go runtime has from the system and has not given back.
func heldMemory() uint64 {
	total := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(total)
	return total[0].Value.Uint64() - total[1].Value.Uint64()
}

// watchMemory watches heldMemory until the function that it returns is called, which returns the peak.
func watchMemory() (stop func() uint64) {
	end, result := make(chan struct{}), make(chan uint64)
	go func() {
		peak := heldMemory()
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				peak = max(peak, heldMemory())
			case <-end:
				result <- max(peak, heldMemory())
				return
			}
		}
	}()
	return func() uint64 {
		close(end)
		return <-result
	}
}
