package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redisurl"
)

const (
	defaultRedis    = "redis://localhost:6379"
	defaultTemporal = "localhost:7233"
	// dialTimeout is how long a server may take to accept a connection.
	dialTimeout = 5 * time.Second
)

// temporalFlags are those that the Temporal CLI has for a connection, by its names.
type temporalFlags struct {
	set *pflag.FlagSet

	address, namespace, apiKey, authority string
	profile, configFile                   string
	noConfigFile, noConfigEnv             bool
	grpcMeta                              []string
	codecEndpoint, codecAuth              string
	codecHeader                           []string

	tls, tlsNoHostVerification      bool
	tlsServerName                   string
	tlsCertPath, tlsKeyPath, caPath string
	tlsCertData, tlsKeyData, caData string

	resolved     envconfig.ClientConfigProfile
	codecHeaders map[string]string // which a profile has no place for
}

func (t *temporalFlags) register(f *pflag.FlagSet) {
	t.set = f
	f.StringVar(&t.address, "address", "", "Temporal's address (TEMPORAL_ADDRESS, else "+defaultTemporal+")")
	f.StringVarP(&t.namespace, "namespace", "n", "", "Temporal's namespace (TEMPORAL_NAMESPACE, else default)")
	f.StringVar(&t.apiKey, "api-key", "", "API key for Temporal (TEMPORAL_API_KEY)")
	f.StringVar(&t.authority, "client-authority", "", "the :authority of requests to Temporal (TEMPORAL_CLIENT_AUTHORITY)")
	f.StringVar(&t.profile, "profile", "", "profile of the configuration file (TEMPORAL_PROFILE, else default)")
	f.StringVar(&t.configFile, "config-file", "", "the Temporal CLI's configuration file (TEMPORAL_CONFIG_FILE, else its own place)")
	f.BoolVar(&t.noConfigFile, "disable-config-file", false, "read no configuration file")
	f.BoolVar(&t.noConfigEnv, "disable-config-env", false, "read no TEMPORAL_ environment variables")
	f.StringArrayVar(&t.grpcMeta, "grpc-meta", nil, "header KEY=VALUE of requests to Temporal; may be repeated (TEMPORAL_GRPC_META_KEY)")
	f.StringVar(&t.codecEndpoint, "codec-endpoint", "", "codec server that decodes payloads (TEMPORAL_CODEC_ENDPOINT)")
	f.StringVar(&t.codecAuth, "codec-auth", "", "authorization header for the codec server (TEMPORAL_CODEC_AUTH)")
	f.StringArrayVar(&t.codecHeader, "codec-header", nil, "header KEY=VALUE of requests to the codec server; may be repeated")
	f.BoolVar(&t.tls, "tls", false, "use TLS to Temporal (TEMPORAL_TLS)")
	f.StringVar(&t.tlsCertPath, "tls-cert-path", "", "file of the client's certificate (TEMPORAL_TLS_CLIENT_CERT_PATH or TEMPORAL_TLS_CERT)")
	f.StringVar(&t.tlsCertData, "tls-cert-data", "", "the client's certificate itself (TEMPORAL_TLS_CLIENT_CERT_DATA or TEMPORAL_TLS_CERT_DATA)")
	f.StringVar(&t.tlsKeyPath, "tls-key-path", "", "file of the client's key (TEMPORAL_TLS_CLIENT_KEY_PATH or TEMPORAL_TLS_KEY)")
	f.StringVar(&t.tlsKeyData, "tls-key-data", "", "the client's key itself (TEMPORAL_TLS_CLIENT_KEY_DATA or TEMPORAL_TLS_KEY_DATA)")
	f.StringVar(&t.caPath, "tls-ca-path", "", "file of the server's CA certificate (TEMPORAL_TLS_SERVER_CA_CERT_PATH or TEMPORAL_TLS_CA)")
	f.StringVar(&t.caData, "tls-ca-data", "", "the server's CA certificate itself (TEMPORAL_TLS_SERVER_CA_CERT_DATA or TEMPORAL_TLS_CA_DATA)")
	f.StringVar(&t.tlsServerName, "tls-server-name", "", "name that the server's certificate must have (TEMPORAL_TLS_SERVER_NAME)")
	f.BoolVar(&t.tlsNoHostVerification, "tls-disable-host-verification", false, "trust any name in the server's certificate (TEMPORAL_TLS_DISABLE_HOST_VERIFICATION)")
}

