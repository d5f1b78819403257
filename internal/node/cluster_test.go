package node

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor/spec"
)

// band is a cluster of nodes in this process, on one Kafka.
type band struct {
	*place
	nodes    []*tally
	addrs    []string
	standbys int // that each lane has to have
}

func standbys(n int) option { return func(c *Config) { c.Standbys = n } }

func joined(addrs []string) option { return func(c *Config) { c.Join = addrs } }

func noSpecs() option { return func(c *Config) { c.Specs = []*spec.Spec{} } }

// addr is HOST:PORT of the node.
func (n *tally) addr() string { return strings.TrimPrefix(n.url, "http://") }

// band starts n nodes at once, all with the same spec, and waits until every lane has an owner that
// runs it.
func (p *place) band(n int, opts ...option) *band {
	p.t.Helper()
	b := &band{place: p}
	cfg := p.config(opts...)
	b.standbys = min(cfg.Standbys, n-1)
	for range n {
		b.addrs = append(b.addrs, testkafka.FreeAddr(p.t))
	}
	for i := range n {
		b.nodes = append(b.nodes, b.launch(i, opts...))
	}
	for _, n := range b.nodes {
		n.isReady()
	}
	b.whole()
	return b
}

// isReady waits until the node says that it is: it is a member, and has submitted its specs.
func (n *tally) isReady() {
	n.t.Helper()
	until(n.t, func() error {
		resp, err := http.Get(n.url + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("%s is not ready: %s", n.url, text)
		}
		return nil
	})
}

func (b *band) launch(i int, opts ...option) *tally {
	all := slices.Concat([]option{listening(b.addrs[i]), joined(b.addrs), named(nodeName(i))}, opts)
	return b.place.launch(all...)
}

// whole waits until every lane of the one app is run by one node, and followed by another.
func (b *band) whole() api.AppStatus {
	b.t.Helper()
	var app api.AppStatus
	b.until("every lane runs, and has a standby that is ready", func(st api.Status) error {
		app = st.Apps[0]
		for _, l := range app.Lanes {
			if l.State != api.LaneRunning || l.From != "" || l.Target != "" {
				return fmt.Errorf("lane %d of %s is %s (%s), from %q, target %q", l.Lane, l.Owner, l.State, l.Reason, l.From, l.Target)
			}
			ready := 0
			for _, c := range l.Copies {
				if c.Ready {
					ready++
				}
			}
			if want := min(b.standbys, len(b.alive())-1); ready < want {
				return fmt.Errorf("lane %d has %d standbys that are ready, not %d: %+v", l.Lane, ready, want, l.Copies)
			}
		}
		return nil
	})
	return app
}

