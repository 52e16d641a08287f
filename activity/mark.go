package activity

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"time"
)

// Mark names an activity whose calls go through the queue.
type Mark struct {
	// Activity is the activity's function, a method value (a.Translate, where a may be
	// a nil pointer) or its registered name. An activity that is registered under a name
	// of its own must be marked by that name.
	Activity any
	// Pool is the name of a pool of its own, to keep slow or limited activities apart
	// from the rest. Default: the task queue's common pool.
	Pool string
	// Window is how long a workflow task may wait for this activity's results. Default:
	// the plugin's Options.Window; at most 2.5 s, negative means not at all.
	Window time.Duration
}

// MaxWindow is the longest window: a quarter of the default workflow task time-out.
const MaxWindow = 2500 * time.Millisecond

// Windows returns the window of each marked type, given the one of marks that set none.
// The marks must be such that Resolve finds no fault with them.
func Windows(marks []Mark, otherwise time.Duration) map[string]time.Duration {
	windows := make(map[string]time.Duration, len(marks))
	for _, m := range marks {
		name, _ := typeName(m.Activity)
		if windows[name] = max(0, m.Window); m.Window == 0 {
			windows[name] = otherwise
		}
	}
	return windows
}

// maxNameLength is Temporal's limit for type names, and a sane one for pool names.
const maxNameLength = 1000

// Resolve returns the marked activity type names and the pool of each. Its errors name
// the mark by its index and say what to write instead.
func Resolve(marks []Mark) (map[string]string, error) {
	pools := make(map[string]string, len(marks))
	var errs []error
	for i, m := range marks {
		name, err := typeName(m.Activity)
		if err == nil {
			err = checkPoolName(m.Pool)
		}
		if err == nil && m.Window > MaxWindow {
			err = fmt.Errorf("Window is %v; the most is %v, a quarter of the workflow task time-out", m.Window, MaxWindow)
		}
		if err == nil {
			if _, twice := pools[name]; twice {
				err = fmt.Errorf("activity type %q is marked twice; keep one mark", name)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mark %d: %w", i, err))
			continue
		}
		pools[name] = m.Pool
	}
	return pools, errors.Join(errs...)
}

func typeName(activity any) (string, error) {
	if name, ok := activity.(string); ok {
		switch {
		case name == "":
			return "", errors.New("the activity name is empty; give the registered name or the function")
		case len(name) > maxNameLength:
			return "", fmt.Errorf("the activity name has %d bytes, Temporal allows %d", len(name), maxNameLength)
		case name == hostActivity:
			return "", fmt.Errorf("%q is Slipstream's own activity", name)
		}
		return name, nil
	}
	v := reflect.ValueOf(activity)
	switch {
	case !v.IsValid():
		return "", errors.New("Activity is nil; give an activity function, a method value or a registered name")
	case v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct:
		return "", fmt.Errorf("%T is a struct; mark its methods one by one, as in (%T)(nil).Method", activity, activity)
	case v.Kind() != reflect.Func:
		return "", fmt.Errorf("%T is no activity; give an activity function, a method value or a registered name", activity)
	case v.IsNil():
		return "", errors.New("Activity is a nil function; give an activity function, a method value or a registered name")
	}
	name := functionName(activity)
	switch {
	case isLiteralName(name):
		return "", fmt.Errorf("the function literal has the unstable name %q; mark it by the name it is registered under", name)
	case strings.HasSuffix(name, "]"): // the SDK makes "]" of Generic[...]
		return "", errors.New("a generic function has no name of its own; mark it by the name it is registered under")
	}
	return name, nil
}

// functionName is the SDK's rule for the type name of a function: what follows the last
// dot, without the suffix that the compiler adds to method values.
func functionName(f any) string {
	full := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return strings.TrimSuffix(full[strings.LastIndexByte(full, '.')+1:], "-fm")
}

// isLiteralName tells the compiler's names for function literals: func1, 2 (nested).
func isLiteralName(name string) bool {
	digits := strings.TrimPrefix(name, "func")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func checkPoolName(pool string) error {
	switch {
	case len(pool) > maxNameLength:
		return fmt.Errorf("the pool name has %d bytes, at most %d are allowed", len(pool), maxNameLength)
	case strings.TrimSpace(pool) != pool:
		return fmt.Errorf("the pool name %q begins or ends with white space", pool)
	}
	return nil
}
