package activity

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
)

// registry knows the activities of one worker, as its registrations named them. The SDK
// keeps its own registry to itself, but shows each successful registration.
type registry struct {
	mu       sync.Mutex
	handlers map[string]*handler
	dynamic  *handler
	// aliases are functions that were registered under another name than their own:
	// function name -> registered name.
	aliases map[string]string
}

// handler is an activity implementation.
type handler struct {
	fn      any
	dynamic bool
}

var (
	contextType         = reflect.TypeFor[context.Context]()
	workflowContextType = reflect.TypeFor[sdkworkflow.Context]()
	encodedValuesType   = reflect.TypeFor[converter.EncodedValues]()
	errorType           = reflect.TypeFor[error]()
)

func newRegistry() *registry {
	return &registry{handlers: map[string]*handler{}, aliases: map[string]string{}}
}

// add follows the SDK's rules for names. What it cannot run (the SDK accepts an
// unexported interface too) it leaves out: calls of that type stay plain.
func (r *registry) add(activity any, o sdkactivity.RegisterOptions) {
	v := reflect.ValueOf(activity)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case o.Name == hostActivity:
	case v.Kind() == reflect.Func:
		own := functionName(activity)
		name := o.Name
		if name == "" {
			name = own
		} else if name != own {
			r.aliases[own] = name
		}
		r.handlers[name] = &handler{fn: activity}
	case v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.NumMethod() {
			// The SDK refused the registration, or was told to skip such methods.
			if isActivity(v.Method(i).Type()) {
				r.handlers[o.Name+v.Type().Method(i).Name] = &handler{fn: v.Method(i).Interface()}
			}
		}
	}
}

func (r *registry) addDynamic(activity any) {
	t := reflect.TypeOf(activity)
	if t == nil || t.Kind() != reflect.Func || t.NumIn() != 2 || t.In(1) != encodedValuesType {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dynamic = &handler{fn: activity, dynamic: true}
}

// find returns the handler that the SDK would run; nil when there is none.
func (r *registry) find(name string) *handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h, ok := r.handlers[name]; ok {
		return h
	}
	return r.dynamic
}

// empty tells whether there is no handler at all.
func (r *registry) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.handlers) == 0 && r.dynamic == nil
}

// types returns the names that have a handler, sorted. A dynamic activity handles those
// of names too.
func (r *registry) types(names ...iter.Seq[string]) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(r.handlers)
	if r.dynamic != nil {
		for _, some := range names {
			for name := range some {
				all[name] = r.dynamic
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// alias returns the name under which a function of this name was registered, if another.
func (r *registry) alias(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aliases[name]
}

// errNotRegistered is what the SDK reports for a type without handler.
func (r *registry) errNotRegistered(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := slices.Sorted(maps.Keys(r.handlers))
	message := fmt.Sprintf("unable to find activityType=%v. Supported types: [%v]", name, strings.Join(known, ", "))
	return temporal.NewApplicationError(message, "ActivityNotRegisteredError")
}

// isActivity is the SDK's test of a method: returns an error, or a result and an error,
// and takes no workflow context.
func isActivity(method reflect.Type) bool {
	for i := 0; i < method.NumIn() && i < 2; i++ {
		if method.In(i).Implements(workflowContextType) {
			return false
		}
	}
	out := method.NumOut()
	if out < 1 || out > 2 || !method.Out(out-1).Implements(errorType) {
		return false
	}
	if out == 2 {
		switch method.Out(0).Kind() {
		case reflect.Func, reflect.Chan, reflect.UnsafePointer:
			return false
		}
	}
	return true
}

// decode returns the arguments for the handler. It mirrors the SDK: a nil pointer is
// passed as an untyped nil, which interceptors see.
func (h *handler) decode(name string, dc converter.DataConverter, in *commonpb.Payloads) ([]any, error) {
	if h.dynamic {
		return []any{encodedValues{payloads: in, dc: dc}}, nil
	}
	t := reflect.TypeOf(h.fn)
	var pointers []any
	for i := range t.NumIn() {
		if i == 0 && t.In(0).Implements(contextType) {
			continue
		}
		pointers = append(pointers, reflect.New(t.In(i)).Interface())
	}
	if err := dc.FromPayloads(in, pointers...); err != nil {
		return nil, fmt.Errorf("unable to decode the activity function input payload with error: %w for function name: %v", err, name)
	}
	args := make([]any, len(pointers))
	for i, p := range pointers {
		if v := reflect.ValueOf(p).Elem(); v.Kind() != reflect.Pointer || !v.IsNil() {
			args[i] = v.Interface()
		}
	}
	return args, nil
}

// call runs the function. A result that is a nil pointer is no result.
func (h *handler) call(ctx context.Context, args []any) (any, error) {
	v := reflect.ValueOf(h.fn)
	t := v.Type()
	in := make([]reflect.Value, 0, len(args)+1)
	if t.NumIn() > 0 && t.In(0).Implements(contextType) {
		in = append(in, reflect.ValueOf(ctx))
	}
	for _, arg := range args {
		if arg == nil {
			in = append(in, reflect.Zero(t.In(len(in))))
		} else {
			in = append(in, reflect.ValueOf(arg))
		}
	}
	out := v.Call(in)
	err, _ := reflect.TypeAssert[error](out[len(out)-1])
	if len(out) == 1 || (out[0].Kind() == reflect.Pointer && out[0].IsNil()) {
		return nil, err
	}
	return out[0].Interface(), err
}

// encodedValues is what a dynamic activity gets, and how heartbeat details are read.
type encodedValues struct {
	payloads *commonpb.Payloads
	dc       converter.DataConverter
}

func (v encodedValues) HasValues() bool { return v.payloads != nil }

func (v encodedValues) Get(pointers ...any) error {
	if !v.HasValues() {
		return temporal.ErrNoData
	}
	return v.dc.FromPayloads(v.payloads, pointers...)
}

// Payloads makes converter.GetPayloads work, as it does on the SDK's values.
func (v encodedValues) Payloads() *commonpb.Payloads { return v.payloads }
