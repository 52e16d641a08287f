package stackcheck

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// operating is the page that alerts link to; runbooks are its parts for them.
const operating = "docs/operating.md"

var runbooks = []string{"tasks-wait", "no-executors", "deliveries-fail", "dead-letters", "fallback", "redis-memory"}

type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func loadAlerts(t *testing.T) []alert {
	t.Helper()
	var rules struct{ Groups []struct{ Rules []alert } }
	readYAML(t, "prometheus/alerts.yaml", &rules)
	require.Len(t, rules.Groups, 1)
	require.NotEmpty(t, rules.Groups[0].Rules)
	return rules.Groups[0].Rules
}

func alertQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, a := range loadAlerts(t) {
		all = append(all, parseQuery(t, "alert "+a.Alert, a.Expr))
	}
	return all
}

func TestAlerts(t *testing.T) {
	names, linked := map[string]bool{}, map[string]bool{}
	for _, a := range loadAlerts(t) {
		require.True(t, strings.HasPrefix(a.Alert, "Slipstream"), "the dashboard shows no alert of the name %s", a.Alert)
		require.False(t, names[a.Alert], "two alerts are called %s", a.Alert)
		names[a.Alert] = true
		if a.For != "" {
			_, err := model.ParseDuration(a.For)
			require.NoError(t, err, a.Alert)
		}
		require.Contains(t, []string{"warning", "critical"}, a.Labels["severity"], a.Alert)
		require.NotEmpty(t, a.Annotations["summary"], a.Alert)
		q := parseQuery(t, a.Alert, a.Expr)
		for _, u := range q.uses() {
			q.requireNamespace(t, u)
		}
		parser.Inspect(q.expr, func(node parser.Node, _ []parser.Node) error {
			if call, ok := node.(*parser.Call); ok {
				require.NotContains(t, call.Func.Name, "absent", "%s fires where no worker ever ran", a.Alert)
			}
			return nil
		})
		for _, text := range a.Annotations {
			requireLabels(t, a.Alert, regexp.MustCompile(`\$labels\.(\w+)`), text, q)
		}

		page, anchor, _ := strings.Cut(a.Annotations["runbook_url"], "#")
		require.Equal(t, "https://github.com/slipstream-go/slipstream/blob/main/"+operating, page, a.Alert)
		require.Contains(t, runbooks, anchor, a.Alert)
		linked[anchor] = true
	}
	require.Len(t, linked, len(runbooks), "a runbook without an alert")
}

// The parts that alerts link to are there, under the names that GitHub makes of headings.
func TestRunbooksExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docker, "..", operating))
	require.NoError(t, err)
	var anchors []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(page), -1) {
		anchors = append(anchors, strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-"))
	}
	require.Subset(t, anchors, runbooks)
}

// The page has the query of each alert, in the part that the alert links to.
func TestRunbooksHaveTheQueriesOfTheirAlerts(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docker, "..", operating))
	require.NoError(t, err)
	parts := map[string]string{}
	for _, part := range strings.Split(string(page), "\n### ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		parts[strings.ReplaceAll(strings.ToLower(heading), " ", "-")] = oneLine(text)
	}
	for _, a := range loadAlerts(t) {
		_, anchor, _ := strings.Cut(a.Annotations["runbook_url"], "#")
		require.Contains(t, parts[anchor], oneLine(a.Expr), a.Alert)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
