package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/internal/outage"
)

// Bounds of one settle script, and of how long a settlement waits for company.
const (
	settleWait    = 2 * time.Millisecond
	settleCount   = 200
	settleBytes   = 1 << 20
	settleFlights = 4 // scripts under way per slot

	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second

	// settleBacklog is how many settlements may wait in a slot, and settleBacklogBytes how
	// large they may be, before nothing more is claimed there: permits are free again
	// before the settlement is.
	settleBacklog      = 5 * settleCount
	settleBacklogBytes = 8 * settleBytes

	// refusedMost is how many settlements that Redis refuses one by one a slot may have
	// before nothing more is claimed there.
	refusedMost = 1000
)

// settler reports what became of claims, in groups per slot. The first settlement of a
// quiet slot goes at once; what comes while a script is under way goes together, at the
// latest after settleWait unless settleFlights are under way already.
//
// Nothing is dropped: while Redis does not answer, the same group is sent again with
// back-off, long after the lease has ended, because only the reply says whose the claim
// is. What waits is bounded: nothing is claimed in a slot that does not take
// settlements, or takes them too slowly.
type settler struct {
	pool  string
	store slotStore
	log   Logger
	// settled is called once per entry, with the reply; unsure means that an earlier try
	// went unanswered, so that "lost" may be its own echo.
	settled func(e settleEntry, reply settleReply, unsure bool)
	failed  func(err error)
	outage  outage.Outage

	ctx    context.Context // ends when what is left is given up
	giveUp context.CancelFunc
	wg     sync.WaitGroup // flights

	mu     sync.Mutex
	queues map[int]*settleQueue // protected by mu
}

type settleEntry struct {
	settlement
	c *claim
}

func (e *settleEntry) size() int {
	return 200 + len(e.outcome.Payload) + len(e.lastFailure) + len(e.heartbeat) + len(e.next)
}

// settleQueue is one slot's. Protected by settler.mu.
type settleQueue struct {
	waiting []settleEntry
	bytes   int // of waiting
	flights int
	failing int // flights whose last try failed
	refused int // settlements that Redis refuses one by one
	timer   *time.Timer
	armed   bool
}

func newSettler(pool string, store slotStore, log Logger) *settler {
	s := &settler{pool: pool, store: store, log: log, queues: make(map[int]*settleQueue)}
	s.ctx, s.giveUp = context.WithCancel(context.Background())
	return s
}

func (s *settler) add(slot int, e settleEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[slot]
	if q == nil {
		q = &settleQueue{}
		q.timer = time.AfterFunc(time.Hour, func() { s.waited(slot, q) })
		q.timer.Stop()
		s.queues[slot] = q
	}
	q.waiting = append(q.waiting, e)
	q.bytes += e.size()
	switch {
	case q.flights == 0 || len(q.waiting) >= settleCount || q.bytes >= settleBytes:
		s.launch(slot, q)
	case !q.armed:
		q.armed = true
		q.timer.Reset(settleWait)
	}
}

func (s *settler) waited(slot int, q *settleQueue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.armed = false
	s.launch(slot, q)
}

// launch sends what waits, as far as flights are free. Holds mu.
func (s *settler) launch(slot int, q *settleQueue) {
	for len(q.waiting) > 0 && q.flights < settleFlights {
		n, bytes := 0, 0
		for n < len(q.waiting) && n < settleCount {
			size := q.waiting[n].size()
			if n > 0 && bytes+size > settleBytes {
				break
			}
			n, bytes = n+1, bytes+size
		}
		group := q.waiting[:n:n]
		q.waiting, q.bytes = q.waiting[n:], q.bytes-bytes
		if len(q.waiting) == 0 {
			q.waiting = nil
		}
		q.flights++
		s.wg.Go(func() { s.fly(slot, q, group) })
	}
}

func (s *settler) fly(slot int, q *settleQueue, group []settleEntry) {
	s.send(slot, q, group)
	s.mu.Lock()
	defer s.mu.Unlock()
	q.flights--
	s.launch(slot, q)
}

