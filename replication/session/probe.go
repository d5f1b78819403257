package session

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// A member without a connection is dialed a few times: a process that has just ended may still be
// accepting for a moment, and one that has ended before this node led was never connected to it.
const (
	probeTimes  = 6
	probeEvery  = 25 * time.Millisecond
	probeGrowth = 2
)

// probed is a member that is dialed now, and how often it has to refuse.
type probed struct {
	id   string
	need int
}

// probe looks whether a member has no process any more: its address refuses need times running.
// Anything else says nothing, and its TTL decides. The lock is held.
func (t *Table) probe(id, incarnation string, need int) {
	p := probed{id, need}
	if t.probing[p] || t.ctx == nil || t.ctx.Err() != nil {
		return
	}
	t.probing[p] = true
	ctx := t.ctx
	t.probes.Go(func() {
		t.probeTimes(ctx, id, incarnation, need)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.probing, p)
	})
}

func (t *Table) probeTimes(ctx context.Context, id, incarnation string, need int) {
	pause, refusals := probeEvery, 0
	for n := range probeTimes {
		// A member that was never connected gets a moment to do so. One that was is asked at once.
		if n > 0 || need > 1 {
			if t.cfg.Seam.Sleep(ctx, pause) != nil {
				return
			}
			pause *= probeGrowth
		}
		t.mu.Lock()
		addr, ok := t.r.silent(id, incarnation)
		t.mu.Unlock()
		if !ok {
			return
		}
		if !t.refuses(ctx, addr) {
			refusals = 0
			continue
		}
		if refusals++; refusals >= need {
			t.bury(ctx, id, incarnation)
			return
		}
	}
}

func (t *Table) bury(ctx context.Context, id, incarnation string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() == nil && t.r.refused(id, incarnation, t.cfg.Seam.Now()) {
		t.notify()
	}
}

func (t *Table) refuses(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.RedialTimeout)
	defer cancel()
	conn, err := t.cfg.Dial(ctx, addr)
	if err == nil {
		_ = conn.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
