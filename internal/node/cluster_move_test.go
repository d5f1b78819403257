package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// uncommitted counts the records of a topic that were written and never committed.
func (p *place) uncommitted(topic string) int {
	p.t.Helper()
	ends, err := p.admin.EndOffsets(p.ctx(), topic, true)
	p.must(err)
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.addrs...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	p.must(err)
	defer cl.Close()
	all, at := 0, map[int32]int64{}
	behind := func() bool {
		for part, end := range ends {
			if at[part] < end {
				return true
			}
		}
		return false
	}
	for behind() {
		fetches := cl.PollFetches(p.ctx())
		p.must(fetches.Err0())
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if r.Offset < ends[r.Partition] && !r.Attrs.IsControl() {
				all++
			}
		})
	}
	return all - len(p.read(topic))
}

// move asks for a move and waits until the lane runs at its new owner and nothing is on its way.
func (b *band) move(lane int, to string) api.LaneStatus {
	b.t.Helper()
	before := b.whole().Lanes[lane]
	answer, err := b.alive()[0].client.Move(b.ctx(), b.app, lane, api.MoveRequest{To: to})
	b.must(err)
	if answer.From != before.Owner || answer.To != to || answer.Epoch != before.Epoch {
		b.t.Fatalf("a move of %+v: %+v", before, answer)
	}
	var after api.LaneStatus
	b.until("the lane has moved", func(st api.Status) error {
		after = st.Apps[0].Lanes[lane]
		if after.Owner != to || after.Epoch <= before.Epoch || after.State != api.LaneRunning || after.From != "" {
			return fmt.Errorf("lane %+v", after)
		}
		return nil
	})
	return after
}

// balanced waits until the nodes own as many lanes each, but for one: from then on no lane moves
// unless somebody asks for it.
func (b *band) balanced() api.AppStatus {
	b.t.Helper()
	b.until("the lanes are shared", func(st api.Status) error {
		owned := map[string]int{}
		for _, n := range st.Nodes {
			owned[n.Name] = 0
		}
		for _, l := range st.Apps[0].Lanes {
			owned[l.Owner]++
		}
		counts := slices.Collect(maps.Values(owned))
		if slices.Max(counts)-slices.Min(counts) > 1 {
			return fmt.Errorf("lanes a node: %v", owned)
		}
		return nil
	})
	return b.whole()
}

// replayedNothing holds the log of the nodes and the topics against a change of owners that was
// asked for: no transaction was aborted, and no new owner waited for the word of the old one until
// it was late.
func (b *band) replayedNothing() {
	b.t.Helper()
	if n := b.uncommitted(b.app + ".changelog"); n > 0 {
		b.t.Errorf("%d changelog records were written and never committed", n)
	}
	for i, n := range b.nodes {
		noWaitInVain(b.t, nodeName(i), n)
	}
}

// waitedInVain is what a node says that has had no word of the old owner of a lane.
const waitedInVain = "has not said that it is done"

// noWaitInVain: a node that got a lane has always had the word of the one before.
func noWaitInVain(t testing.TB, name string, n *tally) {
	t.Helper()
	if late := n.log.count(waitedInVain); late > 0 {
		t.Errorf("%s has waited %d times for the word of an old owner in vain", name, late)
	}
}

// exact waits until what the cluster has counted, and what the output says last, are the events.
func (b *band) exact(events []*kgo.Record) {
	b.t.Helper()
	b.counted(events)
	until(b.t, func() error {
		if got, want := b.lastOutputs(), count(events); !maps.Equal(got, want) {
			return fmt.Errorf("the output's last values\n got %v\nwant %v", got, want)
		}
		return nil
	})
}

