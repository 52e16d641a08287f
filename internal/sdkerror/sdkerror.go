// Package sdkerror makes errors of the Temporal SDK that have no exported constructor, as the SDK makes them.
//
// The exported way to such an error is the default failure converter, and its errors can be told apart. They keep
// the failure that they were made from, which replaces them when they are converted again: common attributes are then
// not encoded, and a converter of the user has no say. And their causes were made by the default converter, not by
// the user's. So this package makes the error that way and then sets the two fields that are wrong.
//
// They are not exported. With an SDK that has no such fields any more the errors are what the converter makes, and
// the tests of this package fail.
package sdkerror

import (
	"reflect"

	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
)

// Names of the SDK's fields.
const (
	fieldCause   = "cause"
	fieldFailure = "originalFailure"
)

// Activity returns the *temporal.ActivityError that workflow code gets for an activity
// that ended with cause.
func Activity(info *failurepb.ActivityFailureInfo, cause error) error {
	failure := &failurepb.Failure{
		Message:     "activity error",
		Source:      "GoSDK",
		FailureInfo: &failurepb.Failure_ActivityFailureInfo{ActivityFailureInfo: info},
	}
	err := temporal.GetDefaultFailureConverter().FailureToError(failure)
	if cause == nil {
		forget(err)
		return err
	}
	if f := field(err, fieldCause); f.IsValid() && forget(err) {
		f.Set(reflect.ValueOf(cause))
		return err
	}
	failure.Cause = temporal.GetDefaultFailureConverter().ErrorToFailure(cause)
	return temporal.GetDefaultFailureConverter().FailureToError(failure)
}

// Canceled returns the *temporal.CanceledError that workflow code gets for an activity
// that acknowledged its cancellation. Details are decoded by dc; nil means none.
func Canceled(dc converter.DataConverter, details *commonpb.Payloads) error {
	fc := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: dc})
	err := fc.FailureToError(&failurepb.Failure{
		Message:     "canceled",
		Source:      "GoSDK",
		FailureInfo: &failurepb.Failure_CanceledFailureInfo{CanceledFailureInfo: &failurepb.CanceledFailureInfo{Details: details}},
	})
	forget(err)
	return err
}

// Panic returns the *temporal.PanicError that the SDK makes of a panic with that
// message.
func Panic(message, stack string) error {
	err := temporal.GetDefaultFailureConverter().FailureToError(&failurepb.Failure{
		Message:    message,
		Source:     "GoSDK",
		StackTrace: stack,
		FailureInfo: &failurepb.Failure_ApplicationFailureInfo{
			ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "PanicError"},
		},
	})
	forget(err)
	return err
}

// forget takes the failure out of the error, and reports whether it could.
func forget(err error) bool {
	f := field(err, fieldFailure)
	if f.IsValid() {
		f.SetZero()
	}
	return f.IsValid()
}

// field makes an unexported field of the struct that err points to settable. It is
// invalid where there is no such field.
func field(err error, name string) reflect.Value {
	v := reflect.ValueOf(err)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	f := v.Elem().FieldByName(name)
	if !f.IsValid() {
		return f
	}
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
}
