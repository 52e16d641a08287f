package activity

import (
	"context"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
)

// The SDK keeps two things of an activity in its context under keys that it does not
// export: the header, for interceptors, and the outbound interceptor, to which
// activity.GetInfo and its siblings turn. A handler's context needs its own of both.
// The exported functions that read them tell the keys: they ask the context for them.
var (
	headerKey   = askedKey(func(ctx context.Context) { interceptor.Header(ctx) })
	outboundKey = askedKey(func(ctx context.Context) { sdkactivity.IsActivity(ctx) })
)

// askedKey returns the key under which read looks into its context; nil when it looks
// under none or several, which a test of this package would tell of a new SDK.
func askedKey(read func(context.Context)) any {
	p := &keyProbe{Context: context.Background()}
	read(p)
	if len(p.asked) != 1 {
		return nil
	}
	return p.asked[0]
}

type keyProbe struct {
	context.Context
	asked []any
}

func (p *keyProbe) Value(key any) any {
	p.asked = append(p.asked, key)
	return nil
}
