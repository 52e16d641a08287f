package workflow

import sdkworkflow "go.temporal.io/sdk/workflow"

// outboundKey is the key under which the SDK keeps the outermost outbound interceptor in
// a workflow's context. ExecuteLocalActivity takes it from there, and there is no other
// way to call one without passing the user's interceptors.
var outboundKey = askedKey()

// unknownKey stands for it with an SDK that looks elsewhere. A test would tell.
type unknownKey struct{}

// askedKey finds the key by an exported function that asks its context for it.
func askedKey() (key any) {
	p := &keyProbe{}
	defer func() {
		_ = recover() // this is no workflow's context, says the function
		key = unknownKey{}
		if len(p.asked) == 1 {
			key = p.asked[0]
		}
	}()
	sdkworkflow.GetInfo(p)
	return nil
}

type keyProbe struct {
	sdkworkflow.Context
	asked []any
}

func (p *keyProbe) Value(key any) any {
	p.asked = append(p.asked, key)
	return nil
}
