package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/contrib/envconfig"
)

// The settings of a connection, from the weakest place to the strongest: file, variables, flags.
func TestWhereTemporalSettingsComeFrom(t *testing.T) {
	const file = `
[profile.default]
address = "file:1"
namespace = "file"
api_key = "file"
[profile.default.tls]
client_cert_path = "file"
client_key_path = "file"
server_ca_cert_data = "file"
[profile.other]
address = "other:1"
`
	type settings = envconfig.ClientConfigProfile
	type tls = envconfig.ClientConfigTLS
	fromFile := settings{Address: "file:1", Namespace: "file", APIKey: "file",
		TLS: &tls{ClientCertPath: "file", ClientKeyPath: "file", ServerCACertData: []byte("file")}}
	variables := map[string]string{
		"TEMPORAL_ADDRESS": "variable:1", "TEMPORAL_NAMESPACE": "variable", "TEMPORAL_API_KEY": "variable",
		"TEMPORAL_TLS_CLIENT_CERT_PATH": "variable", "TEMPORAL_TLS_CLIENT_KEY_PATH": "variable", "TEMPORAL_TLS_SERVER_CA_CERT_DATA": "variable",
		"TEMPORAL_TLS_SERVER_NAME": "variable", "TEMPORAL_CODEC_ENDPOINT": "variable", "TEMPORAL_CODEC_AUTH": "variable",
	}
	fromVariables := settings{Address: "variable:1", Namespace: "variable", APIKey: "variable",
		TLS:   &tls{ClientCertPath: "variable", ClientKeyPath: "variable", ServerCACertData: []byte("variable"), ServerName: "variable"},
		Codec: &envconfig.ClientConfigCodec{Endpoint: "variable", Auth: "variable"}}
	old := map[string]string{"TEMPORAL_TLS_CERT": "old", "TEMPORAL_TLS_KEY": "old", "TEMPORAL_TLS_CA": "old"}
	oldData := map[string]string{"TEMPORAL_TLS_CERT_DATA": "old", "TEMPORAL_TLS_KEY_DATA": "old", "TEMPORAL_TLS_CA_DATA": "old"}
	flags := []string{"--address", "flag:1", "--namespace", "flag", "--api-key", "flag", "--tls-cert-data", "flag", "--tls-key-data", "flag",
		"--tls-ca-path", "flag", "--tls-server-name", "flag", "--codec-endpoint", "flag", "--codec-auth", "flag"}
	fromFlags := settings{Address: "flag:1", Namespace: "flag", APIKey: "flag",
		TLS:   &tls{ClientCertData: []byte("flag"), ClientKeyData: []byte("flag"), ServerCACertPath: "flag", ServerName: "flag"},
		Codec: &envconfig.ClientConfigCodec{Endpoint: "flag", Auth: "flag"}}
	both := func(a, b map[string]string) map[string]string {
		c := maps.Clone(a)
		maps.Copy(c, b)
		return c
	}

	for _, c := range []struct {
		name      string
		file      string
		variables map[string]string
		flags     []string
		want      settings
	}{
		{name: "nothing", want: settings{Address: defaultTemporal, Namespace: "default"}},
		{name: "file", file: file, want: fromFile},
		{name: "profile", file: file, variables: map[string]string{"TEMPORAL_PROFILE": "other"}, want: settings{Address: "other:1", Namespace: "default"}},
		{name: "profile by flag", file: file, flags: []string{"--profile", "other"}, want: settings{Address: "other:1", Namespace: "default"}},
		{name: "variables", variables: variables, want: fromVariables},
		{name: "variables over file", file: file, variables: variables, want: fromVariables},
		{name: "flags", flags: flags, want: fromFlags},
		{name: "flags over variables over file", file: file, variables: both(variables, old), flags: flags, want: fromFlags},
		{name: "old variables", variables: old, want: settings{Address: defaultTemporal, Namespace: "default",
			TLS: &tls{ClientCertPath: "old", ClientKeyPath: "old", ServerCACertPath: "old"}}},
		{name: "old variables over file", file: file, variables: oldData, want: settings{Address: "file:1", Namespace: "file", APIKey: "file",
			TLS: &tls{ClientCertData: []byte("old"), ClientKeyData: []byte("old"), ServerCACertData: []byte("old")}}},
		{name: "old variables over new", variables: both(variables, old), want: settings{Address: "variable:1", Namespace: "variable", APIKey: "variable",
			TLS: &tls{ClientCertPath: "old", ClientKeyPath: "old", ServerCACertPath: "old", ServerName: "variable"}, Codec: fromVariables.Codec}},
		{name: "no variables", file: file, variables: both(variables, old), flags: []string{"--disable-config-env"}, want: fromFile},
		{name: "no file", file: file, variables: variables, flags: []string{"--disable-config-file"}, want: fromVariables},
		{name: "neither", file: file, variables: both(variables, old), flags: []string{"--disable-config-env", "--disable-config-file"},
			want: settings{Address: defaultTemporal, Namespace: "default"}},
		{name: "TLS by variable", variables: map[string]string{"TEMPORAL_TLS": "true"}, want: settings{Address: defaultTemporal, Namespace: "default", TLS: &tls{}}},
		{name: "no TLS by flag", variables: map[string]string{"TEMPORAL_TLS": "true"}, flags: []string{"--tls=false"},
			want: settings{Address: defaultTemporal, Namespace: "default", TLS: &tls{Disabled: true}}},
		{name: "headers", variables: map[string]string{"TEMPORAL_GRPC_META_A_B": "variable", "TEMPORAL_GRPC_META_C": "variable"}, flags: []string{"--grpc-meta", "A_b=flag"},
			want: settings{Address: defaultTemporal, Namespace: "default", GRPCMeta: map[string]string{"a-b": "flag", "c": "variable"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "temporal.toml")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o600))
			t.Setenv("TEMPORAL_CONFIG_FILE", path)
			for name, value := range c.variables {
				t.Setenv(name, value)
			}
			require.Equal(t, c.want, strip(resolved(t, c.flags...).resolved))
		})
	}
}

