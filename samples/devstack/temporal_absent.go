//go:build no_embedded_temporal

package devstack

import (
	"context"
	"errors"
)

// startEmbeddedTemporal fails. The server is most of a program that has it, so one that always connects to another,
// such as a worker in a container, is built without.
func startEmbeddedTemporal(context.Context, Options) (part, error) {
	return part{}, errors.New("devstack: this program was built without the embedded Temporal server (build tag no_embedded_temporal): name a running one with -temporal HOST:PORT")
}
