package batchqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errAway = fmt.Errorf("%w: the fake is told to fail", ErrUnavailable)

// fakeRedis is a slotStore in memory, with bells and faults, for tests of the executor's
// logic under testing/synctest. It keeps to the contracts of the scripts, not to their
// data structures.
type fakeRedis struct {
	keys keys
	pool string

	mu        sync.Mutex
	conf      PoolConfig
	ahead     time.Duration            // Redis's clock is that much ahead of ours
	reSends   bool                     // clients send the first claim that brings something twice
	rtt       time.Duration            // each call takes that long: half before it acts, half after
	slow      map[string]time.Duration // replies to these calls take longer
	slots     map[int]*fakeSlot
	present_  map[string]fakePresence
	listeners map[*fakeListener]bool
	muted     map[string]bool // channels on which nobody hears anything
	calls     map[string]int
	memory    *memoryGuard
	log       Logger
	entries   int
	rateUsed  map[int64]int // starts granted, by second
	// firstTypes counts how often a type was the first that a claim asked for.
	firstTypes map[string]int

	// fault is asked before and after each call acts; an error then means that the
	// reply was lost. It is called without the lock.
	fault func(op, executor string, slot int, after bool) error
}

type fakePresence struct {
	presence
	until time.Time
}

type fakeTask struct {
	d        Delivery
	queuedAt time.Time
	canceled bool
}

type fakeSlot struct {
	ready, front, suspects []*fakeTask
	delayed                []fakeDelayed
	claims                 map[string]*fakeClaim
	leases                 map[string]time.Time
	cancels                map[claimRef]string
	heartbeats             map[claimRef][]byte
	permits                map[string]fakePermits
	box                    map[string][]Outcome
	notBefore              map[string]time.Time
	fixed                  map[string]int
	gone, deaf             map[string]bool
	leader                 string
	leads                  time.Time
	dead                   []Outcome
}

type fakePermits struct {
	n     int
	until time.Time
}

type fakeDelayed struct {
	at   time.Time
	task *fakeTask
}

type fakeClaim struct {
	ref      claimRef
	task     *fakeTask
	executor string
	at       time.Time
}

func newFake(slots int) *fakeRedis {
	return &fakeRedis{
		keys: newKeys("slipstream", "test"), pool: "pool", conf: PoolConfig{Slots: slots}.withDefaults(),
		slots: make(map[int]*fakeSlot), present_: make(map[string]fakePresence),
		listeners: make(map[*fakeListener]bool), calls: make(map[string]int), log: silence{}, rateUsed: make(map[int64]int), firstTypes: make(map[string]int),
	}
}

const fakeLease = 5 * time.Second

// backend is the fake as the named executor sees it.
func (f *fakeRedis) backend(id string) backend {
	client := &fakeClient{fakeRedis: f, id: id}
	var store slotStore = client
	if f.reSends {
		store = &reSendingStore{fakeClient: client}
	}
	return backend{
		store: store, keys: f.keys, log: f.log, lease: fakeLease, memory: f.memory,
		config: func(context.Context, string, bool) (c PoolConfig, err error) {
			err = f.do("config", id, -1, func() { c = f.conf })
			return c, err
		},
		listen: func(heard hearing) listener {
			l := &fakeListener{f: f, heard: heard, queue: make(chan [3]string, 100_000), done: make(chan struct{})}
			go l.run()
			return l
		},
		ring: func(_ context.Context, channel, payload string) error {
			return f.do("ring", id, -1, func() { f.publish(channel, payload) })
		},
	}
}

// executor makes one that is not started.
func (f *fakeRedis) executor(t *testing.T, o ExecutorOptions) *Executor {
	t.Helper()
	o.Pool = f.pool
	if o.Types == nil {
		o.Types = []string{"A"}
	}
	if o.Handler == nil {
		o.Handler = echo
	}
	if o.Deliver == nil {
		o.Deliver = func(context.Context, *Batch) error { return nil }
	}
	e, err := newExecutor(f.backend(o.ID), o)
	require.NoError(t, err)
	return e
}

func (f *fakeRedis) ask(op, executor string, slot int, after bool) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op, executor, slot, after)
}

// do runs one call.
func (f *fakeRedis) do(op, executor string, slot int, act func()) error {
	f.mu.Lock()
	f.calls[op]++
	rtt, reply := f.rtt, f.slow[op]
	f.mu.Unlock()
	time.Sleep(rtt / 2) //nolint:forbidigo // the time that a call takes, by synctest's clock
	if err := f.ask(op, executor, slot, false); err != nil {
		return err
	}
	f.mu.Lock()
	act()
	f.mu.Unlock()
	time.Sleep(rtt/2 + reply) //nolint:forbidigo // see above
	return f.ask(op, executor, slot, true)
}

