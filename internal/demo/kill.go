package demo

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// killAndRestart kills the node inside an open transaction, starts it again at once, and says what
// that cost.
func (s *show) killAndRestart(ctx context.Context) error {
	ids, err := s.transactionalIDs(ctx)
	if err != nil {
		return err
	}
	uncommitted, err := s.killInTransaction(ctx, ids)
	if err != nil {
		return err
	}
	killed := s.node.pid()
	s.view.say("kill -9 %d: the broker reports its transaction open", killed)
	if err := s.startNode(); err != nil {
		return err
	}
	if err := s.awaitRunning(ctx); err != nil {
		return err
	}
	st, err := s.client.Status(ctx)
	if err != nil {
		return err
	}
	var fenceMs, records, restoreMs int64
	for _, l := range st.Apps[0].Lanes {
		fenceMs = max(fenceMs, l.FenceMs)
		if l.Restore != nil {
			records += l.Restore.Records
			restoreMs = max(restoreMs, l.Restore.Ms)
		}
	}
	s.view.say("killed node pid %d with %d uncommitted records; fenced in %d ms; restored %d changelog records in %d ms",
		killed, uncommitted, fenceMs, records, restoreMs)
	return nil
}

// transactionalIDs are those of the app's lanes.
func (s *show) transactionalIDs(ctx context.Context) ([]string, error) {
	st, err := s.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, l := range st.Apps[0].Lanes {
		ids = append(ids, fmt.Sprintf("%s.lane-%d", app, l.Lane))
	}
	return ids, nil
}

// killInTransaction kills the node while the broker reports a transaction of it as open and holds
// records of it, and returns how many. A look takes longer than a transaction, so the node is
// frozen for each; if the moment is not right it goes on.
func (s *show) killInTransaction(ctx context.Context, ids []string) (int64, error) {
	const most = 2000
	for range most {
		if err := s.node.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("freeze the node: %w\n%s", err, s.node.tail())
		}
		n, err := s.uncommitted(ctx, ids)
		if err != nil {
			return 0, err
		}
		if n > 0 {
			s.node.kill()
			return n, nil
		}
		if err := s.node.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return 0, fmt.Errorf("wake the node: %w\n%s", err, s.node.tail())
		}
		// 7 and 25, the shortest interval between commits, have no common divisor: the looks fall
		// on every phase of it.
		if err := s.opt.Seam.Sleep(ctx, 7*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("in %d looks the broker never had an open transaction of the node\n%s", most, s.node.tail())
}

// uncommitted is how many records of open transactions output and changelog hold; 0 when no
// transaction of the ids is open.
func (s *show) uncommitted(ctx context.Context, ids []string) (int64, error) {
	open := false
	for _, id := range ids {
		t, ok, err := s.admin.DescribeTransaction(ctx, id)
		if err != nil {
			return 0, err
		}
		open = open || ok && t.Open()
	}
	if !open {
		return 0, nil
	}
	var n int64
	for _, topic := range []string{output, changelog} {
		ends, err := s.admin.EndOffsets(ctx, topic, false)
		if err != nil {
			return 0, err
		}
		stable, err := s.admin.EndOffsets(ctx, topic, true)
		if err != nil {
			return 0, err
		}
		for p, end := range ends {
			n += end - stable[p]
		}
	}
	return n, nil
}

// watch shows the top counts until ctx ends. A node that is down just now shows its last ones.
func (s *show) watch(ctx context.Context) {
	every := time.Second
	if s.opt.TTY {
		every = 200 * time.Millisecond
	}
	began := s.opt.Seam.Now()
	var last frame
	for s.opt.Seam.Sleep(ctx, every) == nil {
		last.seconds = s.opt.Seam.Since(began).Seconds()
		last.sent = s.sent.total()
		st, err := s.client.Status(ctx)
		last.alive = err == nil && len(st.Apps) > 0
		if last.alive {
			last.counted = st.Apps[0].Processed
		}
		top, err := s.client.Top(ctx, app, topRows, api.ReadOptions{Wait: time.Millisecond})
		if err == nil {
			last.top = top.Counts
		}
		if ctx.Err() == nil {
			s.view.draw(last)
		}
	}
}
