package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

// apertium translates with the offline engine of that name, one process per sentence. More processes than processors
// would only be slower, so handlers wait for their turn.
type apertium struct {
	command string
	turns   *semaphore.Weighted
}

// apertiumModes are the names of the two directions in Apertium.
var apertiumModes = [2]string{toSpanish: "eng-spa", toEnglish: "spa-eng"}

const installApertium = "install it (Debian, Ubuntu: apt-get install apertium apertium-eng-spa), or use -translator mock"

func newApertium(ctx context.Context) (*apertium, error) {
	command, err := exec.LookPath("apertium")
	if err != nil {
		return nil, errors.New("-translator apertium: no command apertium on PATH; " + installApertium)
	}
	installed, err := exec.CommandContext(ctx, command, "-l").Output()
	if err != nil {
		return nil, fmt.Errorf("-translator apertium: %s -l failed: %w; %s", command, err, installApertium)
	}
	for _, mode := range apertiumModes {
		if !slices.Contains(strings.Fields(string(installed)), mode) {
			return nil, fmt.Errorf("-translator apertium: direction %s is not installed; %s", mode, installApertium)
		}
	}
	return &apertium{command: command, turns: semaphore.NewWeighted(int64(runtime.NumCPU()))}, nil
}

// Deterministic reports true.
func (*apertium) Deterministic() bool { return true }

// Translate runs one sentence through the engine. The process is killed when ctx ends.
func (a *apertium) Translate(ctx context.Context, d direction, sentence string) (string, error) {
	if err := a.turns.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer a.turns.Release(1)
	cmd := exec.CommandContext(ctx, a.command, "-u", apertiumModes[d]) // -u: no marks on unknown words
	cmd.Stdin = strings.NewReader(sentence)
	cmd.WaitDelay = time.Second // the command is a pipeline: its parts may hold the output open for a moment
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("apertium %s: %w: %s", apertiumModes[d], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
