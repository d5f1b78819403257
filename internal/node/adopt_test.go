package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// loses removes files of the data dir.
func (n *tally) loses(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.p.must(os.RemoveAll(filepath.Join(n.dir, name)))
	}
}

// keepsApp fails unless the data dir has the spec and the state of the app.
func (n *tally) keepsApp() {
	n.t.Helper()
	for _, name := range []string{filepath.Join("apps", n.p.app+".yaml"), filepath.Join("state", n.p.app, "0")} {
		if _, err := os.Stat(filepath.Join(n.dir, name)); err != nil {
			n.t.Fatalf("it has lost what it has counted: %v", err)
		}
	}
}

// A data dir of before there were clusters, whose first starts since end before the log has the
// app: since Kafka does not answer, and since another app of the data dir is refused. Nothing is
// taken for deleted, and the start after them counts on.
func TestUpgradeThatIsBrokenOff(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.loses("cluster.json", "raft")
	off := p.launch(inDir(n.dir), noSpecs(), func(c *Config) { c.Brokers = []string{testkafka.FreeAddr(t)} })
	until(t, func() error {
		if off.log.count("Kafka does not answer") == 0 {
			return errors.New("it does not say that Kafka does not answer")
		}
		_, err := os.Stat(filepath.Join(n.dir, "cluster.json"))
		return err
	})
	off.stop()
	n.keepsApp()

	lost := *p
	lost.app, lost.in, lost.out = p.app+"-lost", p.app+"-lost.in", p.app+"-lost.out"
	file := filepath.Join(n.dir, "apps", lost.app+".yaml")
	p.must(os.WriteFile(file, lost.spec(wordcount).YAML(), 0o644))
	for range 2 {
		says(t, p.refused(inDir(n.dir), noSpecs()), "app "+lost.app, lost.in, "to start without it, remove "+file)
		n.keepsApp()
	}
	p.must(os.Remove(file)) // as it says

	n = p.start(inDir(n.dir), noSpecs())
	more := sentences(2, 10)
	p.send(more...)
	n.right(append(events, more...))
	n.stop()
	n = p.start(inDir(n.dir), noSpecs())
	n.right(append(events, more...))
}

// A node with --spec and with another app in its data dir: what it was started with is in the log,
// and the rest is left alone until a start without --spec adopts it.
func TestUpgradeWithOneSpecOfTwo(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.loses("cluster.json", "raft")
	other := *p
	other.app, other.out = p.app+"-other", p.app+"-other.out"
	for range 2 {
		m := p.start(inDir(n.dir), running(other.spec(wordcount)))
		if m.log.count("level=WARN", "apps that this cluster does not", filepath.Join("apps", p.app+".yaml")) != 1 {
			t.Errorf("it does not name what it leaves alone:\n%s", m.log)
		}
		m.stop()
		n.keepsApp()
	}
	n = p.start(inDir(n.dir), noSpecs())
	until(t, func() error {
		st, err := n.client.Status(p.ctx())
		if err == nil && len(st.Apps) != 2 {
			err = fmt.Errorf("%d apps", len(st.Apps))
		}
		return err
	})
	n.has(count(events))
}

// A node that gives up its cluster for another one takes no app along: its data dir keeps them, and
// says so, until they are submitted there.
func TestJoinTakesNoAppsAlong(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.loses("node.json", "cluster.json", "raft")
	a := p.launch(noSpecs())
	a.isReady()
	for range 2 {
		b := p.launch(inDir(n.dir), noSpecs(), named("node-b"), joined([]string{a.addr()}))
		b.isReady()
		if b.log.count("level=WARN", "apps that this cluster does not", filepath.Join("apps", p.app+".yaml"), filepath.Join("state", p.app)) != 1 {
			t.Errorf("it does not name what it leaves alone:\n%s", b.log)
		}
		if st, err := a.client.Status(p.ctx()); err != nil || len(st.Apps) != 0 || len(st.Nodes) != 2 {
			t.Fatalf("the cluster has %d nodes and apps %+v, %v", len(st.Nodes), st.Apps, err)
		}
		b.stop()
		n.keepsApp()
	}
	b := p.launch(inDir(n.dir), noSpecs(), named("node-b"), joined([]string{a.addr()}))
	b.isReady()
	_, err := a.client.Submit(p.ctx(), p.app, p.spec(wordcount).YAML(), api.SubmitRequest{})
	p.must(err)
	more := sentences(2, 10)
	p.send(more...)
	a.right(append(events, more...))
	b.has(count(append(events, more...)))
}
