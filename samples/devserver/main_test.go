package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

func TestServesUntilStandardInputCloses(t *testing.T) {
	stdin, closeStdin := io.Pipe()
	stdout, stdoutWriter := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(t.Context(), []string{"-until-stdin-closes"}, stdin, stdoutWriter, &stderr)
		stdoutWriter.Close()
	}()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var a devstack.Addresses
	require.NoError(t, json.Unmarshal(line, &a))

	s, err := devstack.Start(t.Context(), devstack.Options{Temporal: a.Temporal, Namespace: a.Namespace, Redis: a.Redis})
	require.NoError(t, err)
	require.NoError(t, s.Stop())

	require.NoError(t, closeStdin.Close())
	require.Zero(t, <-code)
	require.Empty(t, stderr.String(), "hints are for people")
}

func TestSaysHowToUseIt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	stdout, stdoutWriter := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int)
	go func() { code <- run(ctx, []string{"-no-redis"}, nil, stdoutWriter, &stderr) }()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var a devstack.Addresses
	require.NoError(t, json.Unmarshal(line, &a))
	interrupt()
	require.Zero(t, <-code)
	require.Contains(t, stderr.String(), "-temporal "+a.Temporal)
}

func TestWrongFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"not defined: -port":     {"-port", "1"},
		`unexpected argument`:    {"start"},
		"is not a port":          {"-redis-port", "99999"},
		"needs a server":         {"-namespace", "n"},
		"Redis URL is not valid": {"-redis", "localhost"},
	} {
		var stderr bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, nil, io.Discard, &stderr), args)
		require.Contains(t, stderr.String(), want)
	}
	require.Zero(t, run(t.Context(), []string{"-h"}, nil, io.Discard, io.Discard))
}
