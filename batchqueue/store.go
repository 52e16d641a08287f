package batchqueue

import (
	"context"
	"time"
)

// lane is one of the streams of a type within a slot.
type lane byte

const (
	laneReady lane = 'r' // enqueued tasks, in order
	laneFront lane = 'f' // released, reclaimed and due-again tasks
	// Tasks that were lost with their executor twice or more: one lane per narrowing level.
	laneSuspect lane = '1'
)

// suspectBudgets is how many more suspects an executor may hold, by narrowing level:
// two losses, three losses, four and more (protocol Q6).
type suspectBudgets [3]int

type claimRequest struct {
	executor string
	// types in the order to look at them; the executor rotates it.
	types []string
	count int
	// bytes bounds the payload bytes of the claim; one task is always taken.
	bytes    int
	lease    time.Duration
	suspects suspectBudgets
	// outboxLimit is the number of undelivered outcomes in the slot above which
	// nothing is claimed.
	outboxLimit int
	// outboxBytes is the same for their bytes; 0 is no limit.
	outboxBytes int
}

type claimReply struct {
	deliveries []*Delivery
	// dead came too, could not be decoded and are dead letters now.
	dead []*Delivery
	// bytes of all that came, with what the tasks share.
	bytes int
	// more is true when undelivered tasks of the types remain in the slot.
	more bool
	// blocked is true when the outbox bound stopped the claim.
	blocked bool
}

// settleAction is what happens to a claimed task.
type settleAction byte

const (
	actionFinish  settleAction = 'F' // outcome is final and recorded
	actionRetry   settleAction = 'R' // again after delay, as attempt+1
	actionRelease settleAction = 'B' // again at once in the front lane, same attempt
	actionAdvance settleAction = 'N' // the next step, at once
)

type settlement struct {
	d      *Delivery
	action settleAction
	// outcome for actionFinish; for the others the one that a cancel request meanwhile
	// makes final.
	outcome Outcome
	// next is the payload of the next step, for actionAdvance.
	next []byte
	// delay, lastFailure, heartbeat, and the loss counters for actionRetry and actionRelease.
	delay         time.Duration
	lastFailure   []byte
	heartbeat     []byte
	attempt       int // the attempt number of the next delivery
	losses, alone int
	// lostBy is the executor whose lease must be absent for this to happen: set by the
	// Reclaimer only.
	lostBy string
}

type settleReply byte

const (
	replySettled  settleReply = 's' // done as asked
	replyWindow   settleReply = 'w' // the same, and a window waits for the outcome
	replyCanceled settleReply = 'c' // a retry became final: cancel was requested
	replyLost     settleReply = 'l' // the claim is not this delivery's any more
	replyDropped  settleReply = 'd' // out of the queue; nobody waits for the outcome
	replyLeased   settleReply = 'g' // lostBy has a lease again
)

// claimRef names a claimed entry without its data.
type claimRef struct {
	slot  int
	typ   string
	lane  lane
	entry string
}

func (d *Delivery) ref() claimRef { return claimRef{d.slot, d.Type, d.lane, d.entry} }

// lostClaim is a claim whose executor has no lease in the slot.
type lostClaim struct {
	delivery *Delivery
	executor string
	held     time.Duration // since the claim
}

// lostPage is what a look for lost claims found.
type lostPage struct {
	claims []lostClaim
	more   bool // than these
	held   bool // something is claimed in the slot, lost or not
}

// slotStore is the queue's data plane as the executor's loops use it. The methods
// are one script (or one pipeline of scripts) each.
//
//	claim     take tasks
//	settle    end, retry or release claims; one reply per settlement, in order
//	extend    keep the lease of each slot; returns the claims to cancel
//	audit     every entry that Redis says the executor holds in the slot
//	adopt     the data of entries that audit showed and the executor does not know, a page
//	lost      a page of claims of executors without lease
//	due       moves what is due; returns the wait until the next (or -1: nothing)
//	home      says the permits for each home slot, and takes or keeps its Deliverer lease;
//	          resign gives that up at once
//	batches   fixes up to limit batches; returns the wait until one becomes sendable
//	acked     removes a delivered batch; retryBatch puts it back for later;
//	          deafRun stops pushing; abandon parks the run
type slotStore interface {
	claim(ctx context.Context, pool string, slot int, r claimRequest) (claimReply, error)
	settle(ctx context.Context, pool string, slot int, batch []settlement) ([]settleReply, error)
	extend(ctx context.Context, pool string, slots []int, executor string, lease time.Duration, heartbeats map[claimRef][]byte) (cancel []claimRef, err error)
	audit(ctx context.Context, pool string, slot int, executor string) ([]claimRef, error)
	adopt(ctx context.Context, pool, executor string, refs []claimRef) ([]*Delivery, error)
	dropLease(ctx context.Context, pool, executor string, slots ...int) error
	lost(ctx context.Context, pool string, slot int, limit int) (lostPage, error)
	due(ctx context.Context, pool string, slot int) (next time.Duration, err error)
	resign(ctx context.Context, pool string, slot int, executor string) error
	batches(ctx context.Context, pool string, slot int, limit int) (b []*Batch, wait time.Duration, err error)
	acked(ctx context.Context, b *Batch) error
	retryBatch(ctx context.Context, b *Batch, delay time.Duration) error
	deafRun(ctx context.Context, b *Batch) error
	abandon(ctx context.Context, b *Batch) error
	present(ctx context.Context, pool string, p presence, ttl time.Duration) (present []presence, now time.Time, err error)
	absent(ctx context.Context, pool string, executor string) error
	presences(ctx context.Context, pool string) ([]presence, error)
	home(ctx context.Context, pool string, slots []homeSlot, executor string, permits int, ttl time.Duration) (leads map[int]bool, err error)
	reserveRate(ctx context.Context, pool string, perSecond float64, n int) (granted int, wait time.Duration, err error)
}

// homeSlot is a home slot of an executor.
type homeSlot struct {
	slot    int
	mayLead bool
}

// presence is what an executor says about itself.
type presence struct {
	Executor    string    `json:"executor"`
	Worker      string    `json:"worker"` // identity of the worker it belongs to
	Types       []string  `json:"types"`
	Concurrency int       `json:"concurrency"`
	Heir        bool      `json:"heir,omitempty"` // serves the pool for others
	StartedAt   time.Time `json:"startedAt"`
}