// send brings one group to Redis, however long it takes.
func (s *settler) send(slot int, q *settleQueue, group []settleEntry) {
	retry := backoff{first: retryFirst, most: retryMost}
	defer func() {
		if retry.tries > 0 {
			s.count(func() { q.failing-- })
		}
	}()
	for {
		err := s.try(slot, group, retry.tries > 0)
		switch {
		case err == nil:
			return
		case refused(err) && len(group) == 1:
			s.wg.Go(func() { s.insist(slot, q, group) })
			return
		case refused(err):
			// Something in the group gives offence: let it fail alone.
			s.send(slot, q, group[:len(group)/2])
			s.send(slot, q, group[len(group)/2:])
			return
		}
		wait := retry.next()
		if retry.tries == 1 {
			s.count(func() { q.failing++ })
		}
		if n, say := s.outage.Failed(time.Now()); say {
			s.log.Warn("[Slipstream] settling fails, will be tried again", "Pool", s.pool, "Slot", slot, "Failures", n,
				"Tasks", len(group), "Tries", retry.tries, "Wait", wait, "Error", err)
		}
		if !pause(s.ctx, wait) {
			return
		}
	}
}

// insist keeps trying a settlement that Redis refuses, beside the flights, so that it
// holds up nothing else. It is not given up silently: its task would look claimed for
// ever, and the log says so.
func (s *settler) insist(slot int, q *settleQueue, one []settleEntry) {
	s.count(func() { q.refused++ })
	defer s.count(func() { q.refused-- })
	retry := backoff{first: time.Second, most: time.Minute}
	for {
		wait := retry.next()
		if !pause(s.ctx, wait) {
			return
		}
		err := s.try(slot, one, true)
		if err == nil {
			return
		}
		d := one[0].d
		s.log.Error("[Slipstream] Redis refuses a settlement", "Pool", s.pool, "Slot", slot, "Run", d.Run,
			"Task", d.Number, "Type", d.Type, "Tries", retry.tries, "Error", err)
	}
}

// try sends the group once.
func (s *settler) try(slot int, group []settleEntry, unsure bool) error {
	batch := make([]settlement, len(group))
	for i := range group {
		batch[i] = group[i].settlement
	}
	replies, err := s.store.settle(s.ctx, s.pool, slot, batch)
	if err == nil && len(replies) != len(group) {
		err = fmt.Errorf("settle in pool %q slot %d: %d replies to %d settlements", s.pool, slot, len(replies), len(group))
	}
	if err != nil {
		s.failed(err)
		return err
	}
	if n, lasted, say := s.outage.Worked(time.Now()); say {
		s.log.Info("[Slipstream] settling works again", "Pool", s.pool, "Slot", slot, "Failures", n, "Lasted", lasted)
	}
	for i := range group {
		s.settled(group[i], replies[i], unsure)
	}
	return nil
}

func (s *settler) count(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// refused tells an answer of the server to these settlements, that will stay the same, from
// one that passes, or that has to do with the connection and not with them.
func refused(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	if isDenial(answer) {
		return false
	}
	for _, passing := range []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "NOREPLICAS", "OOM", "MISCONF", "NOSCRIPT", "max number of clients"} {
		if redis.HasErrorPrefix(answer, passing) {
			return false
		}
	}
	return true
}

// stuck says whether the slot does not take settlements just now.
func (s *settler) stuck(slot int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[slot]
	return q != nil && (q.failing > 0 || q.refused > refusedMost)
}

// behind says whether the slot takes settlements more slowly than they come.
func (s *settler) behind(slot int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[slot]
	return q != nil && (len(q.waiting) > settleBacklog || q.bytes > settleBacklogBytes)
}

// waiting counts what was not sent yet.
func (s *settler) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		n += len(q.waiting)
	}
	return n
}

// drain waits until everything that was added is settled, or ctx ends: then the rest is
// given up. Nothing may be added any more. It returns when no goroutine is left.
func (s *settler) drain(ctx context.Context) {
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.giveUp()
		<-done
	}
	s.giveUp()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		q.timer.Stop()
	}
}