func (f *fakeRedis) setFault(fault func(op, executor string, slot int, after bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *fakeRedis) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *fakeRedis) countAll() (all int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.calls {
		all += n
	}
	return all
}

func (f *fakeRedis) now() time.Time { return time.Now().Add(f.ahead) }

func (f *fakeRedis) slot(n int) *fakeSlot {
	s := f.slots[n]
	if s == nil {
		s = &fakeSlot{
			claims: make(map[string]*fakeClaim), leases: make(map[string]time.Time), cancels: make(map[claimRef]string),
			heartbeats: make(map[claimRef][]byte), permits: make(map[string]fakePermits), box: make(map[string][]Outcome),
			notBefore: make(map[string]time.Time), fixed: make(map[string]int), gone: make(map[string]bool), deaf: make(map[string]bool),
		}
		f.slots[n] = s
	}
	return s
}

// enqueue adds tasks of a run to a slot and rings.
func (f *fakeRedis) enqueue(slot int, run string, tasks ...Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, now := f.slot(slot), f.now()
	for _, t := range tasks {
		s.ready = append(s.ready, &fakeTask{queuedAt: now, d: Delivery{
			Pool: f.pool, Run: run, Number: t.Number, Fingerprint: t.Fingerprint, Type: t.Type, Payload: t.Payload,
			Options: t.Options, Then: t.Then, Attempt: 1, ScheduledAt: now, AttemptScheduledAt: now, slot: slot,
		}})
	}
	f.ring(slot)
}

// ring tells of added tasks: the home executors, and all where those have too few permits.
func (f *fakeRedis) ring(slot int) {
	s := f.slot(slot)
	f.publish(f.keys.slotBell(f.pool, slot), "")
	permits := 0
	for _, p := range s.permits {
		if p.until.After(f.now()) {
			permits += p.n
		}
	}
	if len(s.ready) > permits {
		f.publish(f.keys.poolBell(f.pool), strconv.Itoa(slot))
	}
}

// cancel asks for the cancellation of a claimed task, or drops a waiting one.
func (f *fakeRedis) cancel(slot int, run string, number uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.slot(slot).claims {
		if c.task.d.Run == run && c.task.d.Number == number {
			c.task.canceled = true
			f.slot(slot).cancels[c.ref] = c.executor
			f.publish(f.keys.executorBell(f.pool, c.executor), fmt.Sprintf("%d %c %s %s", slot, c.ref.lane, c.ref.entry, c.ref.typ))
		}
	}
}

// outcomes are those of a run that were recorded and not yet delivered.
func (f *fakeRedis) outcomes(slot int, run string) []Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.slot(slot).box[run])
}

func (f *fakeRedis) claimsOf(executor string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.slots {
		for _, c := range s.claims {
			if c.executor == executor {
				n++
			}
		}
	}
	return n
}

// alive counts the executors that are present.
func (f *fakeRedis) alive() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.present_ {
		if p.until.After(f.now()) {
			n++
		}
	}
	return n
}

// steal gives a claim to somebody else, as a Reclaimer and another claim would.
func (f *fakeRedis) steal(slot int, number uint64, executor string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slot(slot)
	for id, c := range s.claims {
		if c.task.d.Number == number {
			delete(s.claims, id)
			f.entries++
			c.ref.entry = fmt.Sprintf("%d-%d", f.now().UnixMilli(), f.entries)
			c.executor = executor
			s.claims[c.ref.entry] = c
			s.leases[executor] = f.now().Add(time.Hour)
			return
		}
	}
}

// publish is called with the lock held.
func (f *fakeRedis) publish(channel, payload string) {
	for l := range f.listeners {
		if l.channels[channel] && !f.muted[channel] {
			l.queue <- [3]string{channel, payload, ""}
		}
	}
}

type fakeListener struct {
	f        *fakeRedis
	heard    hearing
	queue    chan [3]string
	done     chan struct{}
	channels map[string]bool // protected by f.mu
}

func (l *fakeListener) run() {
	defer close(l.done)
	for m := range l.queue {
		l.heard(m[0], m[1], m[2] != "")
	}
}

