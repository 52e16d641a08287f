// Package pages tests the repository's Markdown: what it shows as Go must stand in code
// that compiles, and its links must lead somewhere.
package pages_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// pages are those for users, with links and snippets.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return append(found, filepath.Join(root, "README.md"))
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

// Every block of Go in the pages stands in a Go file of the repository, which the compiler
// has seen: an Example as a rule. Indentation, blank lines and comments do not count, and a
// line with nothing but three dots stands for whatever there is.
func TestWhatPagesShowCompiles(t *testing.T) {
	sources := goFiles(t)
	for _, page := range pages(t) {
		for _, block := range blocks(read(t, page)) {
			assert.True(t, slices.ContainsFunc(sources, func(lines []string) bool { return contains(lines, block) }),
				"%s shows code that stands in no Go file; put it into an Example:\n\n%s", page, strings.Join(block, "\n"))
		}
	}
}

// fence is a block of Go, or of lines to add to some, and its indentation.
var fence = regexp.MustCompile("(?m)^( *)```(go|diff)\n((?s:.*?))^ *```$")

// blocks returns the lines of a page's blocks of Go.
func blocks(page string) (all [][]string) {
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		var lines []string
		for line := range strings.Lines(m[3]) {
			if m[2] == "diff" {
				if strings.HasPrefix(line, "-") {
					continue
				}
				line = strings.TrimLeft(line, "+ ")
			}
			lines = append(lines, line)
		}
		all = append(all, bare(lines))
	}
	return all
}

var (
	comment = regexp.MustCompile(`(^|\s)//.*$`)
	space   = regexp.MustCompile(`\s+`)
	// A program's main is an Example where it is compiled.
	program = strings.NewReplacer("func main() {", "func Example() {")
)

// bare takes out of lines what does not count.
func bare(lines []string) (out []string) {
	for _, line := range lines {
		line = comment.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		line = space.ReplaceAllString(strings.TrimSpace(line), " ")
		if line != "" {
			out = append(out, program.Replace(line))
		}
	}
	return out
}

// contains tells whether lines hold the block: its parts between elisions, in order.
func contains(lines, block []string) bool {
	for len(block) > 0 {
		part := block
		if i := slices.Index(block, "..."); i >= 0 {
			part, block = block[:i], block[i+1:]
		} else {
			block = nil
		}
		at := index(lines, part)
		if at < 0 {
			return false
		}
		lines = lines[at+len(part):]
	}
	return true
}

func index(lines, part []string) int {
	for i := 0; i+len(part) <= len(lines); i++ {
		if slices.Equal(lines[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}

// goFiles are the Go files of all modules, as bare lines.
func goFiles(t *testing.T) (all [][]string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case filepath.Ext(path) == ".go" && d.Type().IsRegular():
			all = append(all, bare(slices.Collect(strings.Lines(read(t, path)))))
		}
		return nil
	}))
	return all
}

// The finder of snippets does not find what is not there.
func TestChangedSnippetsAreNotFound(t *testing.T) {
	source := bare([]string{"func f() {", "\ta := 1 // one", "", "\tb := 2", "\treturn a + b", "}"})
	for block, found := range map[string]bool{
		"a := 1\nb := 2":                true,
		"func f() {\n...\nreturn a + b": true,
		"a := 1 // other words":         true,
		"a := 2":                        false,
		"b := 2\n...\na := 1":           false,
		"a := 1\nreturn a + b":          false,
	} {
		require.Equal(t, found, contains(source, bare(strings.Split(block, "\n"))), block)
	}
	require.Len(t, blocks("```go\na\n```\n\n   ```go\n   b\n   ```\n\n```diff\n-a\n+b\n c\n```\n\n```sh\nd\n```\n"), 3)
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links between pages lead to files and headings that are there.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range append(pages(t), filepath.Join(root, "DESIGN.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			assert.FileExists(t, path, "%s links to %s", page, m[1])
			if anchor != "" {
				assert.Contains(t, anchors(read(t, path)), anchor, "%s links to %s", page, m[1])
			}
		}
	}
}

var (
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	code    = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	dropped = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the names that GitHub gives to a page's headings.
func anchors(page string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(code.ReplaceAllString(page, ""), -1) {
		all = append(all, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// Alerts and dashboards link to these places.
func TestOperatingHasTheAnchorsOfAlerts(t *testing.T) {
	all := anchors(read(t, filepath.Join(root, "docs", "operating.md")))
	for _, anchor := range []string{"tasks-wait", "no-executors", "deliveries-fail", "dead-letters", "fallback", "redis-memory"} {
		others := slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a != anchor })
		require.Len(t, others, 1, "headings that make #%s", anchor)
	}
}
