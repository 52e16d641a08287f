package fidelity

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
)

// gobs is a payload converter of a user's own.
type gobs struct{}

func (gobs) Encoding() string { return "binary/gob" }

func (gobs) ToPayload(value any) (*commonpb.Payload, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(value); err != nil {
		return nil, fmt.Errorf("gob: %w", err)
	}
	return &commonpb.Payload{Metadata: map[string][]byte{converter.MetadataEncoding: []byte("binary/gob")}, Data: b.Bytes()}, nil
}

func (gobs) FromPayload(p *commonpb.Payload, value any) error {
	return gob.NewDecoder(bytes.NewReader(p.GetData())).Decode(value)
}

func (gobs) ToString(*commonpb.Payload) string { return "gob" }

// spy is a data converter that knows the context it works in, in both of the SDK's ways, and binds what it encodes to
// the serialization context: it decodes nothing in another.
type spy struct {
	converter.DataConverter
	seen  *spied
	binds bool
	// where is what ContextAware told, bound what WithSerializationContext did.
	where, bound string
}

type spied struct {
	mu  sync.Mutex
	set map[string]bool // protected by mu
}

func newSpy() (*spy, *spied) {
	seen := &spied{set: map[string]bool{}}
	return &spy{DataConverter: converter.GetDefaultDataConverter(), seen: seen, where: "nowhere"}, seen
}

func (s *spied) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set[what] = true
}

func (s *spied) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.set))
}

var (
	_ converter.ContextAware                          = (*spy)(nil)
	_ converter.DataConverterWithSerializationContext = (*spy)(nil)
)

func (s *spy) WithWorkflowContext(ctx workflow.Context) converter.DataConverter {
	return s.at("workflow of " + fmt.Sprint(ctx.Value(tenant.Key{})))
}

func (s *spy) WithContext(ctx context.Context) converter.DataConverter {
	if activity.IsActivity(ctx) {
		return s.at("activity of " + fmt.Sprint(ctx.Value(tenant.Key{})))
	}
	return s.at("client")
}

func (s *spy) at(where string) *spy {
	other := *s
	other.where = where
	return &other
}

func (s *spy) WithSerializationContext(c converter.SerializationContext) converter.DataConverter {
	if !s.binds {
		return s
	}
	other := *s
	switch c := c.(type) {
	case converter.WorkflowSerializationContext:
		other.bound = "workflow " + c.WorkflowID
	case converter.ActivitySerializationContext:
		other.bound = fmt.Sprintf("activity %s of %s %s on %s, local: %v", c.ActivityType, c.WorkflowType, c.WorkflowID, c.TaskQueue, c.IsLocal)
	}
	return &other
}

// watched are the values that are looked at: what the SDK itself encodes is not.
const watched = "watched "

func (s *spy) ToPayload(value any) (*commonpb.Payload, error) {
	p, err := s.DataConverter.ToPayload(value)
	if p != nil {
		if p.Metadata == nil {
			p.Metadata = map[string][]byte{}
		}
		p.Metadata["bound"] = []byte(s.bound)
		if _, raw := value.(converter.RawValue); !raw { // which is encoded already
			s.note("encoded", p)
		}
	}
	return p, err
}

func (s *spy) note(what string, p *commonpb.Payload) {
	if text := string(p.GetData()); strings.HasPrefix(text, `"`+watched) {
		s.seen.add(fmt.Sprintf("%s %s in a %s, bound to %s", text, what, s.where, s.bound))
	}
}

func (s *spy) FromPayload(p *commonpb.Payload, value any) error {
	if bound := string(p.GetMetadata()["bound"]); bound != "" && s.bound != "" && bound != s.bound {
		return fmt.Errorf("bound to %q, not to %q", bound, s.bound)
	}
	if _, raw := value.(*converter.RawValue); !raw { // which is not decoding
		s.note("decoded", p)
	}
	return s.DataConverter.FromPayload(p, value)
}

func (s *spy) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	if len(values) == 0 {
		return nil, nil
	}
	all := &commonpb.Payloads{}
	for _, v := range values {
		p, err := s.ToPayload(v)
		if err != nil {
			return nil, err
		}
		all.Payloads = append(all.Payloads, p)
	}
	return all, nil
}

func (s *spy) FromPayloads(all *commonpb.Payloads, pointers ...any) error {
	for i, p := range all.GetPayloads() {
		if i == len(pointers) {
			break
		}
		if err := s.FromPayload(p, pointers[i]); err != nil {
			return err
		}
	}
	return nil
}

// store is external storage in memory.
type store struct {
	mu   sync.Mutex
	kept map[string]*commonpb.Payload // protected by mu
}

func (*store) Name() string { return "memory" }
func (*store) Type() string { return "memory" }

