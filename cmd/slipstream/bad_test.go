package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestBadInput(t *testing.T) {
	d := scene(t)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, `has no command "pool", perhaps you mean pools`, []string{"pool"}},
		{exitUsage, `slipstream tasks has no command "lst", perhaps you mean list`, []string{"tasks", "lst"}},
		{exitUsage, "unknown flag: --bogus", []string{"stats", "--bogus"}},
		{exitUsage, "takes no arguments, not 1", []string{"pools", "x"}},
		{exitUsage, "takes the name of a pool, not 0", []string{"pause"}},
		{exitUsage, "give --slots", []string{"config", "set", "orders"}},
		{exitUsage, "PoolConfig.Slots is 5000, give 1 to 1024", []string{"config", "set", "orders", "--slots", "5000"}},
		{exitUsage, `--state "odd" is none of waiting`, []string{"tasks", "list", "orders", "--state", "odd"}},
		{exitUsage, "--limit is 0", []string{"tasks", "list", "orders", "--limit", "0"}},
		{exitUsage, `"x" is no task's number`, []string{"tasks", "show", "orders", "order-1", "x"}},
		{exitUsage, "either numbers of tasks or --all", []string{"tasks", "cancel", "orders", "order-1"}},
		{exitUsage, "either numbers of tasks or --all", []string{"tasks", "cancel", "orders", "order-1", "1", "--all"}},
		{exitUsage, "is no dead letter's ID", []string{"dead", "show", "orders", "1-2"}},
		{exitUsage, "either IDs of dead letters or --all", []string{"dead", "drop", "orders"}},
		{exitUsage, "write it as redis://[user:password@]host:port", []string{"pools", "--redis", "localhost"}},
		{exitUsage, "CA certificate of Redis", []string{"pools", "--redis-tls-ca-path", "/nowhere", "--redis", "rediss://x"}},
		{exitUsage, "give both", []string{"pools", "--redis-tls-key-path", "/nowhere"}},
		{exitUnreachable, "password=xxxxx", []string{"pools", "--redis", "redis://127.0.0.1:1?master_name=m&password=secret"}},
		{exitUsage, "--grpc-meta \"x\" does not read KEY=VALUE", []string{"pools", "--grpc-meta", "x"}},
		{exitUsage, "--codec-header \"x\" does not read KEY=VALUE", []string{"pools", "--codec-header", "x"}},
		{exitUsage, "cannot have client key/cert path with data", []string{"describe", "w", "--tls-cert-data", "x", "--tls-cert-path", "x", "--tls-key-data", "x"}},
		{exitUsage, "braces", []string{"pools", "--key-prefix", "{x}"}},
		{exitUsage, "--interval is 1ms", []string{"top", "--interval", "1ms"}},
		{exitUsage, "invalid TLS config", []string{"describe", "w", "--tls-cert-data", "x", "--tls-key-path", "/nowhere"}},
		{exitRefused, "top needs a terminal", []string{"top"}},
		{exitNotFound, `there is no pool "none" in namespace "shop"; there are: idle, orders`, []string{"stats", "none"}},
		{exitNotFound, "no worker with Slipstream has started", []string{"stats", "orders", "--namespace", "other"}},
		{exitNotFound, "knows no task 77 of run order-1", []string{"tasks", "show", "orders", "order-1", "77"}},
		{exitNotFound, "dead list shows those it has", []string{"dead", "show", "orders", "0/1-1"}},
		{exitUnreachable, "taken from --redis or SLIPSTREAM_REDIS, here redis://:xxxxx@127.0.0.1:1", []string{"pools", "--redis", "redis://:secret@127.0.0.1:1"}},
		{exitUnreachable, "taken from --address, TEMPORAL_ADDRESS", []string{"describe", "w"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			(&desk{t, d.redis, d.namespace, d.temporal}).fails(c.code, c.says, c.args...)
		})
	}
}

func TestRedisWithCertificates(t *testing.T) {
	d := newDesk(t)
	_, server := redistest.StartTLS(t)
	d.ok("pools", "--redis", server.URL(), "--redis-tls-ca-path", server.CA, "--redis-tls-cert-path", server.Cert, "--redis-tls-key-path", server.Key)
	redistest.Eventually(d, 30*time.Second, "a stranger is told what it lacks", func() bool { // who writes too late hears only that the server closed
		code, _, stderr := d.run("pools", "--redis", server.URL(), "--redis-tls-ca-path", server.CA)
		require.Equal(d, exitUnreachable, code, stderr)
		return strings.Contains(stderr, "certificate required")
	})
	t.Setenv("SLIPSTREAM_REDIS_TLS_CA_PATH", server.CA)
	t.Setenv("SLIPSTREAM_REDIS_TLS_CERT_PATH", server.Cert)
	t.Setenv("SLIPSTREAM_REDIS_TLS_KEY_PATH", server.Key)
	d.ok("pools", "--redis", server.URL())
}

// A server that takes connections and says nothing.
func TestNothingHangs(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() })
	d := newDesk(t)
	began := time.Now()
	d.fails(exitUnreachable, "SLIPSTREAM_REDIS", "pools", "--redis", "redis://"+mute.Addr().String(), "--command-timeout", "200ms")
	d.fails(exitUnreachable, "TEMPORAL_ADDRESS", "describe", "w", "--address", mute.Addr().String(), "--command-timeout", "200ms")
	require.Less(t, time.Since(began), 10*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	time.AfterFunc(100*time.Millisecond, cancel)
	require.Equal(t, exitInterrupted, run(ctx, d.args("pools", "--redis", "redis://"+mute.Addr().String()), strings.NewReader(""), &out, &errs))
	require.Equal(t, "slipstream: interrupted\n", errs.String())
}

func TestSettingsComeFromTheEnvironment(t *testing.T) {
	d := scene(t)
	t.Setenv("SLIPSTREAM_REDIS", d.redis.URL())
	t.Setenv("TEMPORAL_NAMESPACE", "shop")
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"pools"}, strings.NewReader(""), &out, &errs), errs.String())
	require.Contains(t, out.String(), "orders")
	out.Reset()
	require.Zero(t, run(t.Context(), []string{"pools", "-n", "other"}, strings.NewReader(""), &out, &errs), errs.String())
	require.Contains(t, out.String(), `There are no pools in namespace "other"`)
}

func TestShellCompletion(t *testing.T) {
	d := scene(t)
	require.Contains(t, d.ok("completion", "bash"), "__start_slipstream")
	redistest.Eventually(t, 30*time.Second, "pools are proposed", func() bool { // what takes too long is left out
		_, stdout, _ := d.run("__complete", "stats", "")
		return stdout == "idle\norders\n:4\n"
	})
	_, stdout, _ := d.run("__complete", "tasks", "list", "orders", "--state", "wa")
	require.Contains(t, stdout, "waiting\n")
	began := time.Now()
	_, stdout, _ = d.run("__complete", "--redis", "redis://127.0.0.1:1", "stats", "")
	require.NotContains(t, stdout, "orders")
	require.Less(t, time.Since(began), completionTimeout+5*time.Second)
}
