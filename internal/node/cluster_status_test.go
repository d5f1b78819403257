package node

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/certs"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// problems are the lines of a status that have all these words.
func problems(st api.Status, words ...string) (lines []string) {
	for _, line := range st.Problems {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// oneProblem says whether the status has one line with all these words, and no other with the last
// of them.
func oneProblem(st api.Status, words ...string) error {
	if all := problems(st, words[len(words)-1]); len(all) != 1 || len(problems(st, words...)) != 1 {
		return fmt.Errorf("no line, or not one alone, says %q:\n%s", words, strings.Join(st.Problems, "\n"))
	}
	return nil
}

// One of three nodes that form a cluster is started: its status says that it waits, and for whom,
// and misses no leader of a cluster that there has never been.
func TestBandWaitsForItsSeeds(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	b := &band{place: p}
	for range 3 {
		b.addrs = append(b.addrs, testkafka.FreeAddr(t))
	}
	n := b.launch(0)
	st := n.until("it says what it waits for", func(st api.Status) bool { return len(st.Problems) > 0 })
	if len(st.Problems) != 1 || len(st.Nodes) != 0 {
		t.Errorf("nodes %+v, problems:\n%s", st.Nodes, strings.Join(st.Problems, "\n"))
	}
	saysText(t, st.Problems[0], "node node-a waits for the cluster: these seeds do not answer: ", b.addrs[1]+" (", b.addrs[2]+" (")
	b.nodes = []*tally{n, b.launch(1), b.launch(2)}
	b.whole()
	b.until("it waits for nothing more", func(st api.Status) error {
		if lines := problems(st, "waits for the cluster"); len(lines) > 0 {
			return fmt.Errorf("problems: %q", lines)
		}
		return nil
	})
}

// Two nodes say that one of them cannot take over from the other, until there is a third, even one
// that has never reached Kafka: that has a vote, and gets no lanes, and the status says why.
func TestBandOfTwoVoters(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2, standbys(1))
	b.until("two voters are too few", func(st api.Status) error {
		return oneProblem(st, "no lane be taken over: start a third", "two nodes vote")
	})
	c := p.launch(listening(testkafka.FreeAddr(t)), joined(b.addrs), named("node-c"), func(c *Config) {
		c.Brokers, c.UnreachableAt = []string{testkafka.FreeAddr(t)}, 200*time.Millisecond
	})
	b.until("three vote, and one has no Kafka", func(st api.Status) error {
		if lines := problems(st, "two nodes vote"); len(lines) > 0 {
			return fmt.Errorf("problems: %q", lines)
		}
		return oneProblem(st, "gets no lanes while another can have them: it has not reached Kafka yet: ", "node node-c")
	})
	sent := b.events(100, 0)
	b.send(sent...)
	b.nodes = append(b.nodes, c) // it has not opened the app, and asks the others
	b.counted(sent)
}

// kafkaLine is what a node has of Kafka; it reaches other nodes meanwhile.
type kafkaLine struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

// through gives a node of a band the line.
func (k *kafkaLine) through(c *Config) {
	nodes := c.Join
	c.Seam.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := seam.World().Dial(ctx, network, addr)
		if err != nil || slices.Contains(nodes, addr) {
			return conn, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.cut {
			conn.Close()
			return nil, errParted
		}
		k.conns = append(k.conns, conn)
		return conn, nil
	}
}

func (k *kafkaLine) set(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	for _, c := range k.conns {
		c.Close()
	}
	k.conns = nil
}

// A node that loses Kafka alone loses its lanes, and any node's status says why, in one line, until
// it has Kafka again.
func TestBandNodeWithoutKafka(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	var line kafkaLine
	b := p.band(3, standbys(1), func(c *Config) {
		if c.Name == nodeName(1) {
			line.through(c)
		}
	})
	load := p.stream(4)
	b.until("it has a lane", b.hasLane(nodeName(1)))
	line.set(true)
	b.until("it has no lane, and the status says why", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			if l.Owner == nodeName(1) || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v", l)
			}
		}
		return oneProblem(st, "gets no lanes while another can have them: it has not reached Kafka for ", "node "+nodeName(1))
	})
	line.set(false)
	b.until("it has a lane again, and no problem", func(st api.Status) error {
		if lines := problems(st, nodeName(1)); len(lines) > 0 {
			return fmt.Errorf("problems: %q", lines)
		}
		return b.hasLane(nodeName(1))(st)
	})
	b.whole()
	b.exact(load())
}

// A leader that loses Kafka gives the leadership to a node that has it: its lanes, which nobody
// follows, go on elsewhere.
func TestBandLeaderWithoutKafka(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 3)
	lines := map[string]*kafkaLine{}
	b := p.band(3, standbys(0), func(c *Config) {
		lines[c.Name] = &kafkaLine{}
		lines[c.Name].through(c)
	})
	load := p.stream(3)
	b.whole()
	st, err := b.nodes[0].client.Status(b.ctx())
	p.must(err)
	lines[st.Leader].set(true)
	b.until("the lanes run at the others", func(now api.Status) error {
		for _, l := range now.Apps[0].Lanes {
			if l.Owner == st.Leader || l.State != api.LaneRunning {
				return fmt.Errorf("lane %+v, led by %s", l, now.Leader)
			}
		}
		return nil
	})
	lines[st.Leader].set(false)
	b.whole()
	b.exact(load())
}

