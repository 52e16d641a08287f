//go:build !race && !no_embedded_temporal

package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"

	"github.com/slipstream-go/slipstream/internal/freeport"
)

const (
	clusterName = "active"
	localhost   = "127.0.0.1"
)

// startStoredTemporal runs a Temporal server in this process that keeps its data in a file. temporaltest has none: its
// server is in memory, on any port, and named by chance.
func startStoredTemporal(ctx context.Context, o Options) (part, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	sql := &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: o.TemporalFile,
		// A write-ahead log, because a killed server must leave a file that the next one can go on with, and soon. It is
		// not synced with each commit: that would be for machines that lose their power.
		ConnectAttributes: map[string]string{"mode": "rwc", "journal_mode": "wal", "synchronous": "normal"},
	}
	if err := prepareStore(sql); err != nil {
		return part{}, fmt.Errorf("devstack: cannot prepare %s for the Temporal server: %w", o.TemporalFile, err)
	}
	hosts, err := serviceHosts(ctx, o.TemporalPort)
	if err != nil {
		return part{}, err
	}
	server, err := temporal.NewServer(
		temporal.WithConfig(storedConfig(sql, hosts)),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts), // a killed server would stay a member of its own cluster for a while
		temporal.WithLogger(log.NewNoopLogger()),
		temporal.WithDynamicConfigClient(dynamicConfig),
	)
	if err != nil {
		return part{}, fmt.Errorf("devstack: the Temporal server on %s: %w", o.TemporalFile, err)
	}
	if err := server.Start(); err != nil {
		return part{}, errors.Join(fmt.Errorf("devstack: the Temporal server on %s did not start: %w", o.TemporalFile, err), server.Stop())
	}
	address := hosts[primitives.FrontendService].Self
	if err := awaitTemporal(ctx, address, client.DefaultNamespace); err != nil {
		return part{}, errors.Join(err, server.Stop())
	}
	return part{
		address:   address,
		namespace: client.DefaultNamespace,
		describe:  fmt.Sprintf("Temporal: embedded dev server at %s, namespace %s, data in %s", address, client.DefaultNamespace, o.TemporalFile),
		stop:      server.Stop,
	}, nil
}

// prepareStore makes the file's tables and the namespace, where they are missing.
func prepareStore(sql *config.SQL) error {
	if _, err := os.Stat(sql.DatabaseName); errors.Is(err, os.ErrNotExist) {
		if err := sqlite.SetupSchema(sql); err != nil {
			return err
		}
	}
	namespace, err := sqlite.NewNamespaceConfig(clusterName, client.DefaultNamespace, false, nil)
	if err != nil {
		return err
	}
	return sqlite.CreateNamespaces(sql, namespace)
}

// serviceHosts gives each service of the server a port; frontendPort is that of the frontend, 0 for a free one.
func serviceHosts(ctx context.Context, frontendPort int) (map[primitives.ServiceName]static.Hosts, error) {
	hosts := make(map[primitives.ServiceName]static.Hosts, len(temporal.DefaultServices))
	for _, service := range temporal.DefaultServices {
		name, port := primitives.ServiceName(service), frontendPort
		if port == 0 || name != primitives.FrontendService {
			var err error
			if port, err = freeport.Find(ctx); err != nil {
				return nil, err
			}
		}
		hosts[name] = static.SingleLocalHost(net.JoinHostPort(localhost, strconv.Itoa(port)))
	}
	return hosts, nil
}

func storedConfig(sql *config.SQL, hosts map[primitives.ServiceName]static.Hosts) *config.Config {
	frontend := hosts[primitives.FrontendService].Self
	c := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     sqliteplugin.PluginName,
			VisibilityStore:  sqliteplugin.PluginName,
			NumHistoryShards: 1,
			DataStores:       map[string]config.DataStore{sqliteplugin.PluginName: {SQL: sql}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services:            make(map[string]config.Service, len(hosts)),
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
		}},
		PublicClient: config.PublicClient{HostPort: frontend},
	}
	for name, host := range hosts {
		_, port, _ := net.SplitHostPort(host.Self) // joined above
		number, _ := strconv.Atoi(port)
		c.Services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: number, BindOnIP: localhost}}
	}
	return c
}

// awaitTemporal returns once the server answers and has the namespace: after a crash it first takes its shard back.
func awaitTemporal(ctx context.Context, address, namespace string) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		err := checkTemporal(ctx, address, namespace)
		if err == nil || ctx.Err() != nil {
			return err
		}
		<-pause.C
	}
}
