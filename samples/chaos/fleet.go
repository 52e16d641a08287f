package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// startWithin bounds the start of a worker process.
const startWithin = time.Minute

// member is a place in the fleet of workers: one process at a time, always with the same cables.
type member struct {
	number          int
	program         string
	config          workerConfig // of the process; a fault changes it for the next one
	redis, temporal *cable       // nil for the foreign one, which no fault hits
	log             string
	died            func(format string, args ...any) // is told of an end that nobody wanted

	mu       sync.Mutex // protects what follows
	process  *process
	watching sync.WaitGroup
}

// process is one of a member's processes.
type process struct {
	child *devstack.Child
	stdin io.Closer
	lines *lines
	until time.Time // when it was ended; zero while it runs
}

// lines are those that a process has printed.
type lines struct {
	mu   sync.Mutex
	seen []string
}

func (l *lines) has(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.seen, line)
}

func (l *lines) follow(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		l.mu.Lock()
		l.seen = append(l.seen, s.Text())
		l.mu.Unlock()
	}
}

// start starts a process with the member's configuration and returns once it works. Whatever keeps it from working at
// first may be another fault, so it is tried until startWithin has passed.
func (m *member) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		p, err := m.launch()
		if err != nil {
			return err
		}
		if last = p.ready(ctx, m.config.readyLine()); last == nil {
			m.mu.Lock()
			m.process = p
			m.mu.Unlock()
			m.watching.Go(func() { m.watch(p) })
			return nil
		}
		_ = p.child.Stop() // it has failed already
		_ = p.stdin.Close()
	}
	return fmt.Errorf("chaos: worker %d did not start within %s (%w); its log is %s", m.number, startWithin, last, m.log)
}

func (m *member) launch() (_ *process, err error) {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(m.program, m.config.args()...)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd.Stdout = in
	p := &process{stdin: stdin, lines: &lines{}}
	if p.child, err = devstack.StartChild(cmd); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	m.watching.Go(func() { // ends with the process
		defer out.Close()
		p.lines.follow(out)
	})
	return p, nil
}

// ready returns once the process has printed the line.
func (p *process) ready(ctx context.Context, line string) error {
	err := until(ctx, startWithin, "worker process "+fmt.Sprint(p.child.PID())+" says "+line, func() bool {
		return p.lines.has(line) || p.child.State() != nil
	})
	if err == nil && !p.lines.has(line) {
		return fmt.Errorf("it ended: %s", p.child.State())
	}
	return err
}

// watch tells of an end that nobody wanted.
func (m *member) watch(p *process) {
	<-p.child.Exited()
	_ = p.stdin.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.until.IsZero() {
		p.until = time.Now()
		m.died("worker %d, process %d, ended by itself: %s; its log is %s", m.number, p.child.PID(), p.child.State(), m.log)
	}
}

func (m *member) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// expectEnd says that the process is about to be ended. It fails if it has ended already.
func (m *member) expectEnd() (*process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.process
	if p == nil || !p.until.IsZero() {
		return nil, fmt.Errorf("chaos: worker %d does not run", m.number)
	}
	p.until = time.Now()
	return p, nil
}

// kill ends the process as a crash would. The error says if that is not how it ended.
func (m *member) kill() (*process, error) {
	p, err := m.expectEnd()
	if err != nil {
		return nil, err
	}
	if err := p.child.Kill(); err != nil {
		return nil, err
	}
	if status, ok := p.child.State().Sys().(syscall.WaitStatus); ok && (!status.Signaled() || status.Signal() != syscall.SIGKILL) {
		return nil, fmt.Errorf("chaos: worker %d was to die by SIGKILL: %s", m.number, p.child.State())
	}
	return p, nil
}

// stop ends the process in order. The error says if that is not how it ended.
func (m *member) stop(ctx context.Context) (*process, error) {
	p, err := m.expectEnd()
	if err != nil {
		return nil, err
	}
	if err := p.child.Signal(syscall.SIGTERM); err != nil {
		return nil, err
	}
	err = until(ctx, startWithin, fmt.Sprintf("worker %d stops in order", m.number), func() bool { return p.child.State() != nil })
	if err != nil {
		_ = p.child.Kill() // it hangs, which the error says
		return nil, err
	}
	if !p.child.State().Success() {
		return nil, fmt.Errorf("chaos: worker %d was to stop in order: %s; its log is %s", m.number, p.child.State(), m.log)
	}
	return p, nil
}

// end ends whatever runs. The member is of no use after.
func (m *member) end(ctx context.Context) error {
	m.mu.Lock()
	running := m.process != nil && m.process.until.IsZero()
	m.mu.Unlock()
	var err error
	if running {
		_, err = m.stop(ctx)
	}
	m.watching.Wait()
	return err
}

// newMember makes a place in the fleet of s, with cables of its own.
func (s *stage) newMember(number int, config workerConfig) (*member, error) {
	m := &member{
		number: number, program: s.program, config: config,
		log: filepath.Join(s.dir, fmt.Sprintf("worker-%d.log", number)), died: s.violatef,
	}
	m.config.number, m.config.journal = number, s.journals()
	if config.foreign {
		m.config.temporal = s.temporal.address()
		return m, nil
	}
	var err error
	if m.redis, err = s.network.cable(fmt.Sprintf("redis-%d", number), s.redis.address()); err != nil {
		return nil, err
	}
	if m.temporal, err = s.network.cable(fmt.Sprintf("temporal-%d", number), s.temporal.address()); err != nil {
		return nil, err
	}
	m.config.redisURL = "redis://" + m.redis.address
	m.config.temporal = m.temporal.address
	return m, nil
}

// isState tells whether the process is in a state of the kernel's, such as T for stopped. Without /proc nobody knows.
func isState(pid int, state byte) (is, known bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, false
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // the name before may be anything
	return ok && len(rest) > 0 && rest[0] == state, ok
}

// takesConnections tells whether somebody listens at the address.
func takesConnections(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
