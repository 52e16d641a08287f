package activity

import (
	"context"
	"sync"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// strays are tasks that may be in the queue although their calls went plain, because the
// answer to their enqueue was lost. They are discarded when Redis answers again. Best
// effort: one that is forgotten runs twice, as an activity may, and its outcome is
// dropped.
type strays struct {
	mu    sync.Mutex
	tasks []stray
}

type stray struct {
	pool     string
	slot     int
	run      string
	identity batchqueue.Identity
}

// maxStrays bounds the list; the oldest are forgotten.
const maxStrays = 1000

func (s *strays) add(t stray) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, t)
	if extra := len(s.tasks) - maxStrays; extra > 0 {
		s.tasks = s.tasks[extra:]
	}
}

// cancel cancels all of them, and keeps those for which Redis does not answer.
func (s *strays) cancel(ctx context.Context, q *batchqueue.Queue) {
	s.mu.Lock()
	tasks := s.tasks
	s.tasks = nil
	s.mu.Unlock()
	for i, t := range tasks {
		if err := q.Discard(ctx, t.pool, t.slot, t.run, []batchqueue.Identity{t.identity}); err != nil {
			for _, left := range tasks[i:] {
				s.add(left)
			}
			return
		}
	}
}
