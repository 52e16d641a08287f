package fidelity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
)

// encryption is a codec as users write it: AES-GCM around each payload.
type encryption struct{ gcm cipher.AEAD }

func newEncryption() converter.PayloadCodec {
	block, err := aes.NewCipher([]byte("a key of thirty-two bytes length"))
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &encryption{gcm}
}

func (e *encryption) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	encoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, e.gcm.NonceSize())
		if _, err := rand.Read(nonce); err != nil {
			return nil, err
		}
		encoded[i] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte("binary/encrypted")},
			Data:     e.gcm.Seal(nonce, nonce, plain, nil),
		}
	}
	return encoded, nil
}

func (e *encryption) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	decoded := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.GetMetadata()[converter.MetadataEncoding]) != "binary/encrypted" {
			decoded[i] = p
			continue
		}
		n := e.gcm.NonceSize()
		if len(p.GetData()) < n {
			return nil, errors.New("not encrypted")
		}
		plain, err := e.gcm.Open(nil, p.GetData()[:n], p.GetData()[n:], nil)
		if err != nil {
			return nil, err
		}
		decoded[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, decoded[i]); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

// secrets are what must not be readable in Redis.
type secrets struct{ argument, result, failure, detail, beat, canceled string }

var someSecrets = secrets{
	argument: "the-argument-is-secret", result: "the-result-is-secret", failure: "the-failure-is-secret",
	detail: "the-detail-of-the-failure-is-secret", beat: "the-heartbeat-is-secret", canceled: "the-cancellation-is-secret",
}

func (s secrets) all() []string {
	return []string{s.argument, s.result, s.failure, s.detail, s.beat, s.canceled}
}

// readIn returns the secrets that somebody can read who sees the text: as they are, or in base64.
func (s secrets) readIn(text string) []string {
	found := []string{}
	for _, secret := range s.all() {
		for skip := range 3 { // where the secret stands in a larger thing, two of its first characters may belong to that
			encoded := base64.StdEncoding.EncodeToString([]byte(secret[skip:]))
			if strings.Contains(text, secret) || strings.Contains(text, encoded[:len(encoded)-4]) {
				found = append(found, secret)
				break
			}
		}
	}
	return found
}

// encrypted plays calls in each state that the queue knows, and looks into Redis meanwhile.
func encrypted(codec, encodeAttributes bool) func(p *play) {
	return func(p *play) {
		rdb := p.ownRedis()
		said := func() string { return "" }
		if p.mode == routed {
			said = p.monitor(rdb)
		}
		dc := converter.GetDefaultDataConverter()
		if codec {
			dc = converter.NewCodecDataConverter(dc, newEncryption())
		}
		p.clientOptions.DataConverter = dc
		p.clientOptions.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
			DataConverter: dc, EncodeCommonAttributes: encodeAttributes,
		})
		p.clientOptions.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
		p.workerOptions.MaxConcurrentActivityExecutionSize = 2
		// A plain handler whose heartbeat is answered later than that takes itself for canceled, and never fails.
		p.workerOptions.MaxHeartbeatThrottleInterval = 10 * time.Second

		s := someSecrets
		running, failing, release := make(chan struct{}, 8), make(chan struct{}, 8), make(chan struct{})
		p.activity("Act", func(ctx context.Context, in string) (string, error) {
			if in != s.argument {
				return "", temporal.NewNonRetryableApplicationError("not the argument", "", nil)
			}
			running <- struct{}{}
			for open := true; open; {
				activity.RecordHeartbeat(ctx, s.beat)
				select {
				case <-release:
					open = false
				case <-ctx.Done():
					return "", temporal.NewCanceledError(s.canceled)
				case <-time.After(100 * time.Millisecond):
				}
			}
			if activity.GetInfo(ctx).Attempt == 1 {
				failing <- struct{}{}
				return "", temporal.NewApplicationError(s.failure, "TypeOfError", s.detail)
			}
			return s.result, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{
				HeartbeatTimeout: patience, WaitForCancellation: true,
				RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, MaximumAttempts: 2, NonRetryableErrorTypes: []string{"TypeOfAnother"}},
			})
			chosen := workflow.GetActivityOptions(ctx)
			chosen.ActivityID = "chosen-id"
			first := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, chosen), "Act", s.argument)
			cctx, cancel := workflow.WithCancel(ctx)
			second := workflow.ExecuteActivity(cctx, "Act", s.argument)
			workflow.GetSignalChannel(ctx, "call again").Receive(ctx, nil)
			third := workflow.ExecuteActivity(ctx, "Act", s.argument)
			workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
			cancel()
			_ = noteResult[string](ctx, see, "first", first)
			_ = noteResult[string](ctx, see, "second", second)
			_ = noteResult[string](ctx, see, "third", third)
			return nil
		})
		p.ctx = context.WithValue(p.ctx, tenant.Key{}, "readable-tenant")
		p.start()
		look := func(when string) {
			if p.mode == routed {
				found := s.readIn(p.dump(rdb))
				if codec {
					assert.Empty(p.t, found, "readable in Redis while %s", when)
				}
			}
		}
		p.receive("the first start", running)
		p.receive("the second start", running)
		look("two run")
		p.signal("call again", nil)
		p.signal("cancel", nil)
		p.receive("the third start", running)
		look("a cancelled one has ended")
		close(release)
		p.receive("a failure", failing)
		p.receive("another failure", failing)
		look("two wait for their second attempt")
		p.finish()
		look("all is over")
		p.stopWorker()
		if p.mode != routed {
			return
		}
		look("the worker has stopped")
		told := said()
		found := s.readIn(told)
		if codec {
			require.Empty(p.t, found, "Redis was told in the clear")
		} else {
			require.Equal(p.t, s.all(), found, "without a codec everything is readable, or the test does not see it")
		}
		// What the README lists as readable.
		for _, name := range []string{
			stack.Namespace(), p.taskQueue, p.workflowID, p.run.GetRunID(), workflowType, "Act", "chosen-id", p.identity,
			"TypeOfAnother", "readable-tenant",
		} {
			require.Contains(p.t, told, name)
		}
	}
}

var encryptionScenarios = []scenario{
	{name: "with a codec", play: encrypted(true, false)},
	{name: "with a codec, also for the common attributes of failures", play: encrypted(true, true)},
	{name: "without a codec", play: encrypted(false, false)},
}
