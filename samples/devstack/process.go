package devstack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// devserver is the command that runs a stack as a process of its own.
const devserver = "github.com/slipstream-go/slipstream/samples/devserver"

// Addresses is the line of JSON that samples/devserver prints once it is ready.
type Addresses struct {
	Temporal  string `json:"temporal"`
	Namespace string `json:"namespace"`
	Redis     string `json:"redis,omitempty"`
	Describe  string `json:"describe"`
}

// StartProcess builds samples/devserver (never with the race detector) and runs it as a child process with o. It
// needs the go command and a working directory inside this repository, so it is for tests. The process ends at Stop,
// and also when this one dies: its standard input closes then.
func StartProcess(ctx context.Context, o Options) (*Stack, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	program, err := Build(ctx)
	if err != nil {
		return nil, err
	}
	s, err := program.Start(ctx, o)
	if err != nil {
		return nil, errors.Join(err, program.Remove())
	}
	_ = program.Remove() // Unix runs on without the file; Windows refuses, and Stop tries again
	stop := s.temporal.stop
	s.temporal.stop = func() error { return errors.Join(stop(), program.Remove()) }
	return s, nil
}

// Program is a compiled samples/devserver, for callers that start one stack after the other. Safe for concurrent use.
type Program struct {
	path string
	dir  string // to remove; empty where the program is somebody else's
}

// Build compiles samples/devserver into a temporary folder, without the race detector. It needs the go command and a
// working directory inside this repository. Where SLIPSTREAM_DEVSERVER names the program, it has been compiled already:
// linking it takes longer than many a test that needs it.
func Build(ctx context.Context) (*Program, error) {
	if path := os.Getenv("SLIPSTREAM_DEVSERVER"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("devstack: SLIPSTREAM_DEVSERVER does not name the program: %w; build it with go build %s, or unset it", err, devserver)
		}
		return &Program{path: path}, nil
	}
	dir, err := os.MkdirTemp("", "slipstream-devserver-")
	if err != nil {
		return nil, fmt.Errorf("devstack: no temporary folder for devserver: %w", err)
	}
	p := &Program{path: filepath.Join(dir, "devserver.exe"), dir: dir} // Windows wants the suffix, nobody else minds
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.path, devserver).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("devstack: cannot build %s: %w\n%s", devserver, err, out), p.Remove())
	}
	return p, nil
}

// Remove deletes the program that Build has compiled. Stacks that run stay running, except that Windows keeps the file of
// those.
func (p *Program) Remove() error {
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// Start runs the program as a child process with o. The process ends at Stop, and also when this one dies.
func (p *Program) Start(ctx context.Context, o Options) (*Stack, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	cmd := exec.Command(p.path, devserverArgs(o)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, stdoutWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	cmd.Stdout = stdoutWriter
	process, err := StartChild(cmd)
	stdoutWriter.Close()
	if err != nil {
		return nil, err
	}
	stop := func() error {
		stdin.Close()
		return process.Stop()
	}
	addresses, err := awaitAddresses(ctx, stdout)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	pid, kill := 0, (func() error)(nil)
	if o.Temporal == "" {
		pid, kill = process.cmd.Process.Pid, process.Kill
	}
	return &Stack{
		temporal: part{address: addresses.Temporal, namespace: addresses.Namespace, describe: addresses.Describe, pid: pid, stop: stop, kill: kill},
		redis:    part{address: addresses.Redis},
	}, nil
}

func devserverArgs(o Options) []string {
	args := []string{"-until-stdin-closes"}
	if o.Temporal != "" {
		args = append(args, "-temporal", o.Temporal)
	}
	if o.Namespace != "" {
		args = append(args, "-namespace", o.Namespace)
	}
	if o.TemporalFile != "" {
		args = append(args, "-temporal-file", o.TemporalFile)
	}
	if o.TemporalPort != 0 {
		args = append(args, "-temporal-port", strconv.Itoa(o.TemporalPort))
	}
	if o.Redis != "" {
		args = append(args, "-redis", o.Redis)
	}
	if o.RedisPort != 0 {
		args = append(args, "-redis-port", strconv.Itoa(o.RedisPort))
	}
	if o.RedisDir != "" {
		args = append(args, "-redis-dir", o.RedisDir)
	}
	if o.NoRedis {
		args = append(args, "-no-redis")
	}
	return args
}

// awaitAddresses reads devserver's one line, or gives up when it ends or ctx does.
func awaitAddresses(ctx context.Context, stdout *os.File) (Addresses, error) {
	giveUp := context.AfterFunc(ctx, func() { stdout.Close() })
	defer giveUp()
	var a Addresses
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return a, fmt.Errorf("devstack: devserver was not ready in time: %w", ctx.Err())
	case errors.Is(err, io.EOF):
		return a, errors.New("devstack: devserver ended before it was ready; its message is on standard error")
	case err != nil:
		return a, err
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("devstack: devserver printed %q instead of its addresses: %w", line, err)
	}
	return a, nil
}