func (l *fakeListener) listen(_ context.Context, channels []string) error {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.f.listeners[l] = true
	now := make(map[string]bool)
	for _, c := range channels {
		now[c] = true
		if !l.channels[c] {
			l.queue <- [3]string{c, "", "missed"}
		}
	}
	l.channels = now
	return nil
}

func (l *fakeListener) close() error {
	l.f.mu.Lock()
	delete(l.f.listeners, l)
	close(l.queue)
	l.f.mu.Unlock()
	<-l.done
	return nil
}

// fakeClient is fakeRedis as one executor sees it.
type fakeClient struct {
	*fakeRedis
	id string
}

func (c *fakeClient) claim(_ context.Context, _ string, slot int, r claimRequest) (reply claimReply, err error) {
	err = c.do("claim", c.id, slot, func() { reply = c.claimLocked(slot, r) })
	if err != nil {
		return claimReply{}, err
	}
	return reply, nil
}

func (f *fakeRedis) claimLocked(slot int, r claimRequest) (reply claimReply) {
	s := f.slot(slot)
	f.firstTypes[r.types[0]]++
	outcomes := 0
	for _, box := range s.box {
		outcomes += len(box)
	}
	if outcomes >= r.outboxLimit {
		return claimReply{blocked: true}
	}
	take := func(from *[]*fakeTask, lane lane, want func(*fakeTask) bool) {
		var left []*fakeTask
		for _, t := range *from {
			if len(reply.deliveries) >= r.count || !slices.Contains(r.types, t.d.Type) || !want(t) {
				left = append(left, t)
				continue
			}
			f.entries++
			t.d.entry, t.d.lane = fmt.Sprintf("%d-%d", f.now().UnixMilli(), f.entries), lane
			d := t.d
			s.claims[t.d.entry] = &fakeClaim{ref: d.ref(), task: t, executor: r.executor, at: f.now()}
			reply.deliveries = append(reply.deliveries, &d)
			reply.bytes += len(d.Payload) + len(d.Common)
		}
		*from = left
	}
	budgets := r.suspects
	for level := levelAlone; level >= 0; level-- {
		take(&s.suspects, laneSuspect, func(t *fakeTask) bool {
			if suspectLevel(t.d.losses) != level || budgets[level] == 0 {
				return false
			}
			budgets[level]--
			return true
		})
		if level == levelAlone && len(reply.deliveries) > 0 {
			break
		}
	}
	if len(reply.deliveries) == 0 || suspectLevel(reply.deliveries[0].losses) != levelAlone {
		all := func(*fakeTask) bool { return true }
		take(&s.front, laneFront, all)
		take(&s.ready, laneReady, all)
		reply.more = slices.ContainsFunc(append(slices.Clone(s.front), s.ready...), func(t *fakeTask) bool { return slices.Contains(r.types, t.d.Type) })
	}
	if len(reply.deliveries) > 0 {
		s.leases[r.executor] = f.now().Add(r.lease)
	}
	return reply
}

func (c *fakeClient) settle(_ context.Context, _ string, slot int, batch []settlement) (replies []settleReply, err error) {
	err = c.do("settle", c.id, slot, func() {
		for i := range batch {
			replies = append(replies, c.settleLocked(slot, &batch[i]))
		}
	})
	if err != nil {
		return nil, err
	}
	return replies, nil
}

func (f *fakeRedis) settleLocked(slot int, x *settlement) settleReply {
	s, now := f.slot(slot), f.now()
	claim := s.claims[x.d.entry]
	switch {
	case x.lostBy != "" && s.leases[x.lostBy].After(now):
		return replyLeased
	case claim == nil:
		return replyLost
	}
	delete(s.claims, x.d.entry)
	delete(s.cancels, claim.ref)
	delete(s.heartbeats, claim.ref)
	t := claim.task
	if x.action == actionFinish || (t.canceled && x.outcome.Kind != 0) {
		if x.outcome.Kind == KindPoison {
			s.dead = append(s.dead, x.outcome)
		}
		s.box[t.d.Run] = append(s.box[t.d.Run], x.outcome)
		f.publish(f.keys.deliverBell(f.pool, slot), "")
		if x.action != actionFinish {
			return replyCanceled
		}
		return replySettled
	}
	if x.action == actionAdvance {
		next := t.d.Then[t.d.Step]
		t.queuedAt = now
		t.d.Type, t.d.Payload, t.d.Options, t.d.Step = next.Type, x.next, next.Options, t.d.Step+1
		t.d.Attempt, t.d.losses, t.d.alone, t.d.LastFailure, t.d.Heartbeat = 1, 0, 0, nil, nil
		t.d.ScheduledAt, t.d.AttemptScheduledAt = now, now
		s.ready = append(s.ready, t)
		f.ring(slot)
		return replySettled
	}
	t.d.Attempt, t.d.losses, t.d.alone = x.attempt, x.losses, x.alone
	t.d.LastFailure, t.d.Heartbeat = x.lastFailure, x.heartbeat
	if x.action == actionRetry {
		s.delayed = append(s.delayed, fakeDelayed{now.Add(x.delay), t})
		f.publish(f.keys.deliverBell(f.pool, slot), bellDue)
	} else {
		f.requeue(slot, t)
	}
	return replySettled
}

