// Package sent counts the commands that clients send to a Redis server. The server's own statistics cannot tell them:
// they count those within scripts as well, and what a script does costs no round trip.
package sent

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Counts are how often each command was sent, by its name in lower case.
type Counts map[string]int

// Total is how many commands were sent in all.
func (c Counts) Total() int {
	total := 0
	for _, n := range c {
		total += n
	}
	return total
}

// Counter counts from Start to Stop.
type Counter struct {
	rdb    *redis.Client
	conn   net.Conn
	end    string // what Stop sends, to know that all before it was counted
	done   chan struct{}
	counts Counts // written until done is closed
	err    error  // as counts
}

// Start begins to count what any client sends to the server. It takes the right to MONITOR, which costs a busy server
// much. Call Stop in the end.
func Start(ctx context.Context, rdb *redis.Client) (*Counter, error) {
	o := rdb.Options()
	conn, err := o.Dialer(ctx, o.Network, o.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis at %s to count commands: %w", o.Addr, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a server that hangs answers nothing
	defer stop()
	in := bufio.NewReader(conn)
	say := func(words ...string) error {
		if _, err := fmt.Fprintf(conn, "*%d\r\n", len(words)); err != nil {
			return err
		}
		for _, w := range words {
			if _, err := fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(w), w); err != nil {
				return err
			}
		}
		reply, err := in.ReadString('\n')
		if err == nil && reply != "+OK\r\n" {
			err = fmt.Errorf("it says %q", strings.TrimSpace(reply))
		}
		return err
	}
	switch {
	case o.Username != "":
		err = say("AUTH", o.Username, o.Password)
	case o.Password != "":
		err = say("AUTH", o.Password)
	}
	if err == nil {
		err = say("MONITOR")
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("count commands of Redis at %s: %w", o.Addr, err)
	}
	c := &Counter{rdb: rdb, conn: conn, end: rand.Text(), done: make(chan struct{}), counts: Counts{}}
	go c.read(in)
	return c, nil
}

func (c *Counter) read(in *bufio.Reader) {
	defer close(c.done)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			c.err = fmt.Errorf("count commands of Redis: %w", err)
			return
		}
		if strings.Contains(line, c.end) {
			return
		}
		if command := parse(line); command != "" {
			c.counts[command]++
		}
	}
}

// parse returns the command of a line like `+1700000000.123456 [0 127.0.0.1:1234] "get" "key"`, or "" where a script
// called it.
func parse(line string) string {
	_, rest, _ := strings.Cut(line, "[")
	client, rest, _ := strings.Cut(rest, "] \"")
	command, _, found := strings.Cut(rest, "\"")
	if !found || strings.HasSuffix(client, " lua") {
		return ""
	}
	return strings.ToLower(command)
}

// Stop ends the counting and returns what was sent since Start. If Redis does not answer the counts are lost.
func (c *Counter) Stop(ctx context.Context) (Counts, error) {
	err := c.rdb.Echo(ctx, c.end).Err()
	if err == nil {
		select {
		case <-c.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	_ = c.conn.Close()
	<-c.done
	if err = cmp.Or(err, c.err); err != nil {
		return nil, err
	}
	return c.counts, nil
}