func (s *store) Store(_ converter.StorageDriverStoreContext, payloads []*commonpb.Payload) ([]converter.StorageDriverClaim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := make([]converter.StorageDriverClaim, len(payloads))
	for i, p := range payloads {
		key := fmt.Sprint(len(s.kept))
		s.kept[key] = proto.Clone(p).(*commonpb.Payload)
		claims[i].ClaimData = map[string]string{"key": key}
	}
	return claims, nil
}

func (s *store) Retrieve(_ converter.StorageDriverRetrieveContext, claims []converter.StorageDriverClaim) ([]*commonpb.Payload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payloads := make([]*commonpb.Payload, len(claims))
	for i, c := range claims {
		payloads[i] = s.kept[c.ClaimData["key"]]
	}
	return payloads, nil
}

const serializationContext = "Payloads of a routed call are encoded under the serialization context of its workflow, not of an activity."

// watchedCalls plays calls whose every payload is watched: arguments, result, heartbeat details, failure details.
func watchedCalls(p *play, binds bool) {
	dc, seen := newSpy()
	dc.binds = binds
	p.clientOptions.DataConverter = dc
	p.clientOptions.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: dc})
	p.clientOptions.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
	p.ctx = context.WithValue(p.ctx, tenant.Key{}, "acme")
	p.activity("Act", func(ctx context.Context, in string) (string, error) {
		if activity.GetInfo(ctx).Attempt == 1 {
			activity.RecordHeartbeat(ctx, watched+"heartbeat")
			return "", errors.New("once more")
		}
		var details string
		if err := activity.GetHeartbeatDetails(ctx, &details); err != nil {
			return "", err
		}
		p.seen.note("handler", in+", "+details)
		if strings.HasSuffix(in, "fails") {
			return "", temporal.NewNonRetryableApplicationError("no luck", "NoLuck", errors.New("why"), watched+"failure detail")
		}
		return watched + "result", nil
	})
	p.workflow(func(ctx workflow.Context, see *notes) error {
		ctx = withOptions(ctx, workflow.ActivityOptions{HeartbeatTimeout: patience, RetryPolicy: quickly(3)})
		_ = noteResult[string](ctx, see, "result", workflow.ExecuteActivity(ctx, "Act", watched+"argument"))
		_ = noteResult[string](ctx, see, "failure", workflow.ExecuteActivity(ctx, "Act", watched+"argument that fails"))
		return nil
	})
	p.start()
	p.finish()
	for _, what := range seen.all() {
		p.seen.note("converter", what)
	}
}

var converterScenarios = []scenario{
	{
		name: "a payload converter of one's own",
		play: func(p *play) {
			p.clientOptions.DataConverter = converter.NewCompositeDataConverter(converter.NewNilPayloadConverter(), gobs{})
			p.activity("Act", func(_ context.Context, m map[string]complex128, pl *letter) (map[string]complex128, error) {
				m["and"] = complex(float64(len(pl.Pages)), 1)
				return m, nil
			})
			p.activity("Refused", func(context.Context) (any, error) { return func() {}, nil })
			p.activity("Fails", func(context.Context) error {
				return temporal.NewApplicationError("no luck", "NoLuck", map[int]string{1: "one"})
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[map[string]complex128](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act", map[string]complex128{"a": 1i}, &letter{Pages: []int{1, 2}}))
				_ = noteResult[any](ctx, see, "a result that cannot be encoded", workflow.ExecuteActivity(ctx, "Refused"))
				var app *temporal.ApplicationError
				see.note("a failure", errors.As(workflow.ExecuteActivity(ctx, "Fails").Get(ctx, nil), &app))
				var details map[int]string
				see.note("its details", app.Details(&details))
				see.note("its details", details)
				return nil
			})
		},
	},
	{
		name: "an argument that cannot be encoded",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				defer func() { see.note("panic", fmt.Sprint(recover())) }()
				if err := noteResult[int](ctx, see, "before", workflow.ExecuteActivity(attempts(ctx, 1), "Act", 7)); err != nil {
					return err
				}
				workflow.ExecuteActivity(attempts(ctx, 1), "Act", func() {})
				return nil
			})
		},
	},
	{
		name: "a converter that knows its context",
		play: func(p *play) { watchedCalls(p, false) },
	},
	{
		name:    "a converter that binds to the serialization context",
		play:    func(p *play) { watchedCalls(p, true) },
		differs: map[string]string{"converter": serializationContext},
	},
	{
		name:       "external storage",
		staysPlain: true,
		play: func(p *play) {
			p.clientOptions.ExternalStorage = converter.ExternalStorage{
				Drivers: []converter.StorageDriver{&store{kept: map[string]*commonpb.Payload{}}}, PayloadSizeThreshold: 1000,
			}
			p.activity("Act", func(_ context.Context, s string) (string, error) { return s + "!", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "small", workflow.ExecuteActivity(attempts(ctx, 1), "Act", "small"))
				var large string
				see.note("large", workflow.ExecuteActivity(attempts(ctx, 1), "Act", strings.Repeat("x", 10_000)).Get(ctx, &large))
				see.note("large", len(large))
				return nil
			})
		},
	},
}
