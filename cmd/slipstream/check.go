package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// finding is one thing that was looked at.
type finding struct {
	Of      string             `json:"of"` // redis, temporal, or the pool
	Setting string             `json:"setting"`
	Found   string             `json:"found"`
	Verdict batchqueue.Verdict `json:"verdict"`
	Advice  string             `json:"advice,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the settings of Redis, of Temporal and of the pools",
		Long: `Checks whether Redis can carry the queue and has memory left, whether Temporal has what Slipstream needs, and whether
the pools are served, their tasks do not wait for long, their outcomes leave, and there are no dead letters. Each
finding has a verdict: ok; warning: it works, but; error: it cannot work, or does not for long.

The exit code is 1 if a verdict is error.`,
		Args: takes(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			findings, err := a.check(c.Context())
			if err != nil {
				return err
			}
			if err := a.show(findings, func(w io.Writer) { writeFindings(w, findings) }); err != nil {
				return err
			}
			bad := 0
			for _, f := range findings {
				if f.Verdict == batchqueue.VerdictBad {
					bad++
				}
			}
			if bad > 0 {
				return fmt.Errorf("%s must be mended", plural(bad, "setting"))
			}
			return nil
		},
	}
}

func writeFindings(w io.Writer, findings []finding) {
	row(w, "OF", "SETTING", "FOUND", "VERDICT")
	for _, f := range findings {
		row(w, f.Of, f.Setting, f.Found, string(f.Verdict))
	}
	first := true
	for _, f := range findings {
		if f.Advice == "" {
			continue
		}
		if first {
			fmt.Fprintln(w)
			first = false
		}
		fmt.Fprintf(w, "%s: %s %s: %s.\n", f.Verdict, f.Of, f.Setting, strings.TrimRight(f.Advice, ".?"))
	}
}

func (a *app) check(ctx context.Context) ([]finding, error) {
	redis, up, err := a.checkRedis(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(redis, a.checkTemporal(ctx))
	if !up {
		return all, nil
	}
	pools, err := a.checkPools(ctx)
	if err != nil { // what was found before must not be lost
		pools = []finding{{"pools", "known", "not readable", batchqueue.VerdictBad, err.Error()}}
	}
	return append(all, pools...), nil
}

// checkRedis also tells whether the server answers.
func (a *app) checkRedis(ctx context.Context) (out []finding, up bool, err error) {
	q, err := a.queue()
	if err != nil {
		return nil, false, err
	}
	r, err := q.Check(ctx)
	for _, f := range r.Findings {
		out = append(out, finding{"redis", f.Setting, f.Found, f.Verdict, f.Advice})
	}
	if r.Embedded {
		out = append(out, finding{"redis", "server", "an in-process stand-in", batchqueue.VerdictWarning, "it is for tests: use a Redis of 7.0 or newer"})
	}
	judged := func(f finding) bool {
		return f.Verdict == batchqueue.VerdictBad && strings.Contains(err.Error(), f.Advice)
	}
	if err != nil && !slices.ContainsFunc(out, judged) {
		out = append(out, finding{"redis", "answers", "not at " + a.redisAddress(), batchqueue.VerdictBad, strings.TrimPrefix(err.Error(), "check redis: ")})
	}
	return out, len(r.Findings) > 0, nil
}

// checkTemporal makes findings of all that goes wrong.
func (a *app) checkTemporal(ctx context.Context) []finding {
	of := func(setting, found string, verdict batchqueue.Verdict, advice string) finding {
		return finding{"temporal", setting, found, verdict, advice}
	}
	away := func(err error) []finding {
		return []finding{of("answers", "not at "+a.temporalAddress(), batchqueue.VerdictBad, err.Error()+"; look at --address, TLS and the API key")}
	}
	c, err := a.client(ctx)
	if err != nil {
		return away(err)
	}
	began := time.Now()
	info, err := c.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		return away(err)
	}
	out := []finding{
		of("answers", fmt.Sprintf("in %v", time.Since(began).Round(10*time.Microsecond)), batchqueue.VerdictGood, ""),
		of("version", info.GetServerVersion(), batchqueue.VerdictGood, ""),
	}
	namespace, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: a.namespace()})
	var none *serviceerror.NamespaceNotFound
	switch {
	case errors.As(err, &none):
		return append(out, of("namespace", a.namespace()+" does not exist", batchqueue.VerdictBad,
			"give the workers' namespace by --namespace, or create it (temporal operator namespace create)"))
	case err != nil:
		return append(out, of("namespace", "not readable", batchqueue.VerdictWarning, "describing namespace "+a.namespace()+" failed: "+err.Error()))
	}
	out = append(out, of("namespace", a.namespace(), batchqueue.VerdictGood, ""))
	return append(out, payloadLimit(namespace)...)
}

// defaultPayload is plugin.Options.MaxPayloadBytes by default, the server's default limit.
const defaultPayload = 2 << 20

// payloadLimit compares the namespace's limit with what the plugin assumes.
func payloadLimit(n *workflowservice.DescribeNamespaceResponse) []finding {
	limit := n.GetNamespaceInfo().GetLimits().GetBlobSizeLimitError()
	switch {
	case limit == 0: // an older server does not say
		return nil
	case limit < defaultPayload:
		return []finding{{"temporal", "payload limit", size(limit), batchqueue.VerdictWarning,
			fmt.Sprintf("it is lower than the plugin assumes: set plugin.Options.MaxPayloadBytes to %d", limit)}}
	}
	return []finding{{"temporal", "payload limit", size(limit), batchqueue.VerdictGood, ""}}
}

func (a *app) checkPools(ctx context.Context) ([]finding, error) {
	pools, err := a.pools(ctx)
	if err != nil {
		return nil, err
	}
	if len(pools) == 0 {
		return []finding{{"pools", "known", "none", batchqueue.VerdictWarning,
			fmt.Sprintf("no worker with Slipstream has started in namespace %s on this Redis: are --namespace, --redis and --key-prefix those of the workers?", a.namespace())}}, nil
	}
	var out []finding
	for _, p := range pools {
		findings, err := p.check(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, findings...)
	}
	return out, nil
}

const (
	// longWait is how long a task may wait in a pool with executors before somebody should look.
	longWait = 10 * time.Minute
	// outboxShare is the part of an outbox's limits from which on somebody should.
	outboxShare = 0.8
)

func (p pool) check(ctx context.Context) ([]finding, error) {
	r, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	of := func(setting, found string, verdict batchqueue.Verdict, advice string) finding {
		return finding{"pool " + p.name, setting, found, verdict, advice}
	}
	served := of("served", fmt.Sprintf("%s by %s", r.State, plural(r.Executors, "executor")), batchqueue.VerdictGood, "")
	switch waiting := r.Waiting + r.Delayed; {
	case r.Executors == 0 && waiting > 0:
		served.Verdict, served.Advice = batchqueue.VerdictBad, fmt.Sprintf("%s wait and nobody serves them: start a worker", plural(waiting, "task"))
	case r.Executors == 0:
		served.Verdict, served.Advice = batchqueue.VerdictWarning, "nobody serves it; nothing waits there"
	case r.State != "active":
		served.Verdict, served.Advice = batchqueue.VerdictWarning, "slipstream resume "+p.name+" ends it"
	}
	out := []finding{served}
	if r.Executors > 0 && r.oldest > longWait {
		out = append(out, of("oldest task", "has waited for "+age(r.oldest), batchqueue.VerdictWarning,
			"executors do not keep up, or none takes its type: slipstream stats "+p.name+" shows the types, slipstream executors "+p.name+" who takes them"))
	}
	found, err := p.fullOutbox(ctx, r)
	if err != nil {
		return nil, err
	}
	if found != "" {
		out = append(out, of("outbox", found, batchqueue.VerdictWarning,
			"beyond that nothing is claimed there: Temporal does not take outcomes as fast as they come, and the workers' log (deliveries fail) says why"))
	}
	if r.DeadLetters > 0 {
		out = append(out, of("dead letters", fmt.Sprint(r.DeadLetters), batchqueue.VerdictWarning,
			"slipstream dead list "+p.name+" shows which tasks took executors down"))
	}
	return out, nil
}

// fullOutbox says what the first slot has whose outbox is near its limits; "" if none is.
func (p pool) fullOutbox(ctx context.Context, r poolRow) (string, error) {
	near := func(s batchqueue.Stats) bool {
		return float64(s.Outbox) >= outboxShare*float64(r.config.OutboxLimit) || float64(s.OutboxBytes) >= outboxShare*float64(r.config.OutboxBytes)
	}
	if !near(r.stats) { // then no slot is
		return "", nil
	}
	for slot := range r.config.MaxSlots() {
		s, err := p.q.StatsOf(ctx, p.name, []int{slot})
		if err != nil {
			return "", err
		}
		if near(s) {
			return fmt.Sprintf("%d of %d outcomes, %s of %s in slot %d", s.Outbox, r.config.OutboxLimit, size(s.OutboxBytes), size(int64(r.config.OutboxBytes)), slot), nil
		}
	}
	return "", nil
}
