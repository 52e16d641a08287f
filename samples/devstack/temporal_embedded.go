//go:build !race && !no_embedded_temporal

package devstack

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/temporal"
	"go.temporal.io/server/temporaltest"
)

// plenty is a limit per second that one machine does not reach.
const plenty = 1_000_000

// dynamicConfig makes the embedded server a fair one: what it does not do fast, it should not be able to do faster.
var dynamicConfig = dynamicconfig.StaticClient{
	// temporaltest's own setting, which setting any other would drop.
	dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key(): true,

	// The single history shard reads each of its queues at most 20 times a second by default, so that after a short
	// burst every activity and every signal waits about 40 ms for nothing else.
	dynamicconfig.TransferProcessorMaxPollRPS.Key():   10_000,
	dynamicconfig.TimerProcessorMaxPollRPS.Key():      10_000,
	dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): 10_000,

	// Quotas that protect the tenants of a cluster from each other. Plain activities run into them first.
	dynamicconfig.FrontendRPS.Key():                                         plenty,
	dynamicconfig.FrontendMaxNamespaceRPSPerInstance.Key():                  plenty,
	dynamicconfig.FrontendMaxConcurrentLongRunningRequestsPerInstance.Key(): plenty,
	dynamicconfig.FrontendPersistenceMaxQPS.Key():                           plenty,
	dynamicconfig.MatchingRPS.Key():                                         plenty,
	dynamicconfig.MatchingPersistenceMaxQPS.Key():                           plenty,
	dynamicconfig.HistoryRPS.Key():                                          plenty,
	dynamicconfig.HistoryPersistenceMaxQPS.Key():                            plenty,
}

// startEmbeddedTemporal runs a Temporal server in this process.
func startEmbeddedTemporal(ctx context.Context, o Options) (part, error) {
	if o.TemporalFile != "" {
		return startStoredTemporal(ctx, o)
	}
	server, err := newServer()
	if err != nil {
		return part{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	address, namespace := server.GetFrontendHostPort(), server.GetDefaultNamespace()
	if err := checkTemporal(ctx, address, namespace); err != nil {
		return part{}, errors.Join(err, stopServer(server))
	}
	return part{
		address:   address,
		namespace: namespace,
		describe:  fmt.Sprintf("Temporal: embedded dev server at %s, namespace %s", address, namespace),
		stop:      func() error { return stopServer(server) },
	}, nil
}

// newServer turns temporaltest's panics into errors: without a *testing.T it knows no other way to fail.
func newServer() (server *temporaltest.TestServer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("devstack: the embedded Temporal server did not start: %v; try again, or run against your own with -temporal HOST:PORT", r)
		}
	}()
	return temporaltest.NewServer(temporaltest.WithBaseServerOptions(temporal.WithDynamicConfigClient(dynamicConfig))), nil
}

// stopServer has the same reason: temporaltest reports a failed stop to the *testing.T that it does not have.
func stopServer(server *temporaltest.TestServer) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("devstack: the embedded Temporal server did not stop cleanly: %v", r)
		}
	}()
	server.Stop()
	return nil
}
