package activity

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func translate(context.Context, string) (string, error) { return "", nil }

type translator struct{}

func (*translator) Back(context.Context, string) (string, error) { return "", nil }
func (translator) Count(string) (int, error)                     { return 0, nil }

func generic[T any](context.Context, T) error { return nil }

func TestResolveNamesActivitiesAsTheSDKDoes(t *testing.T) {
	var a *translator
	got, err := Resolve([]Mark{
		{Activity: translate},
		{Activity: a.Back},
		{Activity: translator.Count, Pool: "cheap"},
		{Activity: "other-language"},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"translate": "", "Back": "", "Count": "cheap", "other-language": ""}, got)
}

func TestResolveRejectsNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		mark Mark
		want string
	}{
		"nil":          {Mark{}, "Activity is nil"},
		"nil function": {Mark{Activity: (func() error)(nil)}, "nil function"},
		"struct":       {Mark{Activity: &translator{}}, "(*activity.translator)(nil).Method"},
		"number":       {Mark{Activity: 7}, "int is no activity"},
		"empty name":   {Mark{Activity: ""}, "name is empty"},
		"long name":    {Mark{Activity: string(make([]byte, 1001))}, "Temporal allows 1000"},
		"literal":      {Mark{Activity: func() error { return nil }}, "function literal"},
		"generic":      {Mark{Activity: generic[int]}, "generic"},
		"our own":      {Mark{Activity: hostActivity}, "Slipstream's own"},
		"padded pool":  {Mark{Activity: "A", Pool: " x"}, "white space"},
		"long pool":    {Mark{Activity: "A", Pool: string(make([]byte, 1001))}, "at most 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Resolve([]Mark{{Activity: "fine"}, c.mark})
			require.ErrorContains(t, err, "mark 1: ")
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestResolveRejectsDuplicates(t *testing.T) {
	_, err := Resolve([]Mark{{Activity: translate}, {Activity: "translate", Pool: "p"}})
	require.ErrorContains(t, err, `mark 1: activity type "translate" is marked twice`)
}

func TestPoolNamesAreUnambiguous(t *testing.T) {
	require.Equal(t, "q", PoolName("q", "", ""))
	require.Equal(t, "q/p@b", PoolName("q", "p", "b"))
	seen := map[string][3]string{}
	parts := []string{"", "a", "a/b", "a@b", "b", "%2f", "/", "@", "%"}
	for _, q := range parts[1:] {
		for _, p := range parts {
			for _, b := range parts {
				name := PoolName(q, p, b)
				require.NotContains(t, seen, name, "%v and %v", seen[name], [3]string{q, p, b})
				seen[name] = [3]string{q, p, b}
			}
		}
	}
}

func TestMarksHaveWindows(t *testing.T) {
	got := Windows([]Mark{{Activity: translate}, {Activity: "slow", Window: -1}, {Activity: "own", Window: time.Second}}, 250*time.Millisecond)
	require.Equal(t, map[string]time.Duration{"translate": 250 * time.Millisecond, "slow": 0, "own": time.Second}, got)
}
