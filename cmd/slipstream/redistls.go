package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/spf13/pflag"
)

// redisTLS are the files of a TLS connection to Redis that a URL has no place for.
type redisTLS struct{ ca, cert, key string }

func (r *redisTLS) register(f *pflag.FlagSet) {
	f.StringVar(&r.ca, "redis-tls-ca-path", "", "file of the CA certificate of a rediss:// server (SLIPSTREAM_REDIS_TLS_CA_PATH)")
	f.StringVar(&r.cert, "redis-tls-cert-path", "", "file of the client's certificate for Redis (SLIPSTREAM_REDIS_TLS_CERT_PATH)")
	f.StringVar(&r.key, "redis-tls-key-path", "", "file of the client's key for Redis (SLIPSTREAM_REDIS_TLS_KEY_PATH)")
}

// complete fills in what comes from the environment.
func (r *redisTLS) complete() {
	for name, to := range map[string]*string{"CA": &r.ca, "CERT": &r.cert, "KEY": &r.key} {
		if *to == "" {
			*to = os.Getenv("SLIPSTREAM_REDIS_TLS_" + name + "_PATH")
		}
	}
}

// config is nil where nothing was given.
func (r *redisTLS) config() (*tls.Config, error) {
	if *r == (redisTLS{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.ca != "" {
		raw, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, usage("CA certificate of Redis: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, usage("CA certificate of Redis: there is none in %s; give a file in PEM", r.ca)
		}
	}
	if (r.cert == "") != (r.key == "") {
		return nil, usage("--redis-tls-cert-path and --redis-tls-key-path belong together; give both")
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, usage("certificate for Redis: %v", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
