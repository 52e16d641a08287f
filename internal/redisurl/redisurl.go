// Package redisurl opens Redis clients from URLs, in workers and in the command alike.
package redisurl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
)

// Forms is what a URL may look like, for messages.
const Forms = "redis://[user:password@]host:port[/database], rediss://... for TLS, unix://path; " +
	"with ?addr=host:port for further nodes of a cluster; with ?master_name=name for Sentinels, further ones as &addr=host:port"

// Options are what a URL cannot say. The zero value adds nothing.
type Options struct {
	// TLS takes the place of what rediss:// means by itself. Without a ServerName it gets the
	// URL's host.
	TLS *tls.Config
	// Credentials gives user and password for each new connection to a server (not to a
	// Sentinel), in place of the URL's.
	Credentials func(context.Context) (username, password string, err error)
	// DialTimeout, MaxRetries: see redis.Options; zero is what the URL says, or go-redis's default.
	DialTimeout time.Duration
	MaxRetries  int
}

// Open returns a client of one server, of a cluster where the URL has addr, or of the master
// that Sentinels know where it has master_name. It does not connect. All of them heed the
// deadlines of contexts. Errors never show the URL, which may hold a password.
func Open(raw string, o Options) (redis.UniversalClient, error) {
	u, err := url.Parse(raw)
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		return nil, err
	}
	_, password := u.User.Password()
	query := u.Query()
	switch {
	case o.TLS != nil && u.Scheme != "rediss":
		return nil, fmt.Errorf("TLS settings are for rediss://, and this begins with %s://", u.Scheme)
	case o.Credentials != nil && (query.Has("password") || (password && !query.Has("master_name"))):
		return nil, errors.New("it has a password, and credentials are given too; keep one")
	case query.Has("master_name"):
		return o.sentinels(raw)
	case query.Has("addr"):
		return o.cluster(raw)
	default:
		return o.server(raw)
	}
}

func (o Options) server(raw string) (redis.UniversalClient, error) {
	r, err := redis.ParseURL(raw)
	if err != nil {
		return nil, err
	}
	r.TLSConfig = o.tls(r.TLSConfig)
	r.CredentialsProviderContext = o.Credentials
	r.ContextTimeoutEnabled, r.DialerRetries = true, 1
	override(&r.DialTimeout, o.DialTimeout)
	override(&r.MaxRetries, o.MaxRetries)
	return redis.NewClient(r), nil
}

func (o Options) cluster(raw string) (redis.UniversalClient, error) {
	r, err := redis.ParseClusterURL(raw)
	if err != nil {
		return nil, err
	}
	r.TLSConfig = o.tls(r.TLSConfig)
	r.CredentialsProviderContext = o.Credentials
	r.ContextTimeoutEnabled, r.DialerRetries = true, 1
	override(&r.DialTimeout, o.DialTimeout)
	return redis.NewClusterClient(r), nil
}

func (o Options) sentinels(raw string) (redis.UniversalClient, error) {
	r, err := redis.ParseFailoverURL(raw)
	switch {
	case err != nil:
		return nil, err
	case r.MasterName == "":
		return nil, errors.New("master_name is empty; give the name that the Sentinels have for the master")
	case r.ReplicaOnly || r.RouteByLatency || r.RouteRandomly:
		return nil, errors.New("replica_only, route_by_latency and route_randomly read from replicas, which may be behind; leave them out")
	}
	r.TLSConfig = o.tls(r.TLSConfig)
	r.CredentialsProviderContext = o.Credentials
	r.ContextTimeoutEnabled, r.DialerRetries = true, 1
	override(&r.DialTimeout, o.DialTimeout)
	override(&r.MaxRetries, o.MaxRetries)
	return redis.NewFailoverClient(r), nil
}

// tls is the configuration to use where the URL alone would give parsed.
func (o Options) tls(parsed *tls.Config) *tls.Config {
	if o.TLS == nil {
		return parsed
	}
	c := o.TLS.Clone()
	if c.ServerName == "" && parsed != nil {
		c.ServerName = parsed.ServerName
	}
	return c
}

func override[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}
