package redistest

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// StartMini starts a miniredis, and stops it when the test ends. A test may close it and start
// it again at its address.
func StartMini(t testing.TB) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))); err != nil {
		t.Fatalf("start miniredis: %v", err)
	}
	t.Cleanup(m.Close)
	return m
}

// Mini starts a miniredis and returns a client of it, which has time: miniredis's Lua is slow.
func Mini(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: StartMini(t).Addr(), ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = c.Close() })
	return c
}
