package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// halt ends all nodes at once.
func (b *band) halt() {
	b.t.Helper()
	for _, n := range b.nodes {
		n.cancel()
	}
	for _, n := range b.nodes {
		if err := n.end(); err != nil {
			b.t.Fatalf("the stop of %s: %v", n.url, err)
		}
	}
}

// again starts all nodes on their data dirs, with what the cluster runs.
func (b *band) again() {
	b.t.Helper()
	for i, n := range b.nodes {
		b.nodes[i] = b.launch(i, inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} })
	}
}

// epochs are those of the lanes, and none is below its floor.
func (b *band) epochs(floor map[int]uint64) map[int]uint64 {
	b.t.Helper()
	epochs := map[int]uint64{}
	for _, l := range b.whole().Lanes {
		epochs[l.Lane] = l.Epoch
		if l.Epoch <= floor[l.Lane] {
			b.t.Errorf("lane %d runs under epoch %d, and has run under %d", l.Lane, l.Epoch, floor[l.Lane])
		}
	}
	return epochs
}

// Raft's log of all nodes is put back to what it was some starts ago: its epochs are those of then.
// Each lane goes on above the epochs that its records know, and nothing is counted twice.
func TestBandRaftRestored(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	b.halt()
	saved := t.TempDir()
	for i, n := range b.nodes {
		p.must(os.CopyFS(filepath.Join(saved, nodeName(i)), os.DirFS(filepath.Join(n.dir, "raft"))))
	}
	var before map[int]uint64
	for range 2 {
		b.again()
		before = b.epochs(before)
		more := b.events(50, len(sent))
		b.send(more...)
		sent = append(sent, more...)
		b.counted(sent)
		b.halt()
	}
	for i, n := range b.nodes {
		raft := filepath.Join(n.dir, "raft")
		p.must(os.RemoveAll(raft))
		p.must(os.CopyFS(raft, os.DirFS(filepath.Join(saved, nodeName(i)))))
	}
	b.again()
	b.epochs(before)
	raised := 0
	for _, n := range b.nodes {
		raised += n.log.count("level=WARN", "asking for a later grant")
	}
	if raised == 0 {
		t.Error("no node says that it asks for a later grant")
	}
	more := b.events(50, len(sent))
	b.send(more...)
	b.counted(append(sent, more...))
}

// Kafka is restored from an older copy under a cluster: no lane runs anywhere, each says why, and
// with the state of each node removed they count on from what Kafka has. Each node that can be
// given a lane when they start has a copy of it, which knows more than Kafka.
func TestBandKafkaRestored(t *testing.T) {
	t.Parallel()
	addr, dir, copied := testkafka.FreeAddr(t), t.TempDir(), t.TempDir()
	fake := fakeAt(t, addr, dir)
	p := newPlace(t, []string{addr})
	p.topic(p.in, 4)
	b := p.band(2, standbys(1))
	kept := b.events(100, 0)
	b.send(kept...)
	b.counted(kept)
	b.halt()
	fake.Close()
	p.must(os.CopyFS(copied, os.DirFS(dir)))
	fake = fakeAt(t, addr, dir)
	p.connect()
	b.again()
	b.whole()
	lost := b.events(100, 50)
	b.send(lost...)
	b.counted(append(kept, lost...))
	b.until("the standbys have read all", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if len(l.Copies) != 1 || !l.Copies[0].Ready || l.Copies[0].Lag > 0 {
				return fmt.Errorf("lane %d has copies %+v", l.Lane, l.Copies)
			}
		}
		return nil
	})
	b.halt()
	fake.Close()
	fakeAt(t, addr, copied)
	p.connect()
	b.again()
	b.until("each lane says why it does not run", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.State != api.LaneStopped {
				return fmt.Errorf("lane %d is %s at %q: %s", l.Lane, l.State, l.Owner, l.Reason)
			}
			saysText(t, l.Reason, p.app+".changelog/", "older copy", filepath.Join("state", p.app), "tally reset "+p.app)
		}
		return nil
	})
	b.halt()
	for _, n := range b.nodes {
		p.must(os.RemoveAll(filepath.Join(n.dir, "state", p.app)))
	}
	b.again()
	b.counted(kept)
	more := b.events(50, 200)
	b.send(more...)
	b.counted(append(kept, more...))
}

// A copy of a lone node's data dir that is started first, somewhere else: the two know nothing of
// each other until one fences the other, which then ends. Nothing is counted twice.
func TestCopyOfALoneNode(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	dir := t.TempDir()
	p.must(os.CopyFS(dir, os.DirFS(n.dir)))
	first := p.start(inDir(dir))
	second := p.start(inDir(n.dir))
	more := sentences(2, 30)
	p.send(more...) // at which the first one finds itself fenced
	err := first.end()
	says(t, err, "another process under this node's own id", "a copy", dir, "node.json")
	if code := exitCode(err); code != 5 {
		t.Errorf("exit %d", code)
	}
	second.right(append(events, more...))
}