func (f *fakeRedis) requeue(slot int, t *fakeTask) {
	s := f.slot(slot)
	t.d.AttemptScheduledAt, t.d.slot = f.now(), slot
	if suspectLevel(t.d.losses) >= 0 {
		s.suspects = append(s.suspects, t)
	} else {
		s.front = append(s.front, t)
	}
	f.publish(f.keys.slotBell(f.pool, slot), "")
}

func (c *fakeClient) extend(_ context.Context, _ string, slots []int, executor string, lease time.Duration, beats map[claimRef][]byte) (cancel []claimRef, err error) {
	err = c.do("extend", c.id, -1, func() {
		for _, slot := range slots {
			s := c.slot(slot)
			s.leases[executor] = c.now().Add(lease)
			for ref, owner := range s.cancels {
				if owner == executor {
					cancel = append(cancel, ref)
				}
			}
		}
		for ref, details := range beats {
			c.slot(ref.slot).heartbeats[ref] = details
		}
	})
	return cancel, err
}

func (c *fakeClient) audit(_ context.Context, _ string, slot int, executor string) (refs []claimRef, err error) {
	err = c.do("audit", c.id, slot, func() {
		for _, claim := range c.slot(slot).claims {
			if claim.executor == executor {
				refs = append(refs, claim.ref)
			}
		}
	})
	return refs, err
}

func (c *fakeClient) adopt(_ context.Context, _, executor string, refs []claimRef) (ds []*Delivery, err error) {
	err = c.do("adopt", c.id, -1, func() {
		for _, ref := range refs {
			if claim := c.slot(ref.slot).claims[ref.entry]; claim != nil && claim.executor == executor {
				d := claim.task.d
				ds = append(ds, &d)
			}
		}
	})
	return ds, err
}

func (c *fakeClient) dropLease(_ context.Context, _, executor string, slots ...int) error {
	return c.do("dropLease", c.id, -1, func() {
		for _, slot := range slots {
			delete(c.slot(slot).leases, executor)
		}
	})
}

func (c *fakeClient) lost(_ context.Context, _ string, slot, limit int) (page lostPage, err error) {
	err = c.do("lost", c.id, slot, func() {
		s := c.slot(slot)
		page.held = len(s.claims) > 0
		for _, claim := range s.claims {
			if s.leases[claim.executor].After(c.now()) {
				continue
			}
			if page.more = len(page.claims) == limit; page.more {
				break
			}
			d := claim.task.d
			if hb, ok := s.heartbeats[claim.ref]; ok {
				d.Heartbeat = hb
			}
			page.claims = append(page.claims, lostClaim{&d, claim.executor, c.now().Sub(claim.at)})
		}
	})
	return page, err
}

func (c *fakeClient) due(_ context.Context, _ string, slot int) (next time.Duration, err error) {
	err = c.do("due", c.id, slot, func() {
		s, now := c.slot(slot), c.now()
		next = -1
		var left []fakeDelayed
		for _, d := range s.delayed {
			if wait := d.at.Sub(now); wait <= 0 {
				c.requeue(slot, d.task)
			} else {
				left = append(left, d)
				if next < 0 || wait < next {
					next = wait
				}
			}
		}
		s.delayed = left
	})
	return next, err
}

