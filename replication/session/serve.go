package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// served is one connection that a member has made to this node.
type served struct {
	number uint64
	conn   net.Conn
	heard  time.Time // when its last line came
	term   uint64    // that its first ping came in; a connection is of one term
	begun  bool
}

// Serve answers members over the listener's connections until ctx ends, then it closes them. It
// serves while this node does not lead too: then it says who does.
func (t *Table) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { t.sweep(ctx) })
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("session: %w", err)
		}
		if err != nil { // of one connection, or of too many open files
			t.cfg.Log.Warn("a session was not accepted", "err", err)
			if t.cfg.Seam.Sleep(ctx, 100*time.Millisecond) != nil {
				return ctx.Err()
			}
			continue
		}
		if s := t.open(conn); s != nil {
			running.Go(func() { t.attend(s) })
		}
		if ctx.Err() != nil { // since the connections were closed, maybe
			_ = conn.Close()
		}
	}
}

// open numbers a connection; nil when there are too many.
func (t *Table) open(conn net.Conn) *served {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) >= t.cfg.ConnsMax {
		t.cfg.Log.Warn("a session was refused: there are too many", "connections", len(t.conns))
		_ = conn.Close()
		return nil
	}
	t.conn++
	s := &served{number: t.conn, conn: conn, heard: t.cfg.Seam.Now()}
	t.conns[s.number] = s
	return s
}

// attend reads pings and answers them, until one of both sides has enough.
func (t *Table) attend(s *served) {
	defer t.ended(s)
	lines := bufio.NewScanner(s.conn)
	lines.Buffer(make([]byte, 0, 4<<10), t.cfg.LineBytesMax)
	for lines.Scan() {
		var p ping
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.cfg.Log.Warn("a session was closed: a line that is no ping", "from", s.conn.RemoteAddr(), "err", err)
			return
		}
		answer, err := t.answer(s, p)
		if err != nil {
			t.cfg.Log.Warn("a session was closed", "from", s.conn.RemoteAddr(), "err", err)
			return
		}
		if _, err := s.conn.Write(line(answer)); err != nil {
			return
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		t.cfg.Log.Warn("a session was closed: a ping is too long", "from", s.conn.RemoteAddr(), "bytes_max", t.cfg.LineBytesMax)
	}
}

func (t *Table) answer(s *served, p ping) (Answer, error) {
	state := t.cfg.State()
	leader, addr := t.cfg.Leader()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Seam.Now()
	s.heard = now
	a := Answer{Seq: p.Seq, Leader: t.cfg.ID, Term: t.r.term}
	if !s.begun {
		s.begun, s.term = true, t.r.term
	}
	// What was said to an earlier leadership was not kept: the member begins again.
	if !t.r.leading || s.term != t.r.term {
		a.NotLeader, a.Leader, a.LeaderAddr = true, leader, addr
		return a, nil
	}
	t.r.observe(state, now)
	known, changed, err := t.r.ping(s.number, p, now)
	a.Known, a.TTLMs = known, t.r.patience(t.cfg.TTL).Milliseconds()
	a.Behind = t.r.behind(p.Version, now)
	t.r.lacks(p.ID, a.Behind, now)
	a.Behind = a.Behind || t.doubtful(now)
	if changed {
		t.notify()
	}
	return a, err
}

// ended closes a connection. When it was a member's last one, the member may be dead.
func (t *Table) ended(s *served) {
	_ = s.conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, s.number)
	if id, ok := t.r.hungUp(s.number); ok {
		t.probe(id, t.r.sessions[id].incarnation, 1)
	}
}

// sweep closes the connections that nobody speaks over, and all of them when ctx ends.
func (t *Table) sweep(ctx context.Context) {
	for t.cfg.Seam.Sleep(ctx, t.cfg.IdleMax/4) == nil {
		t.mu.Lock()
		for _, s := range t.conns {
			if t.cfg.Seam.Since(s.heard) > t.cfg.IdleMax {
				_ = s.conn.Close()
			}
		}
		t.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.conns {
		_ = s.conn.Close()
	}
}
