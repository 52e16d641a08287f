package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// confirm asks whether to go on, and returns the context to do it with: the time that the command may take begins anew,
// once for the answer and once for what it confirms. Without a terminal nobody could answer, so that --yes must say it.
func (a *app) confirm(format string, args ...any) (context.Context, error) {
	if !a.flags.yes {
		if err := a.question(a.afresh(), fmt.Sprintf(format, args...)); err != nil {
			return nil, err
		}
	}
	return a.afresh(), nil
}

func (a *app) question(ctx context.Context, what string) error {
	if !terminal(a.stdin) {
		return refused("%s. That must be confirmed, and there is no terminal to ask on: give --yes if you mean it", what)
	}
	fmt.Fprintf(a.stderr, "%s. Go on? [y/N] ", what)
	answers := make(chan string, 1)
	go func() { // ends with the process: a terminal cannot be told to stop reading
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
		return refused("not confirmed, nothing was done")
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return refused("nobody confirmed it in time, nothing was done")
	}
}

// terminal tells whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
