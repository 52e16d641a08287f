package pages_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ours is what a message begins with.
const ours = "[Slipstream] "

// ofSDK are the messages that a routed activity has as a plain one has: they are the SDK's, word for word.
var ofSDK = []string{
	"Activity complete after timeout.", "Activity error.", "Activity panic.", "Activity task postprocess error: ...", "RecordActivityHeartbeat with error",
}

// logLine is a message and its fields. What is known when it is written only is three dots.
type logLine struct{ level, message, fields string }

// Lines are in one style, which is that of the logger that they go to: the SDK's has tags like TaskQueue and RunID. Those
// that somebody should act on are in the table of docs/telemetry.md, with all of their fields.
func TestLogLinesAreThoseOfTheDocumentation(t *testing.T) {
	var said []logLine
	for _, line := range logLines(t) {
		if slices.Contains(ofSDK, line.message) {
			continue
		}
		message, found := strings.CutPrefix(line.message, ours)
		require.True(t, found, "%q begins otherwise than the others", line.message)
		for field := range strings.SplitSeq(line.fields, ", ") {
			assert.Regexp(t, "^(`[A-Z][A-Za-z]*`)?$", field, "a field of %q", line.message)
		}
		line.message = message
		if line.level == "Warn" || line.level == "Error" {
			said = append(said, line)
		}
	}
	require.ElementsMatch(t, said, documentedLines(t))
}

// documentedLines are the rows of the table.
func documentedLines(t *testing.T) (all []logLine) {
	t.Helper()
	_, table, found := strings.Cut(read(t, filepath.Join(root, "docs", "telemetry.md")), "\n| Level | Message | Fields | What to do |\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		require.Len(t, cells, 6, line)
		if strings.HasPrefix(cells[1], "--") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		require.NotEmpty(t, cells[4], "nothing to do about %s", cells[2])
		all = append(all, logLine{cells[1], strings.Trim(cells[2], "`"), cells[3]})
	}
	return all
}

// levels are a logger's methods.
var levels = []string{"Debug", "Info", "Warn", "Error"}

// logger is what a logger is called in this module.
var logger = regexp.MustCompile(`(^|\.)(log|logger|Logger|GetLogger\(\))$`)

// logLines are the lines that the library may write, from its source.
func logLines(t *testing.T) (all []logLine) {
	t.Helper()
	for _, dir := range []string{"activity", "batchqueue", "internal", "plugin", "workflow"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if call, ok := node.(*ast.CallExpr); ok {
					selector, ok := call.Fun.(*ast.SelectorExpr)
					if ok && slices.Contains(levels, selector.Sel.Name) && logger.MatchString(spelled(selector.X)) {
						all = append(all, logLine{selector.Sel.Name, textOf(call.Args[0]), fieldsOf(call.Args[1:])})
					}
				}
				return true
			})
			return nil
		}))
	}
	require.NotEmpty(t, all)
	return all
}

// spelled is an expression of names and calls, the latter without their arguments.
func spelled(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return spelled(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return spelled(e.Fun) + "()"
	}
	return "?"
}

// textOf is the text of a message.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil {
			return text
		}
	case *ast.BinaryExpr:
		return textOf(e.X) + textOf(e.Y)
	}
	return "..."
}

// fieldsOf are the names among keys and values. A variable that holds them is looked up.
func fieldsOf(args []ast.Expr) string {
	var names []string
	for i := 0; i < len(args); i += 2 {
		switch arg := args[i].(type) {
		case *ast.BasicLit:
			names = append(names, fmt.Sprintf("`%s`", textOf(arg)))
		case *ast.Ident:
			if made, ok := arg.Obj.Decl.(*ast.AssignStmt); ok {
				names = append(names, fieldsOf(made.Rhs[0].(*ast.CompositeLit).Elts))
			}
		case *ast.CallExpr:
			if spelled(arg.Fun) == "append" {
				names = append(names, fieldsOf(arg.Args[:1]), fieldsOf(arg.Args[1:]))
			} else { // a method that adds the activity's tags
				names = append(names, fieldsOf(arg.Args))
			}
		}
	}
	return strings.Join(names, ", ")
}
