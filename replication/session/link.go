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

var (
	errNotLeader = errors.New("session: the node does not lead")
	errDeposed   = errors.New("session: the node led in an earlier term")
	errMoved     = errors.New("session: another node leads")
	errSilent    = errors.New("session: the leader does not answer")
)

// link is one connection of a member to the leader.
type link struct {
	m    *Member
	conn net.Conn
	news changes // the writer's

	mu    sync.Mutex
	sent  []sentPing // without an answer yet, in order
	again bool       // the leader wants a whole report
	held  bool       // the leader has answered once
}

type sentPing struct {
	seq uint64
	at  time.Time
}

// unansweredMax bounds the pings under way. A whole report of 100,000 copies has 100.
const unansweredMax = 1024

// hold keeps one connection until it breaks, ctx ends, or another node leads. broken says that it
// was a session with the leader, and no reason but the leader is known for its end.
func (m *Member) hold(ctx context.Context, aim aim) (broken bool, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	conn, err := m.cfg.Dial(dialCtx, aim.addr)
	cancel()
	if err != nil {
		return false, fmt.Errorf("session: no connection: %w", err)
	}
	outer := ctx
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l := &link{m: m, conn: conn, news: changes{perLine: m.cfg.CopiesPerLine}}
	// Nothing else bounds a write to a leader that hangs: whoever ends the link closes it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { end(l.read()) })
	running.Go(func() { end(l.write(ctx)) })
	running.Go(func() { end(l.watch(ctx, aim)) })
	running.Wait()
	_ = conn.Close()
	err = context.Cause(ctx)
	return l.held && outer.Err() == nil && !errors.Is(err, errMoved) && !errors.Is(err, errNotLeader) && !errors.Is(err, errDeposed), err
}

// write pings until it fails.
func (l *link) write(ctx context.Context) error {
	cfg := &l.m.cfg
	for {
		at := cfg.Seam.Now()
		if err := l.ping(); err != nil {
			return err
		}
		if err := l.pause(ctx, at); err != nil {
			return err
		}
	}
}

// pause waits for the next ping's time, or for a nudge.
func (l *link) pause(ctx context.Context, last time.Time) error {
	cfg := &l.m.cfg
	c, stop := cfg.Seam.Timer(l.m.every() - cfg.Seam.Since(last))
	defer stop()
	select {
	case <-c:
		return nil
	case <-l.m.nudge:
		return cfg.Seam.Sleep(ctx, cfg.NudgeMin-cfg.Seam.Since(last))
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) ping() error {
	l.mu.Lock()
	if l.again {
		l.again = false
		l.news.again()
	}
	l.mu.Unlock()
	for _, p := range l.news.pings(l.m.cfg.Report()) {
		if err := l.send(p); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) send(p ping) error {
	text := line(p)
	l.mu.Lock()
	if len(l.sent) >= unansweredMax {
		l.mu.Unlock()
		return errSilent
	}
	l.sent = append(l.sent, sentPing{p.Seq, l.m.cfg.Seam.Now()})
	l.mu.Unlock()
	_, err := l.conn.Write(text)
	return err
}

// read takes answers until it fails.
func (l *link) read() error {
	lines := bufio.NewScanner(l.conn)
	lines.Buffer(make([]byte, 0, 1<<10), l.m.cfg.AnswerMax)
	for lines.Scan() {
		var a Answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return fmt.Errorf("session: the leader's answer: %w", err)
		}
		sent, err := l.take(a.Seq)
		if err != nil {
			return err
		}
		again, err := l.m.answered(a, sent)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.held, l.again = true, l.again || again
		l.mu.Unlock()
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("session: the leader closed the connection")
}

// take is when the ping was sent that this is the answer to. Answers come in order, each once.
func (l *link) take(seq uint64) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 || l.sent[0].seq != seq {
		return time.Time{}, fmt.Errorf("session: an answer to ping %d, which does not wait for one", seq)
	}
	at := l.sent[0].at
	l.sent = l.sent[1:]
	return at, nil
}

// watch ends the link when another node leads, or when a ping has no answer for a TTL.
func (l *link) watch(ctx context.Context, aim aim) error {
	cfg, changed := &l.m.cfg, aim.changed
	for {
		c, stop := cfg.Seam.Timer(l.untilLook(changed))
		select {
		case <-c:
		case <-changed:
			_, _, changed = cfg.Leader()
		case <-ctx.Done():
		}
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if aim.old(cfg.Leader) {
			return errMoved
		}
		if l.unanswered() > cfg.TTL {
			return errSilent
		}
	}
}

// untilLook is when the next ping can have waited too long, or where nobody tells of another leader
// soon.
func (l *link) untilLook(changed <-chan struct{}) time.Duration {
	cfg := &l.m.cfg
	if changed == nil {
		return cfg.Every
	}
	return max(cfg.TTL-l.unanswered(), cfg.NudgeMin)
}

// unanswered is how long the oldest ping waits for its answer.
func (l *link) unanswered() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 {
		return 0
	}
	return l.m.cfg.Seam.Since(l.sent[0].at)
}
