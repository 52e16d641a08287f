package stackcheck

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
)

const dockerfile = docker + "/worker.Dockerfile"

// readDockerfile parses the Dockerfile as BuildKit does.
func readDockerfile(t *testing.T) []instructions.Stage {
	t.Helper()
	file, err := os.Open(dockerfile)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	parsed, err := parser.Parse(file)
	require.NoError(t, err)
	require.Empty(t, parsed.Warnings)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	require.NoError(t, err)
	require.Len(t, stages, 2, "one builds, the other is the image")
	return stages
}

// all are a stage's instructions of one kind.
func all[C instructions.Command](stage *instructions.Stage) []C {
	var found []C
	for _, command := range stage.Commands {
		if c, ok := command.(C); ok {
			found = append(found, c)
		}
	}
	return found
}

// one is the only instruction of a kind.
func one[C instructions.Command](t *testing.T, stage *instructions.Stage) C {
	t.Helper()
	found := all[C](stage)
	require.Len(t, found, 1)
	return found[0]
}

func TestDockerfileMakesASmallImageWithoutRoot(t *testing.T) {
	stages := readDockerfile(t)
	build, image := &stages[0], &stages[1]
	requirePinned(t, build.BaseName)
	requirePinned(t, image.BaseName)
	require.Contains(t, image.BaseName, "distroless/static")
	require.Empty(t, all[*instructions.RunCommand](image), "there is no shell")
	require.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, one[*instructions.UserCommand](t, image).User, "a number, so that Kubernetes can tell that it is not root")

	entry := one[*instructions.EntrypointCommand](t, image)
	require.False(t, entry.PrependShell, "a list, so that the worker itself gets the signals")
	program := one[*instructions.CopyCommand](t, image)
	require.Equal(t, build.Name, program.From)
	require.Len(t, entry.CmdLine, 1)
	require.Equal(t, program.DestPath, entry.CmdLine[0])
	require.Contains(t, one[*instructions.RunCommand](t, build).CmdLine[0], " -o "+program.SourcePaths[0]+" ")
}

func TestDockerfileBuildsWithThisGo(t *testing.T) {
	work, err := os.ReadFile(filepath.Join(docker, "../go.work"))
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(work)
	require.NotNil(t, version)
	require.True(t, strings.HasPrefix(readDockerfile(t)[0].BaseName, "golang:"+string(version[1])+"-"), "go.work wants Go %s", version[1])
}

// The build is run as far as that is cheap: everything is there that the package needs, without cgo and without the files
// that .dockerignore keeps out. TestEveryMetricExists builds and runs the program.
func TestDockerfileBuildFindsEverything(t *testing.T) {
	build := &readDockerfile(t)[0]
	copied := one[*instructions.CopyCommand](t, build)
	require.Equal(t, []string{"."}, copied.SourcePaths)
	require.Equal(t, ".", copied.DestPath)
	run := one[*instructions.RunCommand](t, build)
	require.NoError(t, run.Expand(func(word string) (string, error) { return word, nil })) // before it, mounts are not known
	var caches []string
	for _, mount := range instructions.GetMounts(run) {
		require.Equal(t, instructions.MountTypeCache, mount.Type)
		caches = append(caches, mount.Target)
	}
	require.Equal(t, []string{"/go/pkg/mod", "/root/.cache/go-build"}, caches)
	values := map[string]string{"TARGETOS": "linux", "TARGETARCH": "amd64"}
	for _, command := range all[*instructions.ArgCommand](build) {
		for _, arg := range command.Args {
			if arg.Value != nil {
				values[arg.Key] = *arg.Value
			}
			require.Contains(t, values, arg.Key, "BuildKit does not know it")
		}
	}
	sample := loadCompose(t).Services["translate-worker"].Build.Args
	require.Equal(t, values["PACKAGE"], *sample["PACKAGE"])
	require.Equal(t, values["TAGS"], *sample["TAGS"])
	command := strings.ReplaceAll(os.Expand(run.CmdLine[0], func(name string) string { return values[name] }), `"`, "")
	variables, arguments, ok := strings.Cut(strings.Join(strings.Fields(command), " "), " go build ")
	require.True(t, ok, command)
	require.Equal(t, "CGO_ENABLED=0 GOOS=linux GOARCH=amd64", variables)
	require.Equal(t, "-trimpath -ldflags=-s -w -tags=no_embedded_temporal -o /out/worker ./samples/translate", arguments)

	root, err := filepath.Abs(filepath.Dir(docker))
	require.NoError(t, err)
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags="+values["TAGS"], "-f", "{{.ImportPath}}\n"+
		"{{if and .Module .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}file {{$dir}}/{{.}}\n{{end}}{{range .EmbedFiles}}file {{$dir}}/{{.}}\n{{end}}file {{.Module.GoMod}}\n{{end}}", values["PACKAGE"])
	list.Dir = root
	list.Env = append(os.Environ(), strings.Fields(variables)...)
	out, err := list.CombinedOutput()
	require.NoError(t, err, "%s", out)
	ignored := ignorePatterns(t)
	files := 0
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		require.NotContains(t, lines.Text(), "go.temporal.io/server", "the tag leaves the Temporal server out")
		file, ok := strings.CutPrefix(lines.Text(), "file "+root+"/")
		if !ok {
			continue
		}
		files++
		left, err := ignored.MatchesOrParentMatches(file)
		require.NoError(t, err)
		require.False(t, left, ".dockerignore keeps %s out", file)
	}
	require.Greater(t, files, 100, "%s", out)
	for _, file := range []string{"go.work", "go.work.sum", "samples/go.sum", "cmd/slipstream/go.mod"} {
		left, err := ignored.MatchesOrParentMatches(file)
		require.NoError(t, err)
		require.False(t, left, ".dockerignore keeps %s out", file)
	}
	for _, file := range []string{".git/config", "samples/e2e/stack_test.go", "README.md", ".tmp/bin/translate"} {
		left, err := ignored.MatchesOrParentMatches(file)
		require.NoError(t, err)
		require.True(t, left, ".dockerignore lets %s in", file)
	}
}

func ignorePatterns(t *testing.T) *patternmatcher.PatternMatcher {
	t.Helper()
	file, err := os.Open(dockerfile + ".dockerignore")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	patterns, err := ignorefile.ReadAll(file)
	require.NoError(t, err)
	matcher, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	return matcher
}