// strip makes data that are empty nil.
func strip(p envconfig.ClientConfigProfile) envconfig.ClientConfigProfile {
	if p.TLS != nil {
		for _, data := range []*[]byte{&p.TLS.ClientCertData, &p.TLS.ClientKeyData, &p.TLS.ServerCACertData} {
			if len(*data) == 0 {
				*data = nil
			}
		}
	}
	return p
}

func resolved(t *testing.T, flags ...string) *temporalFlags {
	t.Helper()
	var f temporalFlags
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(set)
	require.NoError(t, set.Parse(flags))
	require.NoError(t, f.resolve())
	return &f
}

func TestWhatACodecServerIsAsked(t *testing.T) {
	asked := make(chan *http.Request, 1)
	codec := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(codec.Close)
	t.Setenv("TEMPORAL_NAMESPACE", "shop")
	o, err := resolved(t, "--codec-endpoint", codec.URL+"/{namespace}", "--codec-auth", "Bearer me",
		"--codec-header", "X-Team=orders", "--codec-header", "X-Note=a=b", "--codec-header", "Authorization=ignored").options()
	require.NoError(t, err)
	require.NoError(t, o.DataConverter.FromPayload(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("1")}, new(int)))
	r := <-asked
	require.Equal(t, "/shop/decode", r.URL.Path)
	for header, want := range map[string]string{"X-Namespace": "shop", "X-Team": "orders", "X-Note": "a=b", "Authorization": "Bearer me"} {
		require.Equal(t, want, r.Header.Get(header), header)
	}
}

// Without an endpoint there is no codec server: what only authorizes to one changes nothing.
func TestCodecWithoutEndpoint(t *testing.T) {
	o, err := resolved(t, "--codec-auth", "Bearer me").options()
	require.NoError(t, err)
	require.NoError(t, o.DataConverter.FromPayload(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("1")}, new(int)))
}
