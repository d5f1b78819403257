package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

// killAndRestart kills an owner inside an open transaction, watches its lanes go on elsewhere,
// starts it again, and says what all that cost.
func (s *show) killAndRestart(ctx context.Context) error {
	v, err := s.victim(ctx)
	if err != nil {
		return err
	}
	uncommitted, ends, err := s.killInTransaction(ctx, v)
	if err != nil {
		return err
	}
	killed := s.opt.Seam.Now()
	s.view.say("kill -9 of node %s, pid %d, which owns %s: the broker reports its transaction open, with %d records uncommitted",
		v.node.name, v.node.now().pid(), lanesText(v.lanes), uncommitted)
	if err := s.awaitTakeover(ctx, v, ends, killed); err != nil {
		return err
	}
	return s.restart(ctx, v)
}

// victim is the node that is to be killed.
type victim struct {
	node  *node
	lanes []int // that it owns
	of    int   // how many lanes the app has: partition p is of lane p mod of
}

func (v *victim) owns(partition int32) bool { return slices.Contains(v.lanes, int(partition)%v.of) }

// victim chooses the owner of most lanes that does not lead: the leader has to be elected anew
// where it is killed, which takes a second longer and is another show.
func (s *show) victim(ctx context.Context) (*victim, error) {
	st, err := s.awaitHealthy(ctx, "every lane to run, with a standby")
	if err != nil {
		return nil, err
	}
	v := &victim{of: len(st.Apps[0].Lanes)}
	for _, n := range s.nodes {
		if owns, _ := lanesOf(st, n.name); n.name != st.Leader && len(owns) > len(v.lanes) {
			v.node, v.lanes = n, owns
		}
	}
	if v.node == nil {
		return nil, fmt.Errorf("no node but the leader owns a lane:\n%s", strings.Join(placement(st, s.nodes), "\n"))
	}
	return v, nil
}

// killInTransaction kills the node while the broker reports a transaction of it as open and holds
// records of it, and returns how many, and where the output ended. A look takes longer than a
// transaction, so the node is frozen for each; if the moment is not right it goes on.
func (s *show) killInTransaction(ctx context.Context, v *victim) (n int64, ends map[int32]int64, err error) {
	const most = 2000
	p := v.node.now()
	for range most {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return 0, nil, fmt.Errorf("freeze the node: %w\n%s", err, p.tail())
		}
		if n, ends, err = s.uncommitted(ctx, v); err != nil {
			return 0, nil, err
		}
		if n > 0 {
			p.kill()
			return n, ends, nil
		}
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return 0, nil, fmt.Errorf("wake the node: %w\n%s", err, p.tail())
		}
		// 7 and 25, the shortest interval between commits, have no common divisor: the looks fall
		// on every phase of it.
		if err := s.opt.Seam.Sleep(ctx, 7*time.Millisecond); err != nil {
			return 0, nil, err
		}
	}
	return 0, nil, fmt.Errorf("in %d looks the broker never had an open transaction of node %s\n%s", most, v.node.name, p.tail())
}

// uncommitted is how many records of the node's open transactions output and changelog hold, and
// where its partitions of the output end; 0 when no transaction of it is open.
func (s *show) uncommitted(ctx context.Context, v *victim) (n int64, outputEnds map[int32]int64, err error) {
	open := false
	for _, lane := range v.lanes {
		t, ok, err := s.admin.DescribeTransaction(ctx, fmt.Sprintf("%s.lane-%d", s.names.app, lane))
		if err != nil {
			return 0, nil, err
		}
		open = open || ok && t.Open()
	}
	if !open {
		return 0, nil, nil
	}
	for _, topic := range []string{s.names.output, s.names.changelog()} {
		ends, err := s.admin.EndOffsets(ctx, topic, false)
		if err != nil {
			return 0, nil, err
		}
		stable, err := s.admin.EndOffsets(ctx, topic, true)
		if err != nil {
			return 0, nil, err
		}
		for p, end := range ends {
			if v.owns(p) {
				n += end - stable[p]
			}
		}
		if topic == s.names.output {
			outputEnds = ends
		}
	}
	return n, outputEnds, nil
}

// awaitTakeover waits until what the killed node owned is counted elsewhere, as those see it who
// read the output: it has new committed records in each of its lanes.
func (s *show) awaitTakeover(ctx context.Context, v *victim, ends map[int32]int64, killed time.Time) error {
	began := map[int]time.Duration{} // by lane: from the kill to its first output
	const every = 2 * time.Millisecond
	err := s.awaitBy(ctx, every, s.ask().now(), "another node to take the lanes over", func() (bool, error) {
		stable, err := s.admin.EndOffsets(ctx, s.names.output, true)
		if err != nil {
			return false, err
		}
		for p, end := range stable {
			// One more is the marker that ends the dead node's transaction.
			if lane := int(p) % v.of; v.owns(p) && began[lane] == 0 && end > ends[p]+1 {
				began[lane] = s.opt.Seam.Since(killed)
			}
		}
		return len(began) == len(v.lanes), nil
	})
	if err != nil {
		return err
	}
	var longest time.Duration
	for _, took := range began {
		longest = max(longest, took)
	}
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	var how []string
	for _, l := range st.Apps[0].Lanes {
		if slices.Contains(v.lanes, l.Lane) {
			how = append(how, takenText(l))
		}
	}
	s.view.say("takeover: %d ms from the kill to the next output of %s (%s)", longest.Milliseconds(), lanesText(v.lanes),
		strings.Join(how, "; "))
	return nil
}

// takenText says at what cost a lane goes on at its new owner.
func takenText(l api.LaneStatus) string {
	text := fmt.Sprintf("lane %d at node %s, fenced in %d ms", l.Lane, l.Owner, l.FenceMs)
	if l.Restore != nil {
		text += fmt.Sprintf(", %d changelog records behind", l.Restore.Records)
	}
	return text
}

// restart starts the killed node again and waits until it has its share.
func (s *show) restart(ctx context.Context, v *victim) error {
	began := s.opt.Seam.Now()
	if err := s.startNode(v.node); err != nil {
		return err
	}
	st, err := s.awaitHealthy(ctx, "the killed node to have its share again")
	if err != nil {
		return err
	}
	owns, copies := lanesOf(st, v.node.name)
	text := fmt.Sprintf("node %s is back, pid %d: after %d ms it owns %s again and follows %s", v.node.name, v.node.now().pid(),
		s.opt.Seam.Since(began).Milliseconds(), lanesText(owns), lanesText(copies))
	for _, l := range st.Apps[0].Lanes {
		if l.Owner == v.node.name && l.Restore != nil {
			text += fmt.Sprintf("; lane %d took %d changelog records to restore, %d ms", l.Lane, l.Restore.Records, l.Restore.Ms)
		}
	}
	s.view.say("%s", text)
	return nil
}