// followedBy: a lane's old owner follows it, or has given its copy to a node that has no more of
// them even so.
func (b *band) followedBy(lane int, old string) {
	b.t.Helper()
	lanes, copies := b.whole().Lanes, map[string]int{}
	for _, l := range lanes {
		for _, n := range l.Standbys {
			copies[n]++
		}
	}
	now := lanes[lane].Standbys
	if len(now) == 0 || !slices.Contains(now, old) && slices.ContainsFunc(now, func(n string) bool { return copies[n] > copies[old] }) {
		b.t.Errorf("the lane's old owner %s is no standby of %+v, with copies of %v", old, lanes[lane], copies)
	}
}

// A lane that is moved runs at its new node under a later epoch, its old owner follows it, and
// nothing is replayed, under load. A node that is drained has no lane until that is taken back.
func TestBandMovesAndDrains(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	load := p.stream(4)
	before := b.balanced().Lanes[0]
	b.move(0, before.Standbys[0])
	b.followedBy(0, before.Owner)

	_, err := b.nodes[1].client.Drain(b.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	b.until("node-a has no lane", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == "node-a" || slices.Contains(l.Standbys, "node-a") || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return nil
	})
	b.whole()
	_, err = b.nodes[1].client.Drain(b.ctx(), "node-a", api.DrainRequest{Undo: true})
	p.must(err)
	b.until("node-a has a lane again", b.hasLane("node-a"))
	b.whole()
	b.exact(load())
	b.replayedNothing()
}

// A drain ends with the process, as the status and the help of `tally drain` say.
func TestBandDrainEndsAtTheNextStart(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	_, err := b.nodes[1].client.Drain(b.ctx(), "node-a", api.DrainRequest{})
	p.must(err)
	b.until("node-a is drained", func(st api.Status) error {
		if text := strings.Join(st.Problems, "; "); !strings.Contains(text, "node-a is drained: it gets no lanes until `tally drain node-a --undo` or its next start") {
			return errors.New(text)
		}
		return nil
	})
	b.nodes[0].stop()
	b.nodes[0] = b.launch(0, inDir(b.nodes[0].dir), standbys(1))
	b.until("node-a has a lane again", b.hasLane("node-a"))
	b.whole()
}

// hasLane says whether a node runs a lane.
func (b *band) hasLane(node string) func(api.Status) error {
	return func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == node && l.State == api.LaneRunning {
				return nil
			}
		}
		return fmt.Errorf("lanes %+v", st.Apps[0].Lanes)
	}
}

// Nodes that are stopped and started again one after the other, under load, hand over what they
// have: nothing is replayed, and a reader that passes on its token never sees a count fall.
func TestBandRolls(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	load := p.stream(4)
	ctx, cancel := context.WithCancel(context.Background())
	read := make(chan error, 1)
	go func() { read <- b.neverFalls(ctx, b.nodes[0]) }()
	for _, i := range []int{1, 2} {
		b.nodes[i].stop()
		b.whole()
		b.nodes[i] = b.launch(i, inDir(b.nodes[i].dir), standbys(1))
		b.until("it has a lane again", b.hasLane(nodeName(i)))
		b.whole()
	}
	cancel()
	if err := <-read; err != nil {
		t.Error(err)
	}
	b.exact(load())
	b.replayedNothing()
}

