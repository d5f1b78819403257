package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/state"
)

func lookingAtTopics(every time.Duration) option {
	return func(c *Config) { c.TopicsInterval = every }
}

// The changelog is deleted under a running owner that has nothing to do, and then made again by
// somebody: found by its id. A reset counts anew.
func TestChangelogGoneWhileRunning(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, events := counted(p)
		n = p.start(inDir(n.dir), lookingAtTopics(50*time.Millisecond))
		changelog := p.app + ".changelog"
		old, _, err := p.admin.Topic(p.ctx(), changelog)
		p.must(err)
		p.must(p.admin.DeleteTopics(p.ctx(), changelog))
		n.until("the deletion is said", func(st api.Status) bool {
			l := st.Apps[0].Lanes[0]
			return l.State == api.LaneAcquiring && strings.Contains(l.Reason, changelog+" was deleted")
		})
		p.remake(changelog, 2)
		now, _, err := p.admin.Topic(p.ctx(), changelog)
		p.must(err)
		for k := range 2 {
			saysText(t, n.lane(k, api.LaneStopped).Reason, changelog, old.ID, now.ID, "tally reset "+p.app)
		}
		n.reset(api.ResetRequest{From: "earliest"}) // as it says
		n.settled(int64(len(events)))
		n.has(count(events))
	})
}

// The changelog gets a retention under a running owner: its lanes wait until it is compacted again.
func TestChangelogGetsRetention(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		n, events := counted(p)
		n = p.start(inDir(n.dir), lookingAtTopics(50*time.Millisecond))
		changelog := p.app + ".changelog"
		p.setTopic(changelog, "cleanup.policy", "delete")
		st := n.until("the retention is said", func(st api.Status) bool {
			return strings.Contains(st.Apps[0].Lanes[0].Reason, "cleanup.policy=delete")
		})
		saysText(t, st.Apps[0].Lanes[0].Reason, changelog, "kafka-configs", "--add-config cleanup.policy=compact")
		p.setTopic(changelog, "cleanup.policy", "compact") // as it says
		n.ready()
		events = append(events, event(0, "a", "x"))
		p.send(events[3])
		n.right(events)
	})
}

// The changelog is deleted while the node is down. Without it nothing vouches for a count: the
// group's offsets and the state go too, and the app counts anew.
func TestChangelogDeleted(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	p.must(p.admin.DeleteTopics(p.ctx(), p.app+".changelog"))
	says(t, p.refused(inDir(n.dir)), p.in+"/", "no position record", "kafka-consumer-groups --bootstrap-server "+p.addrs[0]+" --delete-offsets --group "+p.app)
	p.deleteOffset(0) // as it says
	p.deleteOffset(1)
	says(t, p.refused(inDir(n.dir)), n.dir, "remove that directory")
	n.wipe() // as it says
	n = p.start(inDir(n.dir))
	n.settled(int64(len(events)))
	n.has(count(events))
}

// Another program writes a value to the changelog, in tally's own format: found by the next
// catch-up, since no position record vouches for it. A reset counts anew.
func TestForeignValueInChangelog(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	var lost []byte
	for _, r := range p.read(p.app + ".changelog") {
		if kind, _, _, err := state.DecodeKey(r.Key); err == nil && kind == state.KindValue && r.Partition == 0 {
			lost = r.Key
		}
	}
	p.tamper(lost, state.AppendValue(nil, n.otherValue()))
	n = p.launch(inDir(n.dir))
	saysText(t, n.lane(0, api.LaneStopped).Reason, p.app+".changelog/0 offset", "not a record of this app", "no position record behind it",
		"only tally may write", "tally reset "+p.app)
	n.stop()
	says(t, p.refused(inDir(n.dir)), "was refused before", "no position record behind it") // it has the value
	n.wipe()
	n = p.launch(inDir(n.dir))
	saysText(t, n.lane(0, api.LaneStopped).Reason, "no position record behind it")
	n.reset(api.ResetRequest{From: "earliest"}) // as it says
	n.settled(int64(len(events)))
	n.has(count(events))
}

// A newer tally has written to the changelog: refused before anything is written, with both
// formats.
func TestNewerChangelog(t *testing.T) {
	p := onFake(t)
	n, _ := counted(p)
	p.tamper([]byte{2, 'p', 0}, []byte{2, 'p', '{', '}'})
	before := p.ends()
	for _, dir := range []string{n.dir, t.TempDir()} {
		says(t, p.refused(inDir(dir)), p.app+".changelog/0", "format 2", "knows up to 1", "newer tally", "run the newer version")
	}
	if after := p.ends(); after != before {
		t.Errorf("a refused start wrote: %s, before %s", after, before)
	}
}

// ends are the ends of the app's topics, in words.
func (p *place) ends() string {
	p.t.Helper()
	var all []string
	for _, topic := range []string{p.out, p.app + ".changelog", p.app + ".dead"} {
		ends, err := p.admin.EndOffsets(p.ctx(), topic, false)
		p.must(err)
		all = append(all, fmt.Sprint(topic, ends))
	}
	return strings.Join(all, " ")
}