// resolve reads profile and environment, and puts the flags that were given over them.
func (t *temporalFlags) resolve() error {
	if t.noConfigFile && t.noConfigEnv {
		t.resolved = envconfig.ClientConfigProfile{}
	} else {
		var err error
		t.resolved, err = envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{
			ConfigFilePath: t.configFile, ConfigFileProfile: t.profile,
			DisableFile: t.noConfigFile, DisableEnv: t.noConfigEnv,
		})
		if err != nil {
			return usage("read the settings of the Temporal client: %v", err)
		}
	}
	if !t.noConfigEnv {
		t.overByOldVariables()
	}
	p := &t.resolved
	t.over("address", &p.Address, t.address)
	t.over("namespace", &p.Namespace, t.namespace)
	t.over("api-key", &p.APIKey, t.apiKey)
	t.over("client-authority", &p.Authority, t.authority)
	if p.Address == "" {
		p.Address = defaultTemporal
	}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	meta, err := pairs("grpc-meta", t.grpcMeta)
	if err != nil {
		return err
	}
	for key, value := range meta {
		if p.GRPCMeta == nil {
			p.GRPCMeta = map[string]string{}
		}
		p.GRPCMeta[envconfig.NormalizeGRPCMetaKey(key)] = value
	}
	if t.codecHeaders, err = pairs("codec-header", t.codecHeader); err != nil {
		return err
	}
	if t.codecEndpoint != "" || t.codecAuth != "" {
		if p.Codec == nil {
			p.Codec = &envconfig.ClientConfigCodec{}
		}
		t.over("codec-endpoint", &p.Codec.Endpoint, t.codecEndpoint)
		t.over("codec-auth", &p.Codec.Auth, t.codecAuth)
	}
	t.overTLS()
	return nil
}

// pairs reads a flag that is given once for each KEY=VALUE.
func pairs(flag string, given []string) (map[string]string, error) {
	out := make(map[string]string, len(given))
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usage("--%s %q does not read KEY=VALUE", flag, pair)
		}
		out[key] = value
	}
	return out, nil
}

func (t *temporalFlags) over(flag string, to *string, value string) {
	if t.set.Changed(flag) {
		*to = value
	}
}

// overByOldVariables puts the variables that the Temporal CLI had before it had profiles over those that it has now, as
// the Temporal CLI does.
func (t *temporalFlags) overByOldVariables() {
	c := cmp.Or(t.resolved.TLS, &envconfig.ClientConfigTLS{})
	for _, p := range t.pems(c) {
		name := "TEMPORAL_TLS_" + strings.ToUpper(p.name)
		if path, data := os.Getenv(name), os.Getenv(name+"_DATA"); path != "" || data != "" {
			p.put(path, data)
			t.resolved.TLS = c
		}
	}
}

func (t *temporalFlags) overTLS() {
	given := false
	t.set.VisitAll(func(f *pflag.Flag) {
		given = given || (f.Changed && (f.Name == "tls" || strings.HasPrefix(f.Name, "tls-")))
	})
	if !given {
		return
	}
	c := cmp.Or(t.resolved.TLS, &envconfig.ClientConfigTLS{})
	t.resolved.TLS = c
	c.Disabled = t.set.Changed("tls") && !t.tls
	for _, p := range t.pems(c) {
		if t.set.Changed("tls-"+p.name+"-path") || t.set.Changed("tls-"+p.name+"-data") {
			p.put(p.flagPath, p.flagData)
		}
	}
	t.over("tls-server-name", &c.ServerName, t.tlsServerName)
	if t.set.Changed("tls-disable-host-verification") {
		c.DisableHostVerification = t.tlsNoHostVerification
	}
}

// pem is a certificate or a key: in a file, or its text. One excludes the other, so that either replaces both.
type pem struct {
	name               string
	flagPath, flagData string
	path               *string
	data               *[]byte
}

func (p pem) put(path, data string) { *p.path, *p.data = path, []byte(data) }

func (t *temporalFlags) pems(c *envconfig.ClientConfigTLS) []pem {
	return []pem{
		{"cert", t.tlsCertPath, t.tlsCertData, &c.ClientCertPath, &c.ClientCertData},
		{"key", t.tlsKeyPath, t.tlsKeyData, &c.ClientKeyPath, &c.ClientKeyData},
		{"ca", t.caPath, t.caData, &c.ServerCACertPath, &c.ServerCACertData},
	}
}

// options are what a client is made with. Its data converter decodes by the codec server, if there is one.
func (t *temporalFlags) options() (client.Options, error) {
	o, err := t.resolved.ToClientOptions(envconfig.ToClientOptionsRequest{})
	if err != nil {
		return o, usage("settings of the Temporal client: %v", err)
	}
	o.DataConverter = converter.GetDefaultDataConverter()
	if codec := t.resolved.Codec; codec != nil && codec.Endpoint != "" {
		o.DataConverter = converter.NewRemoteDataConverter(o.DataConverter, converter.RemoteDataConverterOptions{
			Endpoint: strings.ReplaceAll(codec.Endpoint, "{namespace}", t.resolved.Namespace),
			ModifyRequest: func(r *http.Request) error {
				r.Header.Set("X-Namespace", t.resolved.Namespace)
				for key, value := range t.codecHeaders {
					r.Header.Set(key, value)
				}
				if codec.Auth != "" {
					r.Header.Set("Authorization", codec.Auth)
				}
				return nil
			},
		})
	}
	return o, nil
}

