package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

func startTemporal(ctx context.Context, o Options) (part, error) {
	if o.Temporal == "" {
		return startEmbeddedTemporal(ctx, o)
	}
	namespace := o.Namespace
	if namespace == "" {
		namespace = client.DefaultNamespace
	}
	ctx, cancel := context.WithTimeout(ctx, externalTimeout)
	defer cancel()
	if err := checkTemporal(ctx, o.Temporal, namespace); err != nil {
		return part{}, err
	}
	return part{
		address:   o.Temporal,
		namespace: namespace,
		describe:  fmt.Sprintf("Temporal: server at %s, namespace %s", o.Temporal, namespace),
	}, nil
}

// checkTemporal returns nil once the server answers and has the namespace.
func checkTemporal(ctx context.Context, address, namespace string) error {
	c, err := client.DialContext(ctx, client.Options{HostPort: address, Namespace: namespace, Logger: silent{}})
	if err != nil {
		return fmt.Errorf("devstack: no Temporal server answers at %s (%w): start it, or correct -temporal", address, err)
	}
	defer c.Close()
	_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	var missing *serviceerror.NamespaceNotFound
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("devstack: the Temporal server at %s has no namespace %q: create it (temporal operator namespace create -n %s), or name another with -namespace", address, namespace, namespace)
	case err != nil:
		return fmt.Errorf("devstack: cannot read namespace %q from the Temporal server at %s: %w", namespace, address, err)
	}
	return nil
}

func validateHostPort(address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("devstack: Temporal address %q is not HOST:PORT; write it like localhost:7233", address)
	}
	return nil
}

// silent drops what the SDK logs about connection checks: their errors are returned.
type silent struct{}

var _ log.Logger = silent{}

func (silent) Debug(string, ...any) {}
func (silent) Info(string, ...any)  {}
func (silent) Warn(string, ...any)  {}
func (silent) Error(string, ...any) {}
