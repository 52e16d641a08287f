package workflow

import (
	"reflect"
	"unsafe"

	sdkworkflow "go.temporal.io/sdk/workflow"
)

// What a run may reach before it is advised to continue as new: four fifths of what
// Temporal takes. The server gives that advice earlier and by its own settings, but it
// counts no signals, and outcomes come as signals. The values decide what workflow code
// does next: see protocolWritten.
const (
	suggestAtSignals = 8_000      // of 10,000
	suggestAtEvents  = 40_000     // of 51,200
	suggestAtBytes   = 40_000_000 // of 50 MiB
)

// GetInfo gives the SDK's own information, and in a run that nears Temporal's limits a copy
// of it that suggests to continue as new. Signals are counted as the history has them, and
// its length and size are those that stand in the events of the workflow task, so that a
// replay suggests it at the same place.
func (r *router) GetInfo(ctx sdkworkflow.Context) *sdkworkflow.Info {
	info := r.Next.GetInfo(ctx)
	if r.route == nil || r.route.Protocol < protocolSuggests || info.GetContinueAsNewSuggested() {
		return info
	}
	if r.signals < suggestAtSignals && info.GetCurrentHistoryLength() < suggestAtEvents && info.GetCurrentHistorySize() < suggestAtBytes {
		return info
	}
	return suggesting(info)
}

// suggesting returns a copy of the information that suggests to continue as new.
//
// The SDK has no other way than its own field. Tempting, but wrong: to set it in the
// original. The SDK takes it back with each workflow task, so what code sees that keeps the
// pointer would hang on who else asks, a query or an interceptor that is silent in replay.
func suggesting(info *sdkworkflow.Info) *sdkworkflow.Info {
	if suggested == nil {
		return info
	}
	copied := *info
	*(*bool)(unsafe.Add(unsafe.Pointer(&copied), suggested.Offset)) = true //nolint:gosec // a bool of that name, says suggestedField
	return &copied
}

// suggested is the SDK's field; nil with an SDK that has none of that name and kind. A test
// would tell.
var suggested = suggestedField()

func suggestedField() *reflect.StructField {
	field, ok := reflect.TypeFor[sdkworkflow.Info]().FieldByName("continueAsNewSuggested")
	if !ok || field.Type.Kind() != reflect.Bool {
		return nil
	}
	return &field
}
