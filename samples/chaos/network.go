package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network is the cables between workers and servers: a proxy for each, in this process, that can be cut and slowed down.
type network struct {
	server *toxiproxy.ApiServer // serves no API: what its handlers do is done here

	mu     sync.Mutex // protects cables
	cables []*cable
}

func newNetwork() *network {
	return &network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// close cuts all cables.
func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.cables {
		c.proxy.Stop()
	}
}

// cable is one of them. Safe for concurrent use.
type cable struct {
	// address is what to connect to. It stays.
	address string

	mu    sync.Mutex // one change at a time
	proxy *toxiproxy.Proxy
}

func (n *network) cable(name, upstream string) (*cable, error) {
	p := toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("chaos: no proxy %s: %w", name, err)
	}
	c := &cable{address: p.Listen, proxy: p}
	n.mu.Lock()
	n.cables = append(n.cables, c)
	n.mu.Unlock()
	return c, nil
}

// cut closes all connections and takes no more.
func (c *cable) cut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proxy.Stop()
	return nil
}

// mend undoes cut.
func (c *cable) mend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proxy.Start()
}

// lead leads the cable to another server. Open connections end.
func (c *cable) lead(upstream string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proxy.Update(&toxiproxy.Proxy{Listen: c.address, Upstream: upstream, Enabled: c.proxy.Enabled})
}

// toxic is something bad that a cable does to what goes over it.
type toxic struct {
	Type       string           `json:"type"`
	Stream     string           `json:"stream"`
	Attributes map[string]int64 `json:"attributes"`
}

func (t toxic) name() string { return t.Type + "_" + t.Stream } // as the library calls it

var (
	// hang: bytes go in and none come out, in both directions; connections stay open.
	hang = []toxic{
		{"timeout", "upstream", map[string]int64{"timeout": 0}},
		{"timeout", "downstream", map[string]int64{"timeout": 0}},
	}
	// torn: a connection ends after some bytes of answers, in the midst of one, when what was asked has been done.
	torn = []toxic{{"limit_data", "downstream", map[string]int64{"bytes": tornBytes}}}
)

// tornBytes is more than a client's first words to the server need, so that connections do some work first.
const tornBytes = 2000

// slow delays answers.
func slow(latency time.Duration) []toxic {
	ms := latency.Milliseconds()
	return []toxic{{"latency", "downstream", map[string]int64{"latency": ms, "jitter": ms / 4}}}
}

func (c *cable) poison(toxics []toxic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range toxics {
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if _, err := c.proxy.Toxics.AddToxicJson(bytes.NewReader(b)); err != nil {
			return fmt.Errorf("chaos: %s on %s: %w", t.Type, c.proxy.Name, err)
		}
	}
	return nil
}

func (c *cable) heal(toxics []toxic) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, t := range toxics {
		errs = append(errs, c.proxy.Toxics.RemoveToxic(context.Background(), t.name()))
	}
	return errors.Join(errs...)
}
