package wire

import (
	"fmt"
	"math"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protowire"
)

// NotStarted are the details with which the server ends a canceled activity that no
// worker has started. The server encodes them, so no converter or codec of the user's
// does.
func NotStarted() []*commonpb.Payload {
	return []*commonpb.Payload{{
		Metadata: map[string][]byte{converter.MetadataEncoding: []byte(converter.MetadataEncodingJSON)},
		Data:     []byte(`"ACTIVITY_ID_NOT_STARTED"`),
	}}
}

// The fields of a batch of outcomes. The fingerprints are the column that is always
// there: its length is the number of outcomes.
const (
	batchVersion                       = 1
	batchRuns         protowire.Number = 2
	batchWorkers      protowire.Number = 3
	batchFingerprints protowire.Number = 4
	batchNumbers      protowire.Number = 5 // zigzag differences to the entry before
	batchPayload      protowire.Number = 15
)

var (
	batchKind     = column{number: 6, usual: uint64(KindCompleted)}
	batchAttempt  = column{number: 7, usual: 1}
	batchRetry    = column{number: 8}
	batchRun      = column{number: 9}
	batchWorker   = column{number: 10}
	batchPayloads = column{number: 11, usual: 1}
	batchDetails  = column{number: 12}
	batchStep     = column{number: 13}
)

// EncodeOutcome writes one outcome, payloads included. This is what the queue stores.
func EncodeOutcome(o *Outcome) []byte {
	index, payloads := encodeBatch([]Outcome{*o})
	for _, p := range payloads {
		index = appendPayload(index, batchPayload, p)
	}
	return index
}

// DecodeOutcome reads what EncodeOutcome wrote.
func DecodeOutcome(b []byte) (*Outcome, error) {
	var payloads []*commonpb.Payload
	for f, err := range fields(b) {
		if err != nil {
			return nil, fmt.Errorf("decode outcome: %w", err)
		}
		if f.Number == batchPayload {
			if err := f.payload(&payloads); err != nil {
				return nil, fmt.Errorf("decode outcome: %w", err)
			}
		}
	}
	outcomes, err := decodeBatch(b, payloads)
	if err != nil {
		return nil, fmt.Errorf("decode outcome: %w", err)
	}
	if len(outcomes) != 1 {
		return nil, fmt.Errorf("decode outcome: %d outcomes, want 1", len(outcomes))
	}
	return &outcomes[0], nil
}

// encodeBatch writes everything about the outcomes but their payloads, which it returns
// in order: where they go differs between signal, marker and queue.
func encodeBatch(outcomes []Outcome) (index []byte, payloads []*commonpb.Payload) {
	var (
		runs, workers                                          table
		fingerprints                                           []uint64
		kinds, attempts, retries, run, worker, results, detail []uint64
		steps                                                  []uint64
		numbers                                                []byte
		last                                                   uint64
	)
	for i := range outcomes {
		o := &outcomes[i]
		fingerprints = append(fingerprints, o.Fingerprint)
		numbers = protowire.AppendVarint(numbers, protowire.EncodeZigZag(int64(o.Number-last)))
		last = o.Number
		kinds = append(kinds, uint64(o.Kind))
		attempts = append(attempts, uint64(uint32(o.Attempt)))
		retries = append(retries, uint64(uint32(o.Retry)))
		steps = append(steps, uint64(uint32(o.Step)))
		run = append(run, runs.add(o.RunID))
		worker = append(worker, workers.add(o.Worker))
		results = append(results, uint64(len(o.Payloads)))
		detail = append(detail, uint64(len(o.Details)))
		payloads = append(append(payloads, o.Payloads...), o.Details...)
	}
	b := appendUint(nil, fieldVersion, batchVersion)
	for _, name := range runs.names {
		b = appendText(b, batchRuns, name)
	}
	for _, name := range workers.names {
		b = appendText(b, batchWorkers, name)
	}
	b = appendFixed64s(b, batchFingerprints, fingerprints)
	b = appendMessage(b, batchNumbers, numbers)
	b = batchKind.append(b, kinds)
	b = batchAttempt.append(b, attempts)
	b = batchRetry.append(b, retries)
	b = batchRun.append(b, run)
	b = batchWorker.append(b, worker)
	b = batchPayloads.append(b, results)
	b = batchDetails.append(b, detail)
	b = batchStep.append(b, steps)
	return b, payloads
}

