package plugin_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipstream-go/slipstream/plugin"
)

var marks = []plugin.Mark{{Activity: Translate}}

// New talks to nobody; it checks the options, all of them at once.
func ExampleNew() {
	slip, err := plugin.New(plugin.Options{
		RedisURL: "redis://localhost:6379",
		Marks:    []plugin.Mark{{Activity: Translate}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = slip.Close() }() // after the last worker has stopped
	fmt.Println(slip.Name())
	// Output: slipstream-go.slipstream
}

// An error names the field, what it has, and the fix.
func ExampleNew_errors() {
	_, err := plugin.New(plugin.Options{Marks: []plugin.Mark{{Activity: ""}}, Window: time.Minute})
	fmt.Println(err)
	// Output:
	// slipstream: Options.Marks: mark 0: the activity name is empty; give the registered name or the function
	// Options.Window is 1m0s; the most is 2.5s, a quarter of the workflow task time-out
	// Options.Redis and Options.RedisURL are both empty; set one, for example RedisURL: "redis://localhost:6379"
}

// Translator has an activity as a method.
type Translator struct{}

func (*Translator) Backwards(_ context.Context, sentence string) (string, error) {
	return sentence, nil
}

// A mark names an activity by its function, by a method, or by the name that it is registered
// under. It may have a pool and a window of its own.
func ExampleMark() {
	var t *Translator
	slip, err := plugin.New(plugin.Options{
		RedisURL: "redis://localhost:6379",
		Marks: []plugin.Mark{
			{Activity: Translate},
			{Activity: t.Backwards, Window: 20 * time.Millisecond},
			{Activity: "count-letters", Pool: "slow", Window: -1},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = slip.Close() }()
	fmt.Println("three activities, two pools")
	// Output: three activities, two pools
}

// Traces and metrics go to providers of yours, or to OpenTelemetry's global ones.
func ExampleOptions_telemetry() { //nolint:testableexamples // there is nothing to see
	var tracerProvider trace.TracerProvider
	var meterProvider metric.MeterProvider
	slip, err := plugin.New(plugin.Options{
		RedisURL:       "redis://localhost:6379",
		Marks:          []plugin.Mark{{Activity: Translate}},
		TracerProvider: tracerProvider, // default: the global one
		MeterProvider:  meterProvider,  // default: the global one
	})
	fmt.Println(slip, err)
}

// A Redis with a certificate authority of one's own, and client certificates.
func ExampleOptions_tls() { //nolint:testableexamples // it needs such files
	caPEM, err := os.ReadFile("/etc/redis/ca.pem")
	if err != nil {
		log.Fatalln(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caPEM)
	cert, err := tls.LoadX509KeyPair("/etc/redis/client.pem", "/etc/redis/client.key")
	if err != nil {
		log.Fatalln(err)
	}
	slip, err := plugin.New(plugin.Options{
		RedisURL: "rediss://redis.internal:6380",
		RedisTLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}},
		RedisCredentials: func(context.Context) (string, string, error) { // for each new connection
			password, err := os.ReadFile("/etc/redis/password")
			return "slipstream", strings.TrimSpace(string(password)), err
		},
		Marks: marks,
	})
	fmt.Println(slip, err)
}

// A Redis Cluster.
func ExampleOptions_cluster() { //nolint:testableexamples // it needs a cluster
	slip, err := plugin.New(plugin.Options{
		RedisURL: "redis://redis-1:6379?addr=redis-2:6379&addr=redis-3:6379",
		Marks:    marks,
		Slots:    6,
	})
	fmt.Println(slip, err)
}