// Kafka is restored from an older copy. The state knows more than Kafka: refused with both numbers,
// and again and again, however many records Kafka gets meanwhile. Without the state the app counts
// on exactly from what Kafka has.
func TestKafkaRestoredFromOlderCopy(t *testing.T) {
	t.Parallel()
	addr, dir, copied := testkafka.FreeAddr(t), t.TempDir(), t.TempDir()
	fake := fakeAt(t, addr, dir)
	p := newPlace(t, []string{addr})
	testKafkaRestored(p, func() {
		fake.Close()
		p.must(os.CopyFS(copied, os.DirFS(dir)))
		fake = fakeAt(t, addr, dir)
	}, func() {
		fake.Close()
		fakeAt(t, addr, copied)
	})
}

// The same on a real Kafka, whose files are copied as its kill leaves them. It is of the long
// proofs alone, since it starts a Kafka of its own thrice.
func TestKafkaRestoredFromOlderCopyProof(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	t.Parallel()
	k := testkafka.Start(t, testkafka.Options{})
	data, copied := filepath.Join(filepath.Dir(k.Log(1)), "data"), t.TempDir()
	p := newPlace(t, k.Addrs())
	testKafkaRestored(p, func() {
		k.Kill(1)
		p.must(os.CopyFS(copied, os.DirFS(data)))
		p.must(k.Restart(t.Context(), 1))
	}, func() {
		k.Kill(1)
		p.must(os.RemoveAll(data))
		p.must(os.CopyFS(data, os.DirFS(copied)))
		p.must(k.Restart(t.Context(), 1))
	})
}

// testKafkaRestored follows docs/disasters.md; save copies Kafka's data, and restore puts the copy
// back.
func testKafkaRestored(p *place, save, restore func()) {
	t := p.t
	n, events := counted(p)
	save()
	p.connect()
	n = p.start(inDir(n.dir))
	lost := []*kgo.Record{event(0, "a", "lost x"), event(1, "b", "lost"), event(0, "a", "x")}
	p.send(lost...)
	n.settled(6)
	n.stop()
	ahead := p.changelogEnd(0)
	restore()
	p.connect()
	if behind := p.changelogEnd(0); behind >= ahead {
		t.Fatalf("the copy's changelog ends at %d, the later one at %d", behind, ahead)
	}
	n = p.launch(inDir(n.dir))
	l := n.lane(0, api.LaneStopped)
	stateDir := filepath.Join(n.dir, "state", p.app)
	// The state does not know of the last marker.
	saysText(t, l.Reason, p.app+".changelog/0", fmt.Sprint("up to offset ", ahead-1), "got offset", "older copy", stateDir, "tally reset "+p.app)
	n.stop()
	for range 5 { // as many barriers as would carry the changelog's end over the state's position
		says(t, p.refused(inDir(n.dir)), "was refused before", fmt.Sprint("up to offset ", ahead-1), stateDir)
	}
	p.must(os.RemoveAll(stateDir)) // as it says
	n = p.start(inDir(n.dir))
	n.right(events)
	again := []*kgo.Record{event(0, "a", "x z"), event(1, "b", "y")}
	p.send(again...)
	n.right(append(events, again...))
}

// changelogEnd is where a partition of the changelog ends.
func (p *place) changelogEnd(partition int32) int64 {
	p.t.Helper()
	var at int64
	until(p.t, func() error {
		ends, err := p.admin.EndOffsets(p.ctx(), p.app+".changelog", false)
		if err == nil && len(ends) == 0 {
			err = errors.New("it has no partitions")
		}
		at = ends[partition]
		return err
	})
	return at
}

// Kafka is restored from an older copy, and another node counts on from that beyond what the first
// one's state has: that state is of another past, adds up to another digest, and is made anew.
func TestStateOfAnotherPast(t *testing.T) {
	t.Parallel()
	addr, dir, copied := testkafka.FreeAddr(t), t.TempDir(), t.TempDir()
	fake := fakeAt(t, addr, dir)
	p := newPlace(t, []string{addr})
	n, events := counted(p)
	fake.Close()
	p.must(os.CopyFS(copied, os.DirFS(dir)))
	fake = fakeAt(t, addr, dir)
	p.connect()
	n = p.start(inDir(n.dir))
	p.send(event(0, "a", "lost x"), event(1, "b", "lost"))
	n.settled(5)
	n.stop()
	ahead := p.changelogEnd(0)
	fake.Close()

	fakeAt(t, addr, copied)
	p.connect()
	other := p.start(named("node-b"))
	for i := 0; p.changelogEnd(0) <= ahead+3; i++ {
		more := []*kgo.Record{event(0, "a", "y"), event(1, "b", "z")}
		p.send(more...)
		events = append(events, more...)
		other.settled(int64(len(events)))
	}
	other.stop()
	n = p.start(inDir(n.dir), takeover())
	n.right(events)
	if n.log.count("level=WARN", "set aside", "digest") == 0 {
		t.Errorf("the other past was not found:\n%s", n.log)
	}
}
