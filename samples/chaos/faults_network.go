package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"go.temporal.io/sdk/client"
)

// probeTimeout is how long a probe waits. It is longer than a cable is slow.
const probeTimeout = 2 * time.Second

// end is an end of a member's cable: which cable, and how to ask what is at its other end.
type end struct {
	cable func(m *member) *cable
	probe func(ctx context.Context, address string) error
}

var (
	toRedis    = end{func(m *member) *cable { return m.redis }, probeRedis}
	toTemporal = end{func(m *member) *cable { return m.temporal }, probeTemporal}
)

// probeRedis asks Redis through a connection of its own.
func probeRedis(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	db := redis.NewClient(&redis.Options{
		Addr: address, MaxRetries: -1, DialerRetries: 1, PoolSize: 1, DisableIdentity: true,
		ContextTimeoutEnabled: true, DialTimeout: probeTimeout, ReadTimeout: probeTimeout,
	})
	defer db.Close()
	return db.Ping(ctx).Err()
}

// probeTemporal asks the Temporal server through a connection of its own.
func probeTemporal(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := client.NewLazyClient(client.Options{HostPort: address, Logger: quiet{}})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CheckHealth(ctx, &client.CheckHealthRequest{})
	return err
}

// members are those whose cables the fault hits.
func (f *strike) members() []*member {
	if f.kind.on == onWorker {
		return []*member{f.member()}
	}
	return f.stage.fleet
}

// cut closes cables, and opens them again.
func cut(to end) func(f *strike) error {
	return func(f *strike) error {
		return f.disturb(to, (*cable).cut, (*cable).mend, func() error {
			failed, all := f.probing(func() bool { return !takesConnections(f.ctx, to.cable(f.members()[0]).address) })
			if failed < all || all == 0 {
				return unproven("%d of %d connections were refused", failed, all)
			}
			f.showf("%d of %d connections were refused", failed, all)
			return nil
		})
	}
}

// stall makes cables swallow what goes over them.
func stall(to end) func(f *strike) error {
	return poisoned(to, hang, func(f *strike, probe func() error) error {
		failed, all := f.probing(func() bool { return probe() != nil })
		if failed < all || all == 0 {
			return unproven("%d of %d probes got no answer", failed, all)
		}
		f.showf("%d of %d probes got no answer", failed, all)
		return nil
	})
}

// delay makes cables slow.
func delay(to end, latency time.Duration) func(f *strike) error {
	return poisoned(to, slow(latency), func(f *strike, probe func() error) error {
		fastest := time.Hour
		late, all := f.probing(func() bool {
			begin := time.Now()
			err := probe()
			took := time.Since(begin)
			fastest = min(fastest, took)
			return err == nil && took >= latency/2
		})
		if late < all || all == 0 {
			return unproven("%d of %d probes were answered late; the fastest took %s", late, all, fastest)
		}
		f.showf("%d of %d probes were answered late, the fastest in %d ms", late, all, fastest.Milliseconds())
		return nil
	})
}

// tear makes connections end in the midst of answers.
func tear(f *strike) error {
	return poisoned(toRedis, torn, func(f *strike, _ func() error) error {
		address := toRedis.cable(f.members()[0]).address
		failed, all := f.probing(func() bool { return fetchMuch(f.ctx, address) != nil })
		if failed < all || all == 0 {
			return unproven("%d of %d connections ended within %d bytes", failed, all, tornBytes)
		}
		f.showf("%d of %d connections ended within %d bytes of answers", failed, all, tornBytes)
		return nil
	})(f)
}

// fetchMuch asks Redis for more than a torn cable lets through.
func fetchMuch(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("INFO everything\r\n")); err != nil {
		return err
	}
	for got := 0; got <= tornBytes; {
		n, err := conn.Read(make([]byte, 64<<10))
		if err != nil {
			return err
		}
		got += n
	}
	return nil
}

func poisoned(to end, toxics []toxic, prove func(f *strike, probe func() error) error) func(f *strike) error {
	return func(f *strike) error {
		return f.disturb(to,
			func(c *cable) error { return c.poison(toxics) },
			func(c *cable) error { return c.heal(toxics) },
			func() error {
				return prove(f, func() error { return to.probe(f.ctx, to.cable(f.members()[0]).address) })
			})
	}
}

// disturb does something to the cables, proves it as long as the fault lasts, and undoes it whatever happens.
func (f *strike) disturb(to end, do, undo func(*cable) error, prove func() error) (err error) {
	f.began = time.Now()
	for _, m := range f.members() {
		c := to.cable(m)
		if err := do(c); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, undo(c))
			f.healed = time.Now()
		}()
	}
	if err := prove(); err != nil {
		return err
	}
	f.showf("it was so for %.1f s, for %d workers", time.Since(f.began).Seconds(), len(f.members()))
	return nil
}

func splitHostPort(address string) (host, port string, err error) { return net.SplitHostPort(address) }