// decodeBatch reads an index and deals the payloads out. It fails unless they are
// exactly as many as the index says.
func decodeBatch(index []byte, payloads []*commonpb.Payload) ([]Outcome, error) {
	var (
		runs, workers                                          []string
		fingerprints, numbers                                  []uint64
		kinds, attempts, retries, run, worker, results, detail []uint64
		steps                                                  []uint64
		versioned                                              bool
	)
	for f, err := range fields(index) {
		if err != nil {
			return nil, err
		}
		switch f.Number {
		case fieldVersion:
			versioned, err = true, f.version(batchVersion)
		case batchRuns:
			err = f.texts(&runs)
		case batchWorkers:
			err = f.texts(&workers)
		case batchFingerprints:
			err = f.fixed64s(&fingerprints)
		case batchNumbers:
			err = f.varints(&numbers)
		case batchKind.number:
			err = f.varints(&kinds)
		case batchAttempt.number:
			err = f.varints(&attempts)
		case batchRetry.number:
			err = f.varints(&retries)
		case batchRun.number:
			err = f.varints(&run)
		case batchWorker.number:
			err = f.varints(&worker)
		case batchPayloads.number:
			err = f.varints(&results)
		case batchDetails.number:
			err = f.varints(&detail)
		case batchStep.number:
			err = f.varints(&steps)
		}
		if err != nil {
			return nil, err
		}
	}
	if !versioned {
		return nil, errNoVersion
	}
	count := len(fingerprints)
	if len(numbers) != count {
		return nil, fmt.Errorf("%d numbers for %d outcomes", len(numbers), count)
	}
	for _, c := range []struct {
		column
		values *[]uint64
	}{
		{batchKind, &kinds},
		{batchAttempt, &attempts},
		{batchRetry, &retries},
		{batchRun, &run},
		{batchWorker, &worker},
		{batchPayloads, &results},
		{batchDetails, &detail},
		{batchStep, &steps},
	} {
		var err error
		if *c.values, err = c.fill(*c.values, count); err != nil {
			return nil, err
		}
	}
	if count == 0 {
		if len(payloads) > 0 {
			return nil, fmt.Errorf("%d payloads but no outcome", len(payloads))
		}
		return nil, nil
	}
	outcomes := make([]Outcome, count)
	var number uint64
	for i := range outcomes {
		number += uint64(protowire.DecodeZigZag(numbers[i]))
		if kinds[i] > math.MaxUint8 || attempts[i] > math.MaxUint32 || retries[i] > math.MaxUint32 || steps[i] > math.MaxInt32 {
			return nil, fmt.Errorf("outcome %d has a number out of range", i)
		}
		o := &outcomes[i]
		o.Number, o.Fingerprint, o.Step = number, fingerprints[i], int32(steps[i])
		o.Kind, o.Attempt, o.Retry = Kind(kinds[i]), int32(uint32(attempts[i])), RetryState(uint32(retries[i]))
		var err error
		if o.RunID, err = lookup(runs, run[i]); err != nil {
			return nil, fmt.Errorf("run of outcome %d: %w", i, err)
		}
		if o.Worker, err = lookup(workers, worker[i]); err != nil {
			return nil, fmt.Errorf("worker of outcome %d: %w", i, err)
		}
		if o.Payloads, payloads, err = take(payloads, results[i]); err != nil {
			return nil, fmt.Errorf("payloads of outcome %d: %w", i, err)
		}
		if o.Details, payloads, err = take(payloads, detail[i]); err != nil {
			return nil, fmt.Errorf("details of outcome %d: %w", i, err)
		}
	}
	if len(payloads) > 0 {
		return nil, fmt.Errorf("%d payloads belong to no outcome", len(payloads))
	}
	return outcomes, nil
}

func take(payloads []*commonpb.Payload, n uint64) (taken, rest []*commonpb.Payload, err error) {
	if n > uint64(len(payloads)) {
		return nil, nil, fmt.Errorf("%d announced, %d there", n, len(payloads))
	}
	if n == 0 {
		return nil, payloads, nil
	}
	return payloads[:n:n], payloads[n:], nil
}
