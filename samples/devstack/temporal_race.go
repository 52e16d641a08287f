//go:build race && !no_embedded_temporal

package devstack

import (
	"context"
	"fmt"
)

// startEmbeddedTemporal runs the server as a child process. Built with the race detector, a program would have to
// compile the whole Temporal server with it: many minutes, to look for races in somebody else's code.
func startEmbeddedTemporal(ctx context.Context, o Options) (part, error) {
	s, err := StartProcess(ctx, Options{NoRedis: true, TemporalFile: o.TemporalFile, TemporalPort: o.TemporalPort})
	if err != nil {
		return part{}, err
	}
	p := s.temporal
	p.describe = fmt.Sprintf("Temporal: dev server in a child process at %s, namespace %s", p.address, p.namespace)
	return p, nil
}
