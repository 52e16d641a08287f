package activity

import (
	"reflect"
	"sync"

	sdkworkflow "go.temporal.io/sdk/workflow"
)

// Where worker versioning is on, a run is pinned to the build that dispatches for it, or
// Temporal moves it to the build that is current. Which one holds is what the worker
// reports with each workflow task: the behavior that the workflow was registered with,
// else the worker's default. The SDK shows it nowhere else, so it is looked up here, by
// the SDK's rules.
//
// Of an override that somebody set for a run nothing is known here: its tasks go where
// those of its type go. Legacy build IDs (Options.UseBuildIDForVersioning) say nothing
// about moving, and are taken for pinned: which builds are compatible stands in rules
// that only the server has.

// behaviors are those of a worker's workflow types.
type behaviors struct {
	mu      sync.Mutex
	types   map[string]sdkworkflow.VersioningBehavior
	aliases map[string]string // function name -> registered name
	dynamic func(sdkworkflow.LoadDynamicRuntimeOptionsDetails) (sdkworkflow.DynamicRuntimeOptions, error)
}

func newBehaviors() *behaviors {
	return &behaviors{types: map[string]sdkworkflow.VersioningBehavior{}, aliases: map[string]string{}}
}

func (b *behaviors) add(workflow any, o sdkworkflow.RegisterOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := o.Name
	if reflect.ValueOf(workflow).Kind() == reflect.Func {
		own := functionName(workflow)
		if name == "" {
			name = own
		} else {
			b.aliases[own] = name
		}
	}
	b.types[name] = o.VersioningBehavior
}

func (b *behaviors) addDynamic(o sdkworkflow.DynamicRegisterOptions) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dynamic = o.LoadDynamicRuntimeOptions
}

// of returns the behavior that was registered for the type; not ok means the default.
func (b *behaviors) of(workflowType string, aliasing bool) (behavior sdkworkflow.VersioningBehavior, ok bool) {
	b.mu.Lock()
	name := workflowType
	if alias, known := b.aliases[name]; known && aliasing {
		name = alias
	}
	behavior, registered := b.types[name]
	dynamic := b.dynamic
	b.mu.Unlock()
	switch {
	case registered:
		return behavior, behavior != sdkworkflow.VersioningBehaviorUnspecified
	case dynamic == nil:
		return behavior, false
	}
	o, err := dynamic(sdkworkflow.LoadDynamicRuntimeOptionsDetails{WorkflowType: sdkworkflow.Type{Name: workflowType}})
	return o.VersioningBehavior, err == nil
}

// unpinned tells whether Temporal moves runs of the type to newer builds.
func (w *Worker) unpinned(workflowType string) bool {
	if !w.deployed {
		return false
	}
	behavior, ok := w.behaviors.of(workflowType, !w.options.DisableRegistrationAliasing)
	if !ok {
		behavior = w.options.DeploymentOptions.DefaultVersioningBehavior
	}
	return behavior == sdkworkflow.VersioningBehaviorAutoUpgrade
}