// complete fills in what comes from the environment.
func (a *app) complete() error {
	if a.flags.redis == "" {
		a.flags.redis = os.Getenv("SLIPSTREAM_REDIS")
	}
	if a.flags.redis == "" {
		a.flags.redis = defaultRedis
	}
	a.flags.redisTLS.complete()
	if a.flags.keyPrefix == "" {
		a.flags.keyPrefix = os.Getenv("SLIPSTREAM_KEY_PREFIX")
	}
	return a.flags.temporal.resolve()
}

// redisAddress is Redis's address without what must not be shown.
func (a *app) redisAddress() string {
	u, err := url.Parse(a.flags.redis)
	if err != nil {
		return "an address that is not a URL"
	}
	if q := u.Query(); q.Has("password") { // the master's, where the host is a Sentinel
		q.Set("password", "xxxxx")
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

func (a *app) temporalAddress() string { return a.flags.temporal.resolved.Address }

func (a *app) namespace() string { return a.flags.temporal.resolved.Namespace }

// redis returns the connection; it is made at the first call.
func (a *app) redis() (redis.UniversalClient, error) {
	if a.rdb != nil {
		return a.rdb, nil
	}
	o := redisurl.Options{DialTimeout: dialTimeout}
	var err error
	if o.TLS, err = a.flags.redisTLS.config(); err != nil {
		return nil, err
	}
	rdb, err := redisurl.Open(a.flags.redis, o)
	if err != nil {
		return nil, usage("Redis URL %s: %v; write it as %s", a.redisAddress(), err, redisurl.Forms)
	}
	a.rdb = rdb
	return a.rdb, nil
}

// queue returns the queue as it is where no pool is in question.
func (a *app) queue() (*batchqueue.Queue, error) { return a.queueWith(0) }

// queueWith returns the queue as processes see it whose pools have so many slots.
func (a *app) queueWith(slots int) (*batchqueue.Queue, error) {
	rdb, err := a.redis()
	if err != nil {
		return nil, err
	}
	return batchqueue.New(rdb, batchqueue.Options{Namespace: a.namespace(), KeyPrefix: a.flags.keyPrefix, Slots: slots})
}

// pool is a pool and the queue to look at it with: where runs live in a pool without a stored configuration depends on
// the slots that its workers assume.
type pool struct {
	name string
	q    *batchqueue.Queue
}

// pools returns the named pools, or all without a name.
func (a *app) pools(ctx context.Context, names ...string) ([]pool, error) {
	q, err := a.queue()
	if err != nil {
		return nil, err
	}
	listed, err := q.Pools(ctx)
	if err != nil {
		return nil, err
	}
	slots := make(map[string]int, len(listed))
	all := make([]string, 0, len(listed))
	for _, l := range listed {
		slots[l.Name] = l.Slots
		all = append(all, l.Name)
	}
	if len(names) == 0 {
		names = all
	}
	out := make([]pool, 0, len(names))
	for _, name := range names {
		if slots[name] == 0 {
			return nil, a.unknownPool(name, all)
		}
		q, err := a.queueWith(slots[name])
		if err != nil {
			return nil, err
		}
		out = append(out, pool{name, q})
	}
	return out, nil
}

func (a *app) unknownPool(name string, known []string) error {
	if len(known) == 0 {
		return notFound("there is no pool %q: no worker with Slipstream has started in namespace %q on this Redis within 30 days; are --namespace, --redis and --key-prefix those of the workers?", name, a.namespace())
	}
	return notFound("there is no pool %q in namespace %q; there are: %s", name, a.namespace(), strings.Join(known, ", "))
}

// pool returns one pool by its name.
func (a *app) pool(ctx context.Context, name string) (pool, error) {
	pools, err := a.pools(ctx, name)
	if err != nil {
		return pool{}, err
	}
	return pools[0], nil
}

// client returns the connection to Temporal; it is made at the first call.
func (a *app) client(ctx context.Context) (client.Client, error) {
	if a.temporal != nil {
		return a.temporal, nil
	}
	o, err := a.flags.temporal.options()
	if err != nil {
		return nil, err
	}
	o.Logger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	c, err := client.DialContext(ctx, o)
	if err != nil {
		return nil, &coded{errUnreachable, fmt.Sprintf("connect to Temporal at %s: %v", a.temporalAddress(), err)}
	}
	a.temporal = c
	return c, nil
}

// close ends what the command began.
func (a *app) close() {
	if a.rdb != nil {
		_ = a.rdb.Close()
	}
	if a.temporal != nil {
		a.temporal.Close()
	}
	for _, end := range a.closers {
		end()
	}
}