// Without Kafka, and with each other, nodes keep what they own: no lane moves, who is asked answers
// as of when it last knew, and once Kafka is back they count on.
func TestBandWithoutKafka(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	lines := make([]kafkaLine, 3)
	b := p.band(3, standbys(1), func(c *Config) {
		for i := range lines {
			if c.Name == nodeName(i) {
				lines[i].through(c)
			}
		}
	})
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
	b.balanced()
	before, err := b.nodes[0].client.Status(b.ctx())
	p.must(err)
	for i := range lines {
		lines[i].set(true)
	}
	began := time.Now()
	more := b.events(100, 100)
	b.send(more...) // which nobody hears of
	b.until("each node says that Kafka does not answer", func(st api.Status) error {
		for i := range lines {
			if len(problems(st, nodeName(i))) == 0 {
				return fmt.Errorf("problems: %q", st.Problems)
			}
		}
		if since := time.Since(began); since < 3*time.Second { // a node alone has lost its lanes by then
			return fmt.Errorf("without Kafka for %v", since)
		}
		return nil
	})
	const group = `["user-1","and"]`
	for _, n := range b.nodes {
		got, err := n.client.Get(b.ctx(), b.app, []byte(group), api.ReadOptions{Stale: true})
		old := func(part api.Part) bool {
			return part.Role == api.RoleUnsure && time.UnixMilli(part.AsOfMs).Before(began.Add(time.Second))
		}
		if err != nil || string(got.Values) != count(sent)[group] || slices.ContainsFunc(got.Parts, func(p api.Part) bool { return !old(p) }) {
			t.Errorf("asked at %s: %+v, %v; without Kafka since %v", n.url, got, err, began)
		}
	}
	now, err := b.nodes[0].client.Status(b.ctx())
	p.must(err)
	if was, is := owned(before), owned(now); !slices.Equal(was, is) {
		t.Errorf("without Kafka %v has become %v", was, is)
	}
	for i := range lines {
		lines[i].set(false)
	}
	b.whole()
	b.exact(append(sent, more...))
}

// The owner of a lane that nobody follows ends, and the leader cannot fence the lane: any node's
// status says why it has no owner, until the fence has ended and the lane runs.
func TestBandFenceFails(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 3)
	b := p.band(3, func(c *Config) { c.HandOverMax, c.DepartMax = 1, 1 }) // a stop is as good as a kill
	for i := range b.nodes {
		b.until("it has a lane", b.hasLane(nodeName(i)))
	}
	b.whole()
	st, err := b.nodes[0].client.Status(b.ctx())
	p.must(err)
	gone := 2
	if st.Leader == nodeName(gone) { // which can hand its lane over by itself
		gone = 1
	}
	grant := p.withoutRights("")
	b.nodes[gone].stop()
	for _, n := range b.alive() {
		n.until("it says why", func(st api.Status) bool {
			return len(problems(st, " has no owner: its fence has failed", kerr.TransactionalIDAuthorizationFailed.Message)) > 0 &&
				len(problems(st, "has no owner")) == len(problems(st, "its fence has failed"))
		})
	}
	grant()
	b.whole()
	b.until("every lane has an owner", func(st api.Status) error {
		if lines := problems(st, "owner"); len(lines) > 0 {
			return fmt.Errorf("problems: %q", lines)
		}
		return nil
	})
}

// A node whose certificate is of another authority warns of it, and its own status says so.
func TestForeignCertificate(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	var addrs, dirs []string
	for i := range 2 {
		dir := t.TempDir()
		_, err := certs.Make(dir, []certs.Node{{Name: nodeName(i), Hosts: []string{"127.0.0.1"}}}, certs.MakeOptions{Seam: seam.World()})
		p.must(err)
		addrs, dirs = append(addrs, testkafka.FreeAddr(t)), append(dirs, dir)
	}
	for i := range 2 {
		n := p.launch(listening(addrs[i]), joined(addrs), named(nodeName(i)), func(c *Config) {
			c.Certs = filepath.Join(dirs[i], nodeName(i))
		})
		authority, err := certs.Pool(filepath.Join(dirs[i], "ca.crt"))
		p.must(err)
		n.client, err = api.NewClient("https://"+addrs[i], seam.World(), api.WithCA(authority))
		p.must(err)
		if i == 0 {
			n.until("it waits", func(st api.Status) bool { return len(problems(st, "waits for the cluster", addrs[1])) == 1 })
			continue
		}
		st := n.until("it says what it waits for", func(st api.Status) bool { return len(problems(st, "authority")) > 0 })
		if err := oneProblem(st, "node node-b waits for the cluster: these seeds do not answer: "+addrs[0], "is of another authority"); err != nil {
			t.Error(err)
		}
		until(t, func() error {
			if n.log.count("level=WARN", "waiting for the cluster", "is of another authority") == 0 {
				return fmt.Errorf("no warning:\n%s", n.log)
			}
			return nil
		})
		if said := n.log.count("level=INFO", "is of another authority"); said > 0 {
			t.Errorf("said %d times as if it would mend itself", said)
		}
	}
}
