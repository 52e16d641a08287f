package workflow_test

import (
	"testing"

	"go.temporal.io/sdk/log"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// What routing costs in workflow code: a worker rebuilds a run that made a hundred calls at
// once, of which some came back with the dispatch and others in signals. A history is replayed
// by the same code that made it, without Temporal and Redis.
func BenchmarkReplay(b *testing.B) {
	const calls = 100
	h := history(b, histories+"/protocol-3/fan_out.json")
	logger := log.NewStructuredLogger(discard())
	b.ReportAllocs()
	for b.Loop() {
		r := releases["marks A"].replayer(b)
		r.RegisterWorkflowWithOptions(fanOutWorkflow, sdkworkflow.RegisterOptions{Name: "FanOut"})
		if err := r.ReplayWorkflowHistory(logger, h); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/calls, "ns/call")
}
