package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestUnknownEntryHalts: what a newer program has written ends this one, once; nothing is applied
// after it, and no snapshot hides it.
func TestUnknownEntryHalts(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.form()
	n.propose(member("before"))
	future := n.raft.Apply([]byte(`{"type":"split_lane","format":7,"payload":{}}`), time.Second)
	var unknown *ownership.UnknownError
	select {
	case err := <-n.halted:
		if !errors.As(err, &unknown) || unknown.Format != 7 {
			t.Errorf("halted by: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("not halted")
	}
	if err := future.Error(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Propose(limit(t), member("after")); !errors.As(err, &unknown) {
		t.Errorf("a proposal after it: %v", err)
	}
	if n.State().Members["after"] != nil || n.State().Members["before"] == nil {
		t.Error("the state has moved")
	}
	if err := n.raft.Snapshot().Error(); err == nil || !strings.Contains(err.Error(), "cannot be applied") {
		t.Errorf("a snapshot after it: %v", err)
	}
	n.kill()
	n.open() // it halts again, as it must until a newer program is there
	select {
	case err := <-n.halted:
		if !errors.As(err, &unknown) {
			t.Errorf("halted again by: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("not halted after a restart")
	}
}

// TestOlderProgramIsSpared: what the program of a living member could not obey is refused, with the
// node that is to be upgraded, and is not in the log; once that is done it is taken.
func TestOlderProgramIsSpared(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.form()
	old := member("x") // it knows format 1
	n.propose(old)
	put := ownership.Command{PutApp: &ownership.PutApp{App: ownership.App{
		Name: "p", ID: "i", Generation: 1, Partitions: 1, KafkaCluster: "k", Lanes: make([]ownership.Lane, 1),
	}}}
	said, err := n.Propose(limit(t), put)
	if err != nil || !strings.Contains(said.Refused, "node node-x runs tally test, which knows format 1, and this needs format 2") {
		t.Errorf("while there is an older program: %+v, %v", said, err)
	}
	if st := n.State(); len(st.Apps) != 0 || st.Format != 1 {
		t.Errorf("the log has %d apps, and is at format %d", len(st.Apps), st.Format)
	}
	old.Register.Member.Incarnation, old.Register.Member.Format = "2", ownership.Format
	n.propose(old)
	n.propose(put)
	if st := n.State(); st.Apps["p"] == nil || st.Apps["p"].KafkaCluster != "k" || st.Format != 2 {
		t.Errorf("the log has apps %v, and is at format %d", st.Apps, st.Format)
	}
}

// TestUnknownSnapshot: Open says why, and not that no snapshot could be loaded.
func TestUnknownSnapshot(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.form()
	n.propose(member("x"))
	newer := *n.State()
	newer.Format = 7
	n.fsm.state.Store(&newer)
	if err := n.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	n.kill()
	_, err := Open(n.config())
	var unknown *ownership.UnknownError
	if !errors.As(err, &unknown) || unknown.Format != 7 {
		t.Errorf("opened with: %v", err)
	}
}

// TestStalledDisk: a write that is not over after its time ends the node, but not one that is held
// up while the process is stopped, of whose wait but a part is over then.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	fire, stopped := make(chan time.Time), make(chan struct{}, 1)
	said := make(chan error, 1)
	s := &store{dir: "/data/raft", wait: 5 * time.Second, stalled: func(err error) { said <- err },
		seam: seam.Seam{Timer: func(d time.Duration) (<-chan time.Time, func()) {
			if d != 500*time.Millisecond {
				t.Errorf("waits %s", d)
			}
			return fire, func() { stopped <- struct{}{} }
		}}}
	if err := s.watched("entries", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	<-stopped // else the first write's watch could take a tick of the second's
	var err error
	_ = s.watched("entries", func() error {
		for part := range 10 {
			select {
			case fire <- time.Time{}:
			case err := <-said:
				t.Errorf("after %d parts of the wait: %v", part, err)
			}
		}
		err = <-said
		return nil
	})
	var stalled *StalledError
	if !errors.As(err, &stalled) || !strings.Contains(err.Error(), "/data/raft") {
		t.Errorf("said: %v", err)
	}
}

// full is a disk that can be full.
type full struct{ is, hit atomic.Bool }

func (f *full) fault(string) error {
	if !f.is.Load() {
		return nil
	}
	f.hit.Store(true)
	return syscall.ENOSPC
}

// TestFullDisk: a node whose disk is full has no part in the group and goes on living, through
// terms that it cannot keep, as the leader and as a follower; the others go on without it, what was
// acknowledged stays, and it follows again when the disk is well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	disks := map[string]*full{}
	told := make(chan error, 1)
	g.adjust = func(c *Config) {
		if disks[c.ID] == nil {
			disks[c.ID] = &full{}
		}
		c.fault = disks[c.ID].fault
		c.Refused = func(err error) {
			select {
			case told <- err:
			default:
			}
		}
	}
	leader := g.form()
	leader.propose(member("before"))
	for _, n := range g.nodes {
		n.has("before")
	}
	ill := g.nodes[0]
	if ill == leader {
		ill = g.nodes[1]
	}
	disks[ill.id].is.Store(true)
	leader.propose(member("by two"))
	var disk *DiskError
	if err := <-told; !errors.As(err, &disk) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("told: %v", err)
	}
	other := g.others(leader, ill)[0]
	if err := leader.TransferLeadership(limit(t), other.id); err != nil { // a term that it cannot keep
		t.Fatal(err)
	}
	eventually(t, func() error { return other.leads() })
	other.propose(member("in the next term"))
	if ill.State().Members["by two"] != nil {
		t.Error("it has what it cannot keep")
	}
	disks[ill.id].is.Store(false)
	ill.has("in the next term")

	leader = g.leader()
	disks[leader.id].is.Store(true)
	if _, err := leader.Propose(limit(t), member("refused")); !errors.As(err, new(*NotLeaderError)) {
		t.Errorf("a proposal that is not on the leader's disk: %v", err)
	}
	var next *node
	eventually(t, func() error {
		for _, n := range g.others(leader) {
			if n.leads() == nil {
				next = n
				return nil
			}
		}
		return errors.New("no leader beside the one with the full disk")
	})
	next.propose(member("after"))
	leader.kill() // it ends although its disk is full
	disks[leader.id].is.Store(true)
	if r, err := Open(leader.config()); err == nil {
		r.Close()
		t.Error("opened on a full disk")
	} else if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Errorf("opened on a full disk: %v", err)
	}
	disks[leader.id].is.Store(false)
	leader.open()
	leader.has("after")
	if leader.State().Members["refused"] != nil {
		t.Error("the refused proposal was taken after all")
	}
}

func (g *group) others(without ...*node) (nodes []*node) {
	for _, n := range g.nodes {
		if !slices.Contains(without, n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (n *node) leads() error {
	if _, _, ok := n.Leading(); !ok {
		return fmt.Errorf("%s does not lead", n.id)
	}
	return nil
}

// TestStore: Raft's own assumptions about its store. A tail that was cut off stays cut off.
func TestStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *store {
		db, err := openStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		return &store{BoltStore: db, seam: seam.World(), wait: time.Minute, stalled: func(err error) { t.Error(err) }}
	}
	s := open()
	if _, err := s.Get([]byte("nothing")); err == nil || err.Error() != "not found" {
		t.Errorf("a missing key: %v", err)
	}
	if _, err := s.GetUint64([]byte("nothing")); err == nil || err.Error() != "not found" {
		t.Errorf("a missing number: %v", err)
	}
	write := func(term uint64, from, to uint64) {
		var logs []*raft.Log
		for i := from; i <= to; i++ {
			logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d/%d", term, i)})
		}
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	write(1, 1, 10)
	if err := s.DeleteRange(6, 10); err != nil { // the tail of a deposed leader
		t.Fatal(err)
	}
	write(2, 6, 7)
	if err := s.DeleteRange(1, 2); err != nil { // the head, after a snapshot
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if first != 3 || last != 7 {
		t.Errorf("the log has %d to %d", first, last)
	}
	for i, want := range map[uint64]string{3: "1/3", 5: "1/5", 6: "2/6", 7: "2/7"} {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil || string(l.Data) != want {
			t.Errorf("entry %d: %q %v, want %q", i, l.Data, err, want)
		}
	}
	if err := s.GetLog(8, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("an entry that was cut off: %v", err)
	}
}

// TestFullDiskBehindATruncation: what takes the place of a tail that was cut off is insisted on. It
// is what Raft needs; any other entries it gets again, and hears what the disk has said.
func TestFullDiskBehindATruncation(t *testing.T) {
	t.Parallel()
	db, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	full := 0 // as many writes are refused
	s := &store{BoltStore: db, seam: seam.World(), wait: time.Minute, stalled: func(err error) { t.Error(err) },
		fault: func(op string) error {
			if op != "entries" || full == 0 {
				return nil
			}
			full--
			return syscall.ENOSPC
		}}
	s.opened.Store(true)
	cache, err := raft.NewLogCache(logCache, s)
	if err != nil {
		t.Fatal(err)
	}
	logs := &cached{cache, s}
	write := func(term uint64, indexes ...uint64) error {
		var entries []*raft.Log
		for _, i := range indexes {
			entries = append(entries, &raft.Log{Index: i, Term: term})
		}
		return logs.StoreLogs(entries)
	}
	cut := func(from, to uint64) {
		t.Helper()
		if err := logs.DeleteRange(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(1, 1, 2, 3, 4, 5); err != nil {
		t.Fatal(err)
	}
	cut(1, 2) // the head, after a snapshot
	full = 1
	var disk *DiskError
	if err := write(1, 6); !errors.As(err, &disk) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("entries that come again: %v", err)
	}
	cut(4, 5)
	full = 2
	if err := write(2, 4, 5); err != nil || full != 0 {
		t.Errorf("entries behind a tail that was cut off: %v, and %d more refusals", err, full)
	}
	full = 1
	if err := logs.StoreLog(&raft.Log{Index: 6, Term: 2}); !errors.As(err, &disk) {
		t.Errorf("an entry behind these: %v", err)
	}
	var l raft.Log
	if err := logs.GetLog(4, &l); err != nil || l.Term != 2 {
		t.Errorf("entry 4 is of term %d, %v", l.Term, err)
	}
}

// TestHeartbeatsWait: a heartbeat comes through the queue, although Raft has asked for its fast
// path, in which two logs can diverge.
func TestHeartbeatsWait(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, quick)
	to, from := pair(t, g)
	to.SetHeartbeatHandler(func(rpc raft.RPC) {
		rpc.Respond(&raft.AppendEntriesResponse{}, errors.New("by the fast path"))
	})
	go func() {
		rpc := <-to.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{Term: 7}, nil)
	}()
	heartbeat := &raft.AppendEntriesRequest{Term: 1, RPCHeader: raft.RPCHeader{Addr: []byte("x")}}
	var resp raft.AppendEntriesResponse
	err := from.AppendEntries(raft.ServerID(g.nodes[0].id), raft.ServerAddress(g.nodes[0].addr), heartbeat, &resp)
	if err != nil || resp.Term != 7 {
		t.Errorf("answered with term %d: %v", resp.Term, err)
	}
}

// pair is the transports of two nodes, without Raft behind them, whose logs are of no recovery.
func pair(t *testing.T, g *group) (to, from *transport) {
	formed := func() (ownership.Recovery, bool) { return ownership.Recovery{}, true }
	return pairOf(t, g, formed, formed)
}

func pairOf(t *testing.T, g *group, groups ...func() (ownership.Recovery, bool)) (to, from *transport) {
	var made []*transport
	for i, n := range g.nodes {
		c, err := n.config().orDefaults()
		if err != nil {
			t.Fatal(err)
		}
		state := ownership.New()
		addrs := &addresses{state: func() *ownership.State { return state }, self: c.ID, addr: c.Addr, hints: map[string]hint{}}
		tr := newTransport(c, addrs, groups[i], newLogger(c.Log, c.Seam))
		t.Cleanup(tr.close)
		made = append(made, tr)
	}
	return made[0], made[1]
}

// TestAddressOfAnother: who looks for a node at an address that has passed to another one gets no
// answer, and nothing reaches Raft there.
func TestAddressOfAnother(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, quick)
	to, from := pair(t, g)
	err := from.RequestVote("gone", raft.ServerAddress(g.nodes[0].addr), &raft.RequestVoteRequest{Term: 9}, &raft.RequestVoteResponse{})
	if err == nil {
		t.Error("answered")
	}
	select {
	case <-to.Consumer():
		t.Error("it has reached Raft")
	default:
	}
}

// TestSilentConnection: one that says nothing keeps nobody waiting.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 2, quick)
	to, from := pair(t, g)
	silent, err := net.Dial("tcp", g.nodes[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	go func() {
		rpc := <-to.Consumer()
		rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
	}()
	var resp raft.RequestVoteResponse
	err = from.RequestVote(raft.ServerID(g.nodes[0].id), raft.ServerAddress(g.nodes[0].addr), &raft.RequestVoteRequest{Term: 9}, &resp)
	if err != nil || !resp.Granted {
		t.Errorf("beside a silent connection: %v", err)
	}
	silent.SetReadDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection was answered")
	} else if n, ok := err.(net.Error); ok && n.Timeout() {
		t.Error("the silent connection was kept")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	state := ownership.New()
	a := &addresses{state: func() *ownership.State { return state }, self: "me", addr: "me:1", hints: map[string]hint{}}
	is := func(id, want string) {
		t.Helper()
		if got := a.of(id, "conf:1"); got != want {
			t.Errorf("%s is at %s, want %s", id, got, want)
		}
	}
	is("me", "me:1")
	is("x", "conf:1")
	a.hint("x", "heard:1")
	is("x", "heard:1")
	state, _ = state.Take(member("x"))
	is("x", "127.0.0.1:1") // newer than what was heard before it
	a.hint("x", "heard:2")
	is("x", "heard:2") // all nodes have moved, and no leader can write it down
	moved := member("x")
	moved.Register.Member.Addr = "state:2"
	state, _ = state.Take(moved)
	is("x", "state:2")
	a.hint("x", "heard:3")
	moved.Register.Member.Addr, moved.Register.Member.Incarnation = "heard:3", "third"
	state, _ = state.Take(moved)
	moved.Register.Member.Addr, moved.Register.Member.Incarnation = "state:2", "fourth"
	state, _ = state.Take(moved)
	is("x", "state:2") // it is back where it was when it was heard elsewhere
	if got := a.of("y", "y@conf:2"); got != "conf:2" {
		t.Errorf("y, whose address has passed to another, is at %s", got)
	}
}

func TestLogRepeats(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(0, 0)
	log := newLogger(slog.New(slog.NewTextHandler(&out, nil)), seam.Seam{Now: func() time.Time { return now }})
	lines := func(want int) {
		t.Helper()
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%d lines, want %d:\n%s", got, want, &out)
		}
	}
	for range 50 {
		log.Warn("failed to contact", "server-id", raft.ServerID("a"), "time", time.Second)
	}
	lines(1)
	log.Warn("failed to contact", "server-id", raft.ServerID("b"), "time", time.Second)
	log.Error("failed to heartbeat to", "peer", raft.ServerAddress("a:1"))
	lines(3)
	now = now.Add(logRepeat)
	log.Named("x").With("k", 1).Warn("failed to contact", "server-id", raft.ServerID("a"))
	lines(4)
	if !strings.Contains(out.String(), "left_out=49") {
		t.Errorf("what was left out is not said:\n%s", &out)
	}
	log.Info("entering follower state")
	log.Log(hclog.Debug, "more")
	lines(4) // of no use to a person
}
