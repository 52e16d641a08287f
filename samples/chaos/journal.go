package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a handler notes.
const (
	started     = 'S'
	ended       = 'E' // with its result
	failed      = 'F' // as it was told to
	interrupted = 'X' // its context ended
)

// How an attempt came to its handler.
const (
	routed   = 'R' // as a task of the queue
	diverted = 'D' // as an activity task of Temporal that went through the queue
	inPlace  = 'P' // as an activity task of Temporal, where the SDK runs it
)

// journal is where the handlers of one worker process note what they do: a file that no fault touches. Each note is one
// write to an appending file, so a killed process loses none that it has made. Safe for concurrent use.
type journal struct{ file *os.File }

const journalSuffix = ".journal"

// openJournal makes the journal of this process, the worker with that number.
func openJournal(dir string, worker int) (*journal, error) {
	name := fmt.Sprintf("%d-%d%s", worker, os.Getpid(), journalSuffix)
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("chaos: no journal: %w", err)
	}
	return &journal{file: file}, nil
}

func (j *journal) note(what, how byte, attempt int32, key string) error {
	_, err := fmt.Fprintf(j.file, "%d %c %c %d %s\n", time.Now().UnixNano(), what, how, attempt, key)
	return err
}

// event is a note, and whose.
type event struct {
	at      time.Time
	what    byte
	how     byte
	attempt int32
	key     string
	worker  int
	pid     int
}

// readJournals returns the events of all processes, each process's in order.
func readJournals(dir string) ([]event, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+journalSuffix))
	if err != nil {
		return nil, err
	}
	var events []event
	for _, name := range names {
		if events, err = readJournal(events, name); err != nil {
			return nil, fmt.Errorf("chaos: %s: %w", name, err)
		}
	}
	return events, nil
}

func readJournal(events []event, name string) (_ []event, err error) {
	var worker, pid int
	if _, err := fmt.Sscanf(strings.TrimSuffix(filepath.Base(name), journalSuffix), "%d-%d", &worker, &pid); err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		e := event{worker: worker, pid: pid}
		var nanos int64
		if _, err := fmt.Sscanf(lines.Text(), "%d %c %c %d %s", &nanos, &e.what, &e.how, &e.attempt, &e.key); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		e.at = time.Unix(0, nanos)
		events = append(events, e)
	}
	return events, lines.Err()
}
