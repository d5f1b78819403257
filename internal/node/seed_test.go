package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
)

// seeding makes a node take a copy of whatever is not tiny, and keep one copy of each lane.
func seeding(c *Config) { c.Standbys, c.SeedRecords, c.ReplayRate, c.SeedRate = 1, 100, 1, 8<<20 }

// many are events with so many groups.
func many(groups, from int) (events []*kgo.Record) {
	for i := range groups / 10 {
		words := make([]string, 10)
		for k := range words {
			words[k] = fmt.Sprintf("w%d", from+i*10+k)
		}
		events = append(events, placed(4, fmt.Sprintf("user-%d", i%997), strings.Join(words, " ")))
	}
	return events
}

// said waits until the node's log has a line with all parts.
func (n *tally) said(parts ...string) {
	n.t.Helper()
	until(n.t, func() error {
		if n.log.count(parts...) == 0 {
			return fmt.Errorf("the log does not say %q", parts)
		}
		return nil
	})
}

// copied waits until a node has a ready copy of each lane.
func (b *band) copied(node string) {
	b.t.Helper()
	b.until("node "+node+" has a copy of every lane", func(st api.Status) error {
		for _, l := range st.Apps[0].Lanes {
			ready := l.Owner == node && l.State == api.LaneRunning
			for _, c := range l.Copies {
				ready = ready || c.Node == node && c.Ready
			}
			if !ready {
				return fmt.Errorf("lane %d: %+v", l.Lane, l)
			}
		}
		return nil
	})
}

// A node whose state is gone takes copies of its lanes from the other one, follows from there, and
// counts on exactly when the other one is gone. What an earlier process was giving out is removed.
func TestBandSeeds(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2, seeding)
	groups := 20_000
	if os.Getenv("TALLY_PROOF") != "" {
		groups = 300_000
	}
	sent := many(groups, 0)
	b.send(sent...)
	b.counted(sent)
	b.nodes[1].stop()
	b.nodes[1].wipe()
	leftover := filepath.Join(b.nodes[1].dir, "state", p.app, "0"+checkpointMark)
	p.must(os.MkdirAll(leftover, 0o755))

	b.nodes[1] = b.launch(1, seeding, inDir(b.nodes[1].dir))
	more := many(1000, groups)
	b.send(more...)
	sent = append(sent, more...)
	b.nodes[1].said("msg=seeded", "lane=")
	b.copied("node-b")
	if there(leftover) {
		t.Error("a checkpoint of an earlier process is still there")
	}
	left, err := filepath.Glob(filepath.Join(b.nodes[1].dir, "state", p.app, "*.seeding"))
	if err != nil || len(left) > 0 {
		t.Errorf("what was received is still there: %v %v", left, err)
	}
	b.counted(sent)
	b.nodes[0].stop()
	more = many(1000, groups/2)
	b.send(more...)
	sent = append(sent, more...)
	b.counted(sent)
	if n := b.nodes[1].log.count("no copy of the lane"); n > 0 {
		t.Errorf("%d copies have failed", n)
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// flipping is a connection that changes a byte of each larger answer to a question for a file.
type flipping struct {
	net.Conn
	ending string
	asked  atomic.Bool
}

func (c *flipping) Write(b []byte) (int, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	c.asked.Store(bytes.Contains(line, []byte("/v1/node/checkpoint/")) && bytes.Contains(line, []byte(c.ending)))
	return c.Conn.Write(b)
}

func (c *flipping) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.asked.Load() && n >= 1024 {
		b[n-1] ^= 1
	}
	return n, err
}

func flipped(s seam.Seam, ending string) seam.Seam {
	dial := s.Dial
	s.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &flipping{Conn: c, ending: ending}, nil
	}
	return s
}

// Copies that come damaged are refused, and the changelog is read instead.
func TestBandSeedsFromADamagingNode(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(2, seeding)
	sent := many(10_000, 0)
	b.send(sent...)
	b.counted(sent)
	b.nodes[1].stop()
	b.nodes[1].wipe()
	damaging := func(c *Config) { c.Seam = flipped(c.Seam, ".sst") }
	b.nodes[1] = b.launch(1, seeding, damaging, inDir(b.nodes[1].dir))
	b.nodes[1].said("no copy of the lane", "checksum")
	b.copied("node-b")
	b.counted(sent)
	if b.nodes[1].log.count("msg=seeded") > 0 {
		t.Error("a damaged copy was taken")
	}
}

