package stackcheck

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"
)

// docker is the folder that these tests are about.
const docker = "../../docker"

// loadCompose reads the compose file as Docker Compose does, services of all profiles included. That it loads says a
// lot by itself: it follows the schema, and what services depend on and mount is declared.
func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(docker, "compose.yaml")}, cli.WithProfiles([]string{"*"}))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, project.Services)
	return project
}

// noHealthCheck are the services that run on and have no health check, each for its reason.
var noHealthCheck = map[string]string{
	"otel-collector":    "nothing in its image could ask",
	"translate-worker":  "nothing in its image could ask, and nobody waits for it",
	"translate-starter": "it ends by itself",
}

func TestComposeImagesArePinned(t *testing.T) {
	for name, service := range loadCompose(t).Services {
		if service.Build != nil {
			require.FileExists(t, filepath.Join(service.Build.Context, service.Build.Dockerfile), name)
			continue
		}
		requirePinned(t, service.Image)
	}
}

// requirePinned wants a digest, or a tag that is never moved: one with a whole version.
func requirePinned(t *testing.T, image string) {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(image)
	require.NoError(t, err, image)
	if _, ok := named.(reference.Digested); ok {
		return
	}
	tagged, ok := named.(reference.Tagged)
	require.True(t, ok, "%s has neither tag nor digest", image)
	version := regexp.MustCompile(`^v?\d+\.\d+\.\d+(-[\w.]+)?$`)
	if reference.FamiliarName(named) == "postgres" { // whose versions have two numbers
		version = regexp.MustCompile(`^\d+\.\d+(-[\w.]+)?$`)
	}
	require.Regexp(t, version, tagged.Tag(), "the tag of %s may move", image)
}

func TestComposePortsAreForThisMachineOnly(t *testing.T) {
	published := 0
	for name, service := range loadCompose(t).Services {
		for _, port := range service.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, "%s publishes port %s to others", name, port.Published)
			published++
		}
	}
	require.NotZero(t, published)
}

func TestComposeServicesHaveHealthChecks(t *testing.T) {
	project := loadCompose(t)
	once := awaitedToEnd(project)
	for name, service := range project.Services {
		if once[name] || noHealthCheck[name] != "" {
			require.Nil(t, service.HealthCheck, "%s has one after all", name)
			continue
		}
		require.NotNil(t, service.HealthCheck, "%s has no health check", name)
		require.False(t, service.HealthCheck.Disable, name)
		require.Greater(t, len(service.HealthCheck.Test), 1, name)
		require.NotNil(t, service.HealthCheck.Interval, name)
		require.NotNil(t, service.HealthCheck.Timeout, name)
		require.NotNil(t, service.HealthCheck.Retries, name)
	}
}

// awaitedToEnd are the services that others wait for to end well.
func awaitedToEnd(project *types.Project) map[string]bool {
	once := map[string]bool{}
	for _, service := range project.Services {
		for name, dependency := range service.DependsOn {
			if dependency.Condition == types.ServiceConditionCompletedSuccessfully {
				once[name] = true
			}
		}
	}
	return once
}

// A dependency waits for what can happen, and "up --wait" ends: it takes the end of a service for a failure unless
// another service of the same profile waits for just that.
func TestComposeDependenciesCanBeMet(t *testing.T) {
	project := loadCompose(t)
	awaited := map[string]bool{}
	for name, service := range project.Services {
		for other, dependency := range service.DependsOn {
			target, ok := project.Services[other]
			require.True(t, ok, "%s depends on %s, which is not there", name, other)
			switch dependency.Condition {
			case types.ServiceConditionHealthy:
				require.NotNil(t, target.HealthCheck, "%s waits for the health of %s, which has no check", name, other)
			case types.ServiceConditionCompletedSuccessfully:
				require.True(t, strings.HasPrefix(target.Restart, "on-failure"), "%s waits for the end of %s, which would be restarted", name, other)
				if len(service.Profiles) == 0 {
					awaited[other] = true
				}
			case types.ServiceConditionStarted:
				require.Contains(t, noHealthCheck, other, "%s could wait for the health of %s", name, other)
			}
		}
	}
	for name := range awaitedToEnd(project) {
		require.True(t, awaited[name], "nothing without a profile waits for the end of %s", name)
	}
}

func TestComposeMountsExist(t *testing.T) {
	project := loadCompose(t)
	mounted := map[string]bool{}
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			switch volume.Type {
			case types.VolumeTypeVolume:
				require.NotEmpty(t, volume.Source, "%s has a volume without a name at %s", name, volume.Target)
				mounted[volume.Source] = true
			case types.VolumeTypeBind:
				_, err := os.Stat(volume.Source)
				require.NoError(t, err, name)
				require.True(t, volume.ReadOnly, "%s may write to %s", name, volume.Source)
			default:
				require.Fail(t, "unexpected mount", "%s: %s", name, volume.Type)
			}
		}
	}
	for name := range project.Volumes {
		require.True(t, mounted[name], "nobody uses volume %s", name)
	}
}

// What the library's check would complain about, of the server that everybody tries first.
func TestComposeRedisIsFitForTheQueue(t *testing.T) {
	command := strings.Join(loadCompose(t).Services["redis"].Command, " ")
	for _, setting := range []string{"--appendonly yes", "--maxmemory 512mb", "--maxmemory-policy noeviction"} {
		require.Contains(t, command, setting)
	}
}

// A server of Temporal and the tools that make its schema are one version.
func TestComposeTemporalIsOfOneVersion(t *testing.T) {
	services := loadCompose(t).Services
	_, server, _ := strings.Cut(services["temporal"].Image, ":")
	for _, name := range []string{"temporal-schema", "temporal-namespace"} {
		_, tools, _ := strings.Cut(services[name].Image, ":")
		require.Equal(t, server, tools, name)
	}
}
