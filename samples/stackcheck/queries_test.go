package stackcheck

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// query is an expression of the dashboard or of an alert.
type query struct {
	where string
	text  string
	expr  parser.Expr
}

// variables of Grafana are not PromQL until Grafana has put something in their place.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$pool", ".*", "$namespace", ".*")

func parseQuery(t *testing.T, where, text string) query {
	t.Helper()
	expr, err := parser.ParseExpr(variables.Replace(text))
	require.NoError(t, err, "%s: %s", where, text)
	return query{where, text, expr}
}

// used is what a query asks of a metric: labels that its series must have.
type used struct {
	metric string
	labels []string
}

// uses lists the metrics of a query, each with the labels that it is selected by and grouped by.
func (q query) uses() []used {
	var all []used
	parser.Inspect(q.expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		u := used{metric: selector.Name}
		for _, m := range selector.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				u.labels = append(u.labels, m.Name)
			}
		}
		for _, above := range path {
			if group, ok := above.(*parser.AggregateExpr); ok && !group.Without {
				u.labels = append(u.labels, group.Grouping...)
			}
		}
		all = append(all, u)
		return nil
	})
	return all
}

// grouping are the labels that the result of a query can have: those of its groups.
func (q query) grouping() []string {
	var all []string
	parser.Inspect(q.expr, func(node parser.Node, _ []parser.Node) error {
		if group, ok := node.(*parser.AggregateExpr); ok {
			all = append(all, group.Grouping...)
		}
		return nil
	})
	return all
}

// dashboard is what these tests read of a dashboard of Grafana.
type dashboard struct {
	UID    string
	Panels []struct {
		ID          int
		Type, Title string
		Description string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct{ List []struct{ Expr string } }
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(docker, "grafana/dashboards/slipstream.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(raw, &d))
	return d
}

var labelValues = regexp.MustCompile(`^label_values\((\w+(?:{.*})?), (\w+)\)$`)

// queries are all that the dashboard asks Prometheus for.
func (d dashboard) queries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			all = append(all, parseQuery(t, "panel "+panel.Title, target.Expr))
		}
	}
	for _, variable := range d.Templating.List {
		if variable.Type == "query" {
			parts := labelValues.FindStringSubmatch(variable.Definition)
			require.Len(t, parts, 3, "variable %s", variable.Name)
			all = append(all, parseQuery(t, "variable "+variable.Name, "count by ("+parts[2]+") ("+parts[1]+")"))
		}
	}
	for _, annotation := range d.Annotations.List {
		all = append(all, parseQuery(t, "annotation", annotation.Expr))
	}
	return all
}

// shown is what the dashboard must not lack.
var shown = []string{
	"slipstream_pool_depth", "slipstream_pool_oldest_age_seconds", "slipstream_pool_in_flight",
	"slipstream_claim_duration_seconds_bucket", "slipstream_handler_duration_seconds_bucket", "slipstream_delivery_duration_seconds_bucket",
	"slipstream_tasks_retried_total", "slipstream_tasks_reclaimed_total", "slipstream_tasks_dead_total",
	"slipstream_calls_dispatched_total", "slipstream_signals_total", "slipstream_breaker_open", "slipstream_executor_permits",
	"redis_memory_used_bytes",
}

func TestDashboard(t *testing.T) {
	d := loadDashboard(t)
	require.NotEmpty(t, d.UID)
	metrics := map[string]bool{}
	for _, q := range d.queries(t) {
		for _, u := range q.uses() {
			metrics[u.metric] = true
			q.requireNamespace(t, u)
		}
	}
	for _, metric := range shown {
		require.True(t, metrics[metric], "the dashboard does not show %s", metric)
	}

	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, panel := range d.Panels {
		require.False(t, ids[panel.ID], "two panels have the ID %d", panel.ID)
		ids[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				require.Less(t, x, 24, "%s is beside the grid", panel.Title)
				require.Empty(t, taken[[2]int{x, y}], "%s is over another panel", panel.Title)
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		require.NotEmpty(t, panel.Description, panel.Title)
		require.NotEmpty(t, panel.Targets, panel.Title)
		require.Equal(t, "${datasource}", panel.Datasource.UID, "%s fits one Grafana only", panel.Title)
		for _, target := range panel.Targets {
			requireLabels(t, panel.Title, regexp.MustCompile(`{{(\w+)}}`), target.LegendFormat, parseQuery(t, panel.Title, target.Expr))
		}
	}
}

// requireNamespace wants a metric of workers to be selected or grouped by the namespace: two may have pools of one name.
func (q query) requireNamespace(t *testing.T, u used) {
	t.Helper()
	switch {
	case strings.HasPrefix(u.metric, "slipstream_"):
		require.Contains(t, u.labels, "slipstream_namespace", "%s adds up namespaces: %s", q.where, q.text)
	case strings.HasPrefix(u.metric, "temporal_"):
		require.Contains(t, u.labels, "namespace", "%s adds up namespaces: %s", q.where, q.text)
		require.Regexp(t, `_seconds_(bucket|count|sum)$`, u.metric, "%s: counters of the SDK have a name in each of its metrics handlers", q.where)
	}
}

// requireLabels wants the labels that a text names to be those of the query's result.
func requireLabels(t *testing.T, where string, name *regexp.Regexp, text string, q query) {
	t.Helper()
	for _, match := range name.FindAllStringSubmatch(text, -1) {
		require.Contains(t, q.grouping(), match[1], "%s: %s has no such label", where, q.text)
	}
}