// alive are the nodes that run.
func (b *band) alive() (nodes []*tally) {
	for _, n := range b.nodes {
		select {
		case err := <-n.ended:
			n.ended <- err
		default:
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func nodeName(i int) string { return fmt.Sprintf("node-%c", 'a'+i) }

// until polls the status at a node that runs.
func (b *band) until(what string, ok func(api.Status) error) {
	b.t.Helper()
	alive := len(b.alive())
	until(b.t, func() error {
		now := b.alive()
		if len(now) < alive || alive == 0 {
			b.t.Fatalf("until %s: %d of %d nodes run", what, len(now), alive)
		}
		st, err := now[0].client.Status(b.ctx())
		if err == nil && (len(st.Apps) != 1 || len(st.Apps[0].Lanes) == 0) {
			err = fmt.Errorf("apps %+v", st.Apps)
		}
		if err == nil {
			err = ok(st)
		}
		if err != nil {
			err = fmt.Errorf("until %s: %w", what, err)
		}
		return err
	})
}

// counted waits until the cluster has counted what the events hold, and compares it at every node.
func (b *band) counted(events []*kgo.Record) {
	b.t.Helper()
	want := count(events)
	for _, n := range b.alive() {
		until(b.t, func() error {
			got := map[string]string{}
			_, err := n.client.Scan(b.ctx(), b.app, nil, api.ReadOptions{Wait: -1}, func(c api.Count) error {
				got[string(c.Group)] = string(c.Values)
				return nil
			})
			if err == nil && !maps.Equal(got, want) {
				err = fmt.Errorf("counts at %s\n got %v\nwant %v", n.url, got, want)
			}
			return err
		})
	}
}

func (b *band) events(n, from int) (events []*kgo.Record) {
	for i := range n {
		events = append(events, placed(4, fmt.Sprintf("user-%d", (from+i)%7), fmt.Sprintf("word%d and", (from+i)%11)))
	}
	return events
}

// Three nodes that start at once share the lanes of an app, and each of them answers for all. One
// that is stopped hands its lanes over; one that starts again gets its share back.
func TestBandSharesLanes(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3)
	b.until("three nodes have lanes", func(st api.Status) error {
		owners := map[string]int{}
		for _, l := range st.Apps[0].Lanes {
			owners[l.Owner]++
		}
		if len(owners) != 3 {
			return fmt.Errorf("the lanes are owned by %v", owners)
		}
		return nil
	})
	sent := b.events(200, 0)
	b.send(sent...)
	b.counted(sent)

	b.nodes[0].stop()
	more := b.events(200, 200)
	b.send(more...)
	sent = append(sent, more...)
	b.whole()
	b.counted(sent)

	b.nodes[0] = b.launch(0, inDir(b.nodes[0].dir))
	b.until("the node that came back has a lane", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == "node-a" && l.State == api.LaneRunning {
				return nil
			}
		}
		return fmt.Errorf("lanes: %+v", st.Apps[0].Lanes)
	})
	b.counted(sent)
}

// A node whose brokers are another Kafka's is refused: its lanes would count nothing.
func TestJoinWithAnotherKafka(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start(func(c *Config) { c.Standbys = 1 })
	other, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("another"))
	p.must(err)
	defer other.Close()
	err = p.refused(func(c *Config) {
		c.Brokers, c.Join, c.Specs, c.Name = other.ListenAddrs(), []string{strings.TrimPrefix(n.url, "http://")}, []*spec.Spec{}, "node-b"
	})
	says(t, err, "kfake", "another", "--brokers")
	n.ready()
	st, err := n.client.Status(p.ctx())
	if err != nil || len(st.Nodes) != 1 {
		t.Errorf("nodes %+v, %v: the refused one is to be forgotten", st.Nodes, err)
	}
}

// A node that is refused for its spec leaves the cluster that it has just come to, and can come
// again.
func TestJoinWithARefusedSpec(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	n := p.start()
	dir := t.TempDir()
	for text, why := range map[string]string{
		strings.Replace(wordcount, "group: [key, item]", "group: [item]", 1):                                     "group",
		strings.NewReplacer("$APP", "other-app", "$IN", "no-such-topic", "$OUT", "other-out").Replace(wordcount): "no-such-topic",
	} {
		says(t, p.refused(named("node-b"), joined([]string{n.addr()}), inDir(dir), running(p.spec(text))), why)
		n.isOne()
	}
	p.launch(named("node-b"), joined([]string{n.addr()}), inDir(dir), noSpecs()).isReady()
}

// A data dir of before there were clusters: the node runs on what it has run, under later epochs.
func TestUpgradeOfLoneNode(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n = p.start(inDir(n.dir))
	before := n.lane(0, api.LaneRunning).Epoch
	n.stop()
	p.must(os.Remove(filepath.Join(n.dir, "cluster.json")))
	p.must(os.RemoveAll(filepath.Join(n.dir, "raft")))
	n = p.start(inDir(n.dir), func(c *Config) { c.Specs = []*spec.Spec{} })
	if after := n.lane(0, api.LaneRunning).Epoch; after <= before {
		t.Errorf("the epoch is %d, and was %d", after, before)
	}
	n.right(events)
}
