package activity

import (
	"context"
	"sync"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// Bounds of what is remembered about announcements.
const (
	// A pool's announcements are read again after this; they hold for a day.
	announcementsKept = time.Minute
	// A type that two readings did not show is not waited for again so soon.
	absenceKept = 10 * time.Second
	// announcementWait is the time between the two readings: a worker that starts now
	// announces its types within it.
	announcementWait = time.Second
)

// announcements tell which types the workers of a pool handle (protocol D2).
type announcements struct {
	queue *batchqueue.Queue

	mu    sync.Mutex
	pools map[string]*announcement
}

type announcement struct {
	types  map[string]bool
	read   time.Time
	absent map[string]time.Time
}

func newAnnouncements(q *batchqueue.Queue) *announcements {
	return &announcements{queue: q, pools: map[string]*announcement{}}
}

// handled returns which of the types are handled in the pool. A type that is not is
// looked for once more, a second later, or as soon as hurry is closed meanwhile. An error
// means that Redis did not answer.
func (a *announcements) handled(ctx context.Context, pool string, types []string, hurry <-chan struct{}) (map[string]bool, error) {
	known := a.known(pool)
	if known != nil && time.Since(known.read) < announcementsKept && known.has(types) {
		return known.types, nil
	}
	known, err := a.read(ctx, pool)
	if err != nil {
		return nil, err
	}
	if known.has(types) || known.recentlyAbsent(types) {
		return known.types, nil
	}
	select {
	case <-hurry:
		hurry = nil // this worker announced long ago; another one may be about to
	default:
	}
	wait := time.NewTimer(announcementWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-hurry:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if known, err = a.read(ctx, pool); err != nil {
		return nil, err
	}
	a.noteAbsent(pool, known, types)
	return known.types, nil
}

func (a *announcements) known(pool string) *announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pools[pool]
}

// read replaces what is known; an announcement, once made, is never changed.
func (a *announcements) read(ctx context.Context, pool string) (*announcement, error) {
	types, err := a.queue.Announced(ctx, pool)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := &announcement{types: types, read: time.Now()}
	if old := a.pools[pool]; old != nil {
		fresh.absent = old.absent
	}
	a.pools[pool] = fresh
	return fresh, nil
}

func (a *announcements) noteAbsent(pool string, known *announcement, types []string) {
	absent := map[string]time.Time{}
	for name, at := range known.absent {
		if time.Since(at) < absenceKept {
			absent[name] = at
		}
	}
	for _, name := range types {
		if !known.types[name] {
			absent[name] = time.Now()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pools[pool] = &announcement{types: known.types, read: known.read, absent: absent}
}

func (n *announcement) has(types []string) bool {
	for _, name := range types {
		if !n.types[name] {
			return false
		}
	}
	return true
}

func (n *announcement) recentlyAbsent(types []string) bool {
	for _, name := range types {
		if !n.types[name] && time.Since(n.absent[name]) > absenceKept {
			return false
		}
	}
	return true
}