// neverFalls reads one count over and over with the token of the last answer, until ctx ends.
func (b *band) neverFalls(ctx context.Context, n *tally) error {
	token, last := "", 0
	for reads := 0; ; reads++ {
		got, err := n.client.Get(b.ctx(), b.app, []byte(`["user-a","stream"]`), api.ReadOptions{Wait: patience / 4, MinPosition: token})
		if ctx.Err() != nil {
			if reads < 10 {
				return fmt.Errorf("%d reads alone", reads)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %d: %w", reads, err)
		}
		now := 0
		if got.Found {
			if _, err := fmt.Sscanf(string(got.Values), `{"count":%d}`, &now); err != nil {
				return err
			}
		}
		if now < last {
			return fmt.Errorf("the count fell from %d to %d: %+v", last, now, got.Parts)
		}
		token, last = got.Token, now
	}
}

// Every node answers every question, and a copy that is not the owner's says so.
func TestBandAnswersEverywhere(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(2))
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	group, want := []byte(`["user-3","and"]`), count(sent)[`["user-3","and"]`]
	for i, n := range b.nodes {
		until(t, func() error {
			got, err := n.client.Get(b.ctx(), b.app, group, api.ReadOptions{Wait: -1})
			if err == nil && (string(got.Values) != want || got.Parts[0].Role != api.RoleOwner) {
				err = fmt.Errorf("%s gets %s, not %s: %+v", nodeName(i), got.Values, want, got)
			}
			return err
		})
		top, err := n.client.Top(b.ctx(), b.app, 3, api.ReadOptions{Wait: -1})
		p.must(err)
		if len(top.Counts) != 3 || len(top.Parts) != 4 {
			t.Errorf("%s: the top is %+v", nodeName(i), top)
		}
		if first := b.firstWatched(n); first != want {
			t.Errorf("%s: a watch begins with %s, not with %s", nodeName(i), first, want)
		}
		b.staleAt(i, group, want)
	}
}

// firstWatched is what a watch of user-3's words says first of "and".
func (b *band) firstWatched(n *tally) (values string) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	err := n.client.Watch(ctx, b.app, []byte(`["user-3","and"]`), api.ReadOptions{Wait: -1}, func(c api.Count) error {
		values = string(c.Values)
		cancel()
		return nil
	})
	if values == "" {
		b.t.Fatalf("a watch: %v", err)
	}
	return values
}

// staleAt asks a node for what a standby may answer: whoever answers says what it is.
func (b *band) staleAt(node int, group []byte, want string) {
	b.t.Helper()
	until(b.t, func() error {
		got, err := b.nodes[node].client.Get(b.ctx(), b.app, group, api.ReadOptions{Wait: -1, Stale: true})
		if err != nil {
			return err
		}
		part := got.Parts[0]
		owner := b.whole().Lanes[part.Lane].Owner
		role := map[bool]api.Role{true: api.RoleOwner, false: api.RoleStandby}[owner == part.Node]
		if string(got.Values) != want || part.Role != role || len(part.Position) == 0 || part.AsOfMs == 0 {
			return fmt.Errorf("a stale read at %s, lane of %s: %s, not %s: %+v", nodeName(node), owner, got.Values, want, part)
		}
		return nil
	})
}