// A copy that turns out wrong at its verification is set aside and not taken again, and is neither
// a damage of this node's disk nor held against the changelog, from which the store is made then.
func TestWrongCopy(t *testing.T) {
	s, err := spec.Parse([]byte("app: x\ninput: {topic: in, format: text}\ngroup: [key]\naggregates: {n: count}\n"), "test")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{cfg: Config{Seam: seam.World(), Log: slog.New(slog.DiscardHandler)}, dir: &dataDir{path: t.TempDir()}}
	l := &lane{app: &app{node: n, spec: s}}
	wrong := &state.DigestError{}
	for range 2 * damagesMax {
		l.rebuilt, l.copied = false, true // as adopt leaves it
		if !l.rebuildable(wrong) {
			t.Fatal("it is held against the changelog")
		}
		if err := l.setAside(wrong); err != nil {
			t.Fatal(err)
		}
	}
	if !l.unseeded || l.rebuildable(wrong) {
		t.Errorf("unseeded %v, rebuilt %v", l.unseeded, l.rebuilt)
	}
	for range damagesMax - 1 {
		if err := l.setAside(state.ErrDamaged); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.setAside(state.ErrDamaged); err == nil {
		t.Error("the disk may damage the state for ever")
	}
}

// identity is what the stores of a wordcount say of themselves.
func (p *place) identity(lane int) state.Identity {
	p.t.Helper()
	id := state.Identity{App: p.app, Lane: lane, Generation: 1, Fingerprint: p.spec(wordcount).Fingerprint()}
	var err error
	id.KafkaCluster, err = p.admin.ClusterID(p.ctx())
	p.must(err)
	for name, to := range map[string]*string{p.in: &id.InputTopicID, p.app + ".changelog": &id.ChangelogTopicID} {
		topic, _, err := p.admin.Topic(p.ctx(), name)
		p.must(err)
		*to = topic.ID
	}
	return id
}

// A copy is given out to who has the same life of the app open, and only for what there is.
func TestCheckpointIsRefused(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	n := p.start(func(c *Config) { c.Name = "node-a" })
	p.send(event(0, "k", "a b c"))
	st := n.settled(1)
	call := api.NewCaller(http.DefaultClient, func(addr string) string { return "http://" + addr }, 0)
	addr := strings.TrimPrefix(n.url, "http://")
	id := p.identity(0)
	id.AppID = st.AppID
	ask := func(change func(*checkpointAsk)) error {
		a := checkpointAsk{Identity: id}
		a.App = p.app
		change(&a)
		return call(p.ctx(), addr, callCheckpoint, a, &checkpointAnswer{})
	}
	for what, change := range map[string]func(*checkpointAsk){
		"a copy of":                func(a *checkpointAsk) { a.Identity.Generation++ },
		"is of":                    func(a *checkpointAsk) { a.Identity.AppID = "other" },
		"has no lane 1":            func(a *checkpointAsk) { a.Lane = 1 },
		"no lane 0 of app":         func(a *checkpointAsk) { a.App = "other" },
		"1 partitions here, and 2": func(a *checkpointAsk) { a.Tasks = 2 },
	} {
		says(t, ask(change), what)
	}
	p.must(ask(func(*checkpointAsk) {}))
	open := api.NewPieceOpener(http.DefaultClient, func(addr string) string { return "http://" + addr })
	var e *api.Error
	if _, err := open(p.ctx(), addr, api.Piece{App: p.app, ID: "other", File: "x", Bytes: 1}); !errors.As(err, &e) || e.Code != api.CodeGone {
		t.Errorf("got %v", err)
	}
	n.stop()
	left, err := filepath.Glob(filepath.Join(n.dir, "state", "*", "*"+checkpointMark+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("a checkpoint outlives the node: %v %v", left, err)
	}
}
