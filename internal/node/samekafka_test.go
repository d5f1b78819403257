package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/replication/ownership"
)

// anotherKafka is a place in a Kafka with the cluster id "another".
func anotherKafka(t *testing.T) *place {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("another"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return newPlace(t, c.ListenAddrs())
}

// untouched fails if there is any topic.
func (p *place) untouched() {
	p.t.Helper()
	topics, err := p.adm.ListTopics(p.ctx())
	p.must(err)
	if len(topics) > 0 {
		p.t.Errorf("there are topics now: %v", topics.Names())
	}
}

// isOne waits until the cluster has this node alone.
func (n *tally) isOne() {
	n.t.Helper()
	until(n.t, func() error {
		st, err := n.client.Status(n.p.ctx())
		if err == nil && len(st.Nodes) != 1 {
			err = fmt.Errorf("nodes %+v", st.Nodes)
		}
		return err
	})
}

// Where there is no app yet, a node whose brokers are another Kafka's than the leader's is refused,
// and makes nothing there.
func TestJoinWithAnotherKafkaBeforeAnyApp(t *testing.T) {
	p := onFake(t)
	n := p.launch(noSpecs())
	n.isReady()
	other := anotherKafka(t)
	err := other.refused(noSpecs(), named("node-b"), joined([]string{n.addr()}), func(c *Config) { c.CreateTopics = 2 })
	says(t, err, "node node-a, which leads this cluster", "cluster id kfake", "of another", "--brokers of one Kafka")
	n.isOne()
	other.untouched()
	// One of the same Kafka is let in.
	p.launch(noSpecs(), named("node-c"), joined([]string{n.addr()})).isReady()
}

// A node of another Kafka that has become a member before the leader had reached its own: it gives
// the cluster no app, and ends at the first one that counts on the leader's Kafka, before anything
// is made. The app is counted by the others alone. (Should it be elected meanwhile, as on a busy
// machine, its Kafka is the cluster's, and there is nothing to see.)
func TestAppOfAnotherKafka(t *testing.T) {
	t.Parallel()
	addr := testkafka.FreeAddr(t)
	p := newPlace(t, []string{addr})
	a := p.launch(noSpecs())
	other := anotherKafka(t)
	dir := t.TempDir()
	p.must(os.Mkdir(filepath.Join(dir, "raft"), 0o700)) // it was started before, and found no seed
	b := other.launch(noSpecs(), inDir(dir), named("node-b"), joined([]string{a.addr()}), func(c *Config) { c.CreateTopics = 2 })
	b.isReady()
	fakeAt(t, addr, t.TempDir())
	a.isReady()

	leads := func(name string) bool {
		st, err := a.client.Status(p.ctx())
		p.must(err)
		return st.Leader == name
	}
	_, err := b.client.Submit(p.ctx(), p.app, p.spec(wordcount).YAML(), api.SubmitRequest{})
	if leads("node-b") {
		return
	}
	says(t, err, "app "+p.app, "cluster id another", "that of kfake-on-disk")
	other.untouched()

	p.topic(p.in, 2)
	_, err = a.client.Submit(p.ctx(), p.app, p.spec(wordcount).YAML(), api.SubmitRequest{})
	if err != nil && leads("node-b") {
		return
	}
	p.must(err)
	err = b.end()
	says(t, err, "app "+p.app, "cluster id kfake-on-disk", "are of another", "--brokers of the other nodes")
	if code := exitCode(err); code != 1 {
		t.Errorf("exit %d", code)
	}
	other.untouched()
	a.isOne()
	events := sentences(2, 30)
	p.send(events...)
	a.right(events)
}

// A new app has to be of the Kafka of the apps that there are, or else of the one that the leader
// has reached.
func TestVetKafka(t *testing.T) {
	t.Parallel()
	some, none := ownership.New(), ownership.New()
	some.Apps["a"] = &ownership.App{Name: "a", Spec: "app: a\ninput: {topic: a}\ngroup: [key]\n", KafkaCluster: "k"}
	for _, c := range []struct {
		st     *ownership.State
		leader string // the Kafka that it has reached
		of     string // the app's
		taken  bool
	}{
		{some, "k", "k", true}, {some, "", "k", true}, {some, "k", "", true},
		{some, "k", "x", false}, {some, "x", "x", false}, {some, "", "x", false},
		{none, "k", "k", true}, {none, "", "k", true}, {none, "k", "", true},
		{none, "k", "x", false},
	} {
		n := &Node{kafkaCluster: c.leader}
		rec := &ownership.App{Name: "b", Spec: "app: b\ninput: {topic: a}\ngroup: [key]\n", KafkaCluster: c.of}
		if why := n.vet(c.st, rec); (why == "") != c.taken {
			t.Errorf("%d apps, the leader's Kafka %q, the app's %q: %q", len(c.st.Apps), c.leader, c.of, why)
		}
	}
}

// While a node of an older release lives, an app that there is goes on as that one can read it; a
// new one is not put at all, which the cluster sees to.
func TestKafkaOfAnOlderCluster(t *testing.T) {
	t.Parallel()
	rec, before := ownership.App{Name: "a", KafkaCluster: "k"}, &ownership.App{Name: "a"}
	for _, c := range []struct {
		format int // of the other member
		alive  bool
		before *ownership.App
		want   string
	}{
		{1, true, before, ""}, {1, true, nil, "k"}, {1, false, before, "k"}, {ownership.Format, true, before, "k"},
	} {
		st := ownership.New()
		st.Members["x"] = &ownership.Member{ID: "x", Name: "x", Format: c.format, Alive: c.alive}
		if got := kafkaOf(st, rec, c.before); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