// Most voters are lost for good: the one that is left goes on counting with its lanes, and after
// its recovery has all of them.
func TestBandRecovers(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	left := b.nodes[2]
	_, err := Recover(left.dir, "", seam.World(), slog.New(slog.DiscardHandler))
	says(t, err, "runs (pid ", "stop it first")
	for _, n := range b.nodes {
		n.stop()
	}
	text, err := Recover(left.dir, "", seam.World(), slog.New(slog.DiscardHandler))
	p.must(err)
	saysText(t, text, "only voter", "empty data dir")
	n := p.start(inDir(left.dir), named("node-c"), func(c *Config) { c.Specs = []*spec.Spec{} })
	more := b.events(100, 100)
	b.send(more...)
	n.settled(int64(len(sent) + len(more)))
	n.has(count(append(sent, more...)))
	if _, err := Recover(t.TempDir(), "", seam.World(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory without a node was recovered")
	}
	// One whose node is not known, or is another's, would have a voter that nobody is.
	other, file := b.nodes[1].dir, filepath.Join(b.nodes[1].dir, "node.json")
	p.must(os.Rename(file, file+".lost"))
	_, err = Recover(other, "", seam.World(), slog.New(slog.DiscardHandler))
	says(t, err, other, "which node it is of", "put its node.json back")
	another, err := os.ReadFile(filepath.Join(b.nodes[0].dir, "node.json"))
	p.must(err)
	p.must(os.WriteFile(file, another, 0o644))
	_, err = Recover(other, "", seam.World(), slog.New(slog.DiscardHandler))
	says(t, err, "cluster.json", "is of node")
}

// The lanes of a node whose disk fails go to other nodes, and none comes there, until the disk is
// well again; the status names it.
func TestBandLeavesABadDisk(t *testing.T) {
	for _, name := range []string{"full", "read-only", "fsync"} {
		t.Run(name, func(t *testing.T) {
			keptByShort(t, name == "fsync")
			p := onFake(t)
			p.topic(p.in, 4)
			f := diskFaults[name]
			disk := &badDisk{err: f.err, kinds: f.kinds}
			disk.well.Store(true)
			b := p.band(3, standbys(1), func(c *Config) {
				if c.Name == nodeName(1) {
					onDisk(disk)(c)
				}
			})
			load := p.stream(4)
			b.until("it has a lane", b.hasLane(nodeName(1)))
			disk.well.Store(false)
			b.until("it has no lane, and the others run all", func(st api.Status) error {
				for _, l := range st.Apps[0].Lanes {
					if l.Owner == nodeName(1) || slices.Contains(l.Standbys, nodeName(1)) || l.State != api.LaneRunning {
						return fmt.Errorf("lane %+v", l)
					}
				}
				if text := strings.Join(st.Problems, "; "); !strings.Contains(text, nodeName(1)) || !strings.Contains(text, f.advice) {
					return fmt.Errorf("the problems: %s", text)
				}
				return nil
			})
			b.whole()
			disk.well.Store(true)
			b.until("it has a lane again", b.hasLane(nodeName(1)))
			b.whole()
			b.exact(load())
		})
	}
}

// A dry run says what the leader would do, whichever node is asked, and does nothing.
func TestBandDryRuns(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1))
	for _, n := range b.nodes {
		until(t, func() error { // it is wrong while the lanes are still being balanced
			before := b.whole()
			if err := b.foresees(n, before); err != nil {
				return err
			}
			if after := b.whole(); fmt.Sprint(owners(after)) != fmt.Sprint(owners(before)) {
				return fmt.Errorf("lanes have moved: %v, then %v", owners(before), owners(after))
			}
			return nil
		})
	}
}

// foresees asks a node what a drain of node-a and a move of lane 0 to a node without a copy would
// come to.
func (b *band) foresees(n *tally, now api.AppStatus) error {
	owned := map[int]string{} // node-a's lanes, with their standbys
	for _, l := range now.Lanes {
		if l.Owner == nodeName(0) {
			owned[l.Lane] = l.Standbys[0]
		}
	}
	drain, err := n.client.Drain(b.ctx(), nodeName(0), api.DrainRequest{DryRun: true})
	b.must(err)
	moves := map[int]string{}
	for _, m := range drain.Moves {
		if m.From == nodeName(0) {
			moves[m.Lane] = m.To
		}
	}
	if text := strings.Join(drain.Plan, "; "); len(owned) == 0 || !maps.Equal(moves, owned) || !strings.Contains(text, "which follows it already") {
		return fmt.Errorf("a drain of node-a, which has %v: %+v", owned, drain)
	}
	lane, third := now.Lanes[0], ""
	for i := range b.nodes {
		if name := nodeName(i); name != lane.Owner && !slices.Contains(lane.Standbys, name) {
			third = name
		}
	}
	move, err := n.client.Move(b.ctx(), b.app, 0, api.MoveRequest{To: third, DryRun: true})
	if err != nil {
		return err
	}
	if text := strings.Join(move.Plan, "; "); !strings.Contains(text, lane.Owner+" -> "+third+", which copies it first") {
		return fmt.Errorf("a move of lane 0 from %s to %s: %s", lane.Owner, third, text)
	}
	return nil
}

func owners(a api.AppStatus) (names []string) {
	for _, l := range a.Lanes {
		names = append(names, fmt.Sprintf("%d: %s epoch %d", l.Lane, l.Owner, l.Epoch))
	}
	return names
}