func (c *fakeClient) home(_ context.Context, _ string, slots []homeSlot, executor string, permits int, ttl time.Duration) (map[int]bool, error) {
	leads := make(map[int]bool)
	err := c.do("home", c.id, -1, func() {
		c.calls["home"] += len(slots) - 1 // Redis gets one for each
		for _, home := range slots {
			s := c.slot(home.slot)
			if permits > 0 {
				s.permits[executor] = fakePermits{permits, c.now().Add(ttl)}
			} else {
				delete(s.permits, executor)
			}
			leads[home.slot] = home.mayLead && (s.leader == executor || !s.leads.After(c.now()))
			if leads[home.slot] {
				if s.leader != executor {
					clear(s.notBefore)
				}
				s.leader, s.leads = executor, c.now().Add(ttl)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return leads, nil
}

func (c *fakeClient) resign(_ context.Context, _ string, slot int, executor string) error {
	return c.do("resign", c.id, slot, func() {
		if s := c.slot(slot); s.leader == executor {
			s.leader, s.leads = "", time.Time{}
			c.publish(c.keys.deliverBell(c.pool, slot), bellLead)
		}
	})
}

func (c *fakeClient) batches(_ context.Context, pool string, slot, limit int) (out []*Batch, wait time.Duration, err error) {
	err = c.do("batches", c.id, slot, func() {
		s, now := c.slot(slot), c.now()
		wait = -1
		for run, box := range s.box {
			if len(box) == 0 || s.deaf[run] || s.gone[run] {
				continue
			}
			if at := s.notBefore[run]; at.After(now) || len(out) == limit {
				if left := max(0, at.Sub(now)); wait < 0 || left < wait {
					wait = left
				}
				continue
			}
			if s.fixed[run] == 0 {
				s.fixed[run] = len(box)
			}
			s.notBefore[run] = now.Add(timeToSend)
			b := &Batch{Pool: pool, Slot: slot, Run: run, Outcomes: slices.Clone(box[:s.fixed[run]])}
			b.ID = batchID(b)
			out = append(out, b)
		}
	})
	return out, wait, err
}

func (c *fakeClient) acked(_ context.Context, b *Batch) error {
	return c.do("acked", c.id, b.Slot, func() {
		s := c.slot(b.Slot)
		if s.fixed[b.Run] != len(b.Outcomes) {
			return
		}
		s.box[b.Run] = s.box[b.Run][len(b.Outcomes):]
		delete(s.fixed, b.Run)
		delete(s.notBefore, b.Run)
		if len(s.box[b.Run]) > 0 {
			c.publish(c.keys.deliverBell(c.pool, b.Slot), "")
		}
	})
}

func (c *fakeClient) retryBatch(_ context.Context, b *Batch, delay time.Duration) error {
	return c.do("retryBatch", c.id, b.Slot, func() { c.slot(b.Slot).notBefore[b.Run] = c.now().Add(delay) })
}

func (c *fakeClient) deafRun(_ context.Context, b *Batch) error {
	return c.do("deafRun", c.id, b.Slot, func() { c.slot(b.Slot).deaf[b.Run] = true })
}

func (c *fakeClient) abandon(_ context.Context, b *Batch) error {
	return c.do("abandon", c.id, b.Slot, func() { c.slot(b.Slot).gone[b.Run] = true })
}

func (c *fakeClient) present(_ context.Context, _ string, p presence, ttl time.Duration) (present []presence, now time.Time, err error) {
	err = c.do("present", c.id, -1, func() {
		now = c.now()
		c.present_[p.Executor] = fakePresence{p, now.Add(ttl)}
		present = c.presentNow()
	})
	return present, now, err
}

func (c *fakeClient) absent(_ context.Context, _, executor string) error {
	return c.do("absent", c.id, -1, func() { delete(c.present_, executor) })
}

func (c *fakeClient) presences(context.Context, string) (out []presence, err error) {
	err = c.do("presences", c.id, -1, func() { out = c.presentNow() })
	return out, err
}

func (c *fakeClient) presentNow() (out []presence) {
	for _, p := range c.present_ {
		if p.until.After(c.now()) {
			out = append(out, p.presence)
		}
	}
	return out
}

func (c *fakeClient) reserveRate(_ context.Context, _ string, perSecond float64, n int) (granted int, wait time.Duration, err error) {
	err = c.do("reserveRate", c.id, -1, func() {
		second := c.now().Unix()
		granted = min(n, max(0, int(perSecond)-c.rateUsed[second]))
		c.rateUsed[second] += granted
		if granted < n {
			wait = time.Unix(second+1, 0).Sub(c.now())
		}
	})
	return granted, wait, err
}

var _ slotStore = (*fakeClient)(nil)

// away makes every call fail while it is on.
type away struct {
	mu   sync.Mutex
	only string // an executor's name; "" for all
	on   bool
}

func (a *away) set(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = on
}

func (a *away) fault(_, executor string, _ int, _ bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.on && (a.only == "" || a.only == executor) {
		return errAway
	}
	return nil
}

var errRefused = redisError("ERR this is refused")

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}
