package fidelity

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// ownRedis gives the play a Redis that nobody else uses. In the plain mode there is none, and nil is returned.
func (p *play) ownRedis() *redis.Client {
	p.t.Helper()
	if p.mode != routed {
		return nil
	}
	own, err := devstack.Start(p.ctx, devstack.Options{Temporal: stack.Temporal(), Namespace: stack.Namespace()})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, own.Stop()) })
	p.pluginOptions.RedisURL = own.RedisURL()
	options, err := redis.ParseURL(own.RedisURL())
	require.NoError(p.t, err)
	rdb := redis.NewClient(options)
	p.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// dump returns everything that is in a Redis, as text: all keys, and all that is in them.
func (p *play) dump(rdb *redis.Client) string {
	p.t.Helper()
	var b strings.Builder
	keys := rdb.Scan(p.ctx, 0, "*", 1000).Iterator()
	for keys.Next(p.ctx) {
		key := keys.Val()
		kind, err := rdb.Type(p.ctx, key).Result()
		require.NoError(p.t, err)
		var content any
		switch kind {
		case "none": // it expired meanwhile
			continue
		case "string":
			content, err = rdb.Get(p.ctx, key).Result()
		case "hash":
			content, err = rdb.HGetAll(p.ctx, key).Result()
		case "list":
			content, err = rdb.LRange(p.ctx, key, 0, -1).Result()
		case "set":
			content, err = rdb.SMembers(p.ctx, key).Result()
		case "zset":
			content, err = rdb.ZRangeWithScores(p.ctx, key, 0, -1).Result()
		case "stream":
			content, err = rdb.XRange(p.ctx, key, "-", "+").Result()
		default:
			require.Fail(p.t, "a key of a type that dump does not know", "%s: %s", key, kind)
		}
		if err != redis.Nil { //nolint:errorlint // go-redis never wraps it
			require.NoError(p.t, err)
		}
		fmt.Fprintf(&b, "%s %v\n", key, content)
	}
	require.NoError(p.t, keys.Err())
	return b.String()
}

// monitor keeps the text of everything that a Redis is told from now on, by clients and scripts: nothing gets into it
// in another way. The returned function returns it, up to its own call.
func (p *play) monitor(rdb *redis.Client) func() string {
	p.t.Helper()
	conn, err := new(net.Dialer).DialContext(p.ctx, "tcp", rdb.Options().Addr)
	require.NoError(p.t, err)
	_, err = io.WriteString(conn, "MONITOR\r\n")
	require.NoError(p.t, err)
	r := bufio.NewReader(conn)
	ok, err := r.ReadString('\n')
	require.NoError(p.t, err)
	require.Equal(p.t, "+OK\r\n", ok)
	said := &buffer{}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(said, r) })
	stop := context.AfterFunc(p.ctx, func() { _ = conn.Close() })
	p.t.Cleanup(func() {
		stop()
		_ = conn.Close()
		reading.Wait()
	})
	return func() string {
		p.t.Helper()
		end := rand.Text()
		require.NoError(p.t, rdb.Echo(p.ctx, end).Err())
		p.await("all that Redis was told", func() bool { return strings.Contains(said.String(), end) })
		return said.String()
	}
}
