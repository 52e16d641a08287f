package fidelity

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strings"
	"sync"

	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// notes are what somebody saw, in order. Safe for concurrent use.
type notes struct {
	mu     sync.Mutex
	list   []note // protected by mu
	sealed bool   // protected by mu
}

type note struct{ key, value string }

// note writes down that the value was seen under the key.
func (n *notes) note(key string, value any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.sealed {
		n.list = append(n.list, note{key, show(value)})
	}
}

// seal makes later notes void: deferred functions of a workflow also run when it leaves the cache.
func (n *notes) seal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sealed = true
}

func (n *notes) all() []note {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]note(nil), n.list...)
}

// has tells whether something was noted under the key.
func (n *notes) has(key string) bool {
	for _, x := range n.all() {
		if x.key == key {
			return true
		}
	}
	return false
}

// noteResult waits for a future and notes its value, or its error with everything that is in it.
func noteResult[T any](ctx workflow.Context, see *notes, key string, f workflow.Future) error {
	var value T
	err := f.Get(ctx, &value)
	if err != nil {
		see.note(key, err)
		// A value that stands beside an error would be a surprise worth seeing.
		if got := show(value); got != show(*new(T)) {
			see.note(key, got)
		}
		return err
	}
	see.note(key, value)
	return nil
}

// show describes a value in one line.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case error:
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
			return "nil"
		}
		return showError(v)
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprintf("%+v", v)
	}
}

// showError describes an error and all that it wraps, with what the exported methods tell.
func showError(err error) string {
	if err == nil {
		return "nil"
	}
	var parts []string
	for e := err; e != nil; e = errors.Unwrap(e) {
		parts = append(parts, showLayer(e))
	}
	return strings.Join(parts, " <- ")
}

func showLayer(err error) string {
	var fields string
	switch e := err.(type) { //nolint:errorlint // one layer is looked at
	case *temporal.ActivityError:
		if neverStarted(e) {
			// Whom it names is looked at in a scenario of its own.
			return fmt.Sprintf("ActivityError{type: %s, id: %s, retry: %s}", e.ActivityType().GetName(), activityID(e.ActivityID()), e.RetryState())
		}
		return fmt.Sprintf("ActivityError{type: %s, id: %s, retry: %s, identity: %q, text: %q}",
			e.ActivityType().GetName(), activityID(e.ActivityID()), e.RetryState(), e.Identity(), e.Error())
	case *temporal.ApplicationError:
		fields = fmt.Sprintf("message: %q, type: %q, nonRetryable: %v, delay: %v, category: %v, details: %s",
			e.Message(), e.Type(), e.NonRetryable(), e.NextRetryDelay(), e.Category(), showValues(e.HasDetails(), e.Details))
	case *temporal.TimeoutError:
		fields = fmt.Sprintf("message: %q, type: %s, details: %s",
			e.Message(), e.TimeoutType(), showValues(e.HasLastHeartbeatDetails(), e.LastHeartbeatDetails))
	case *temporal.CanceledError:
		fields = fmt.Sprintf("message: %q, details: %s", e.Error(), showValues(e.HasDetails(), e.Details))
	case *temporal.PanicError:
		fields = fmt.Sprintf("message: %q, stack: %q", e.Error(), topOfStack(e.StackTrace()))
	case *temporal.ServerError:
		fields = fmt.Sprintf("message: %q", e.Message())
	case *temporal.WorkflowExecutionError:
		return "WorkflowExecutionError"
	default:
		fields = fmt.Sprintf("%q", err.Error())
	}
	// The failure as it came: what a caller may read that wants more than the error's own methods.
	if f, ok := err.(interface{ Failure() *failurepb.Failure }); ok {
		if failure := f.Failure(); failure != nil {
			fields += fmt.Sprintf(", source: %q", failure.GetSource())
			if failure.GetEncodedAttributes() != nil {
				fields += ", attributes: encoded, message as sent: " + fmt.Sprintf("%q", failure.GetMessage())
			}
		}
	}
	return fmt.Sprintf("%s{%s}", strings.TrimPrefix(fmt.Sprintf("%T", err), "*internal."), fields)
}

// neverStarted tells the error of a call that was canceled before a handler had it.
func neverStarted(err error) bool {
	canceled, ok := errors.AsType[*temporal.CanceledError](err)
	var details string
	return ok && canceled.HasDetails() && canceled.Details(&details) == nil && details == "ACTIVITY_ID_NOT_STARTED"
}

// showValues decodes as many values as there are.
func showValues(has bool, get func(...any) error) string {
	if !has {
		return "none"
	}
	const most = 8
	for n := most; n > 0; n-- {
		values := make([]any, n)
		pointers := make([]any, n)
		for i := range values {
			pointers[i] = &values[i]
		}
		err := get(pointers...)
		if err == nil {
			for n > 0 && values[n-1] == nil { // there were fewer
				n--
			}
			return fmt.Sprintf("%v", values[:n])
		}
		if err.Error() != "too many arguments" {
			return "error " + err.Error()
		}
	}
	return "too many"
}

// numbered is an activity ID that nobody gave: it counts something else in each mode, and a step of a chain has its
// own number behind it.
var numbered = regexp.MustCompile(`^\d+(\.\d+)?$`)

func activityID(id string) string {
	if numbered.MatchString(id) {
		return "<number>"
	}
	return id
}

// topOfStack is the headline of a stack trace and the first place in it that is ours; what stands around that differs.
func topOfStack(stack string) string {
	headline, rest, _ := strings.Cut(stack, "\n")
	for line := range strings.SplitSeq(rest, "\n") {
		if place, ok := strings.CutPrefix(line, "\t"); ok && strings.Contains(place, "/samples/e2e/fidelity/") {
			place, _, _ = strings.Cut(place, " ")
			return headline + " " + path.Base(place)
		}
	}
	return headline
}

var (
	eventIDs = regexp.MustCompile(`(scheduledEventID: |startedEventID: |initiatedEventID: |ActivityId=)\d+`)
	uuids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// normalise replaces what differs from play to play.
func (p *play) normalise(s string) string {
	s = strings.NewReplacer(p.taskQueue, "<queue>", p.identity, "<identity>", p.workflowID, "<workflow>").Replace(s)
	s = eventIDs.ReplaceAllString(s, "$1<number>")
	return uuids.ReplaceAllString(s, "<uuid>")
}

// cause names why a context ended, and nil where it has not.
func cause(ctx context.Context) string {
	if ctx.Err() == nil {
		return "alive"
	}
	return fmt.Sprintf("%v, because of %s", ctx.Err(), showError(context.Cause(ctx)))
}
