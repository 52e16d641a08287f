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
	dir, err := os.MkdirTemp("", "slipstream-devserver-")
	if err != nil {
		return nil, fmt.Errorf("devstack: no temporary folder for devserver: %w", err)
	}
	s, err := startProcess(ctx, dir, o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func startProcess(ctx context.Context, dir string, o Options) (*Stack, error) {
	binary := filepath.Join(dir, "devserver.exe") // Windows wants the suffix, nobody else minds
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, devserver).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("devstack: cannot build %s: %w\n%s", devserver, err, out)
	}
	cmd := exec.Command(binary, devserverArgs(o)...)
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
	process, err := startChild(cmd)
	stdoutWriter.Close()
	if err != nil {
		return nil, err
	}
	stop := func() error {
		stdin.Close()
		return errors.Join(process.stop(), os.RemoveAll(dir))
	}
	addresses, err := awaitAddresses(ctx, stdout)
	_ = os.RemoveAll(dir) // Unix runs on without the file; Windows refuses, and stop tries again
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &Stack{
		temporal: part{address: addresses.Temporal, namespace: addresses.Namespace, describe: addresses.Describe, stop: stop},
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
