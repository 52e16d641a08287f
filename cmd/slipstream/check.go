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
		Long: `Checks whether Redis can carry the queue, whether Temporal has what Slipstream needs, and whether the pools are
served. Each finding has a verdict: ok; warning: it works, but; error: it cannot work, or does not at present.

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
	return append(all, pools...), err
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
	judged := slices.ContainsFunc(out, func(f finding) bool { return f.Verdict == batchqueue.VerdictBad })
	if err != nil && !judged {
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
	rows, err := a.lookAll(ctx)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return []finding{{"pools", "known", "none", batchqueue.VerdictWarning,
			fmt.Sprintf("no worker with Slipstream has started in namespace %s on this Redis: are --namespace, --redis and --key-prefix those of the workers?", a.namespace())}}, nil
	}
	var out []finding
	for _, r := range rows {
		f := finding{"pool " + r.Pool, "served", fmt.Sprintf("%s by %s", r.State, plural(r.Executors, "executor")), batchqueue.VerdictGood, ""}
		switch waiting := r.Waiting + r.Delayed; {
		case r.Executors == 0 && waiting > 0:
			f.Verdict, f.Advice = batchqueue.VerdictBad, fmt.Sprintf("%s wait and nobody serves them: start a worker", plural(waiting, "task"))
		case r.Executors == 0:
			f.Verdict, f.Advice = batchqueue.VerdictWarning, "nobody serves it; nothing waits there"
		case r.State != "active":
			f.Verdict, f.Advice = batchqueue.VerdictWarning, "slipstream resume "+r.Pool+" ends it"
		}
		out = append(out, f)
		if r.DeadLetters > 0 {
			out = append(out, finding{"pool " + r.Pool, "dead letters", fmt.Sprint(r.DeadLetters), batchqueue.VerdictWarning,
				"slipstream dead list " + r.Pool + " shows which tasks took executors down"})
		}
	}
	return out, nil
}
