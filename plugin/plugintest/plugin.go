package plugintest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/slipstream-go/slipstream/plugin"
)

// New returns a plugin over a Redis that runs within this process and ends with the
// test, as the plugin does; stop the workers before that. Options.Redis and
// Options.RedisURL must be empty. Wrong options end the test.
func New(t testing.TB, o plugin.Options) *plugin.Plugin {
	t.Helper()
	if o.Redis != nil || o.RedisURL != "" {
		t.Fatal("plugintest.New brings its own Redis: leave Options.Redis and Options.RedisURL empty, or call plugin.New")
	}
	redis := miniredis.NewMiniRedis()
	if err := redis.Start(); err != nil {
		t.Fatalf("start a Redis in this process: %v", err)
	}
	t.Cleanup(redis.Close)
	o.RedisURL = "redis://" + redis.Addr()
	p, err := plugin.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
