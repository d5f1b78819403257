package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestForm: nodes that are started in any order, or all at once, form one cluster, and none of them
// ever takes another id for its cluster's.
func TestForm(t *testing.T) {
	t.Parallel()
	tries := 10
	if os.Getenv("TALLY_PROOF") != "" {
		tries = 200
	}
	for _, count := range []int{3, 5} {
		var g errgroup.Group
		g.SetLimit(4)
		var mu sync.Mutex
		var took []time.Duration
		for i := range tries {
			g.Go(func() error {
				d, err := formOnce(t, count, rand.New(rand.NewPCG(uint64(count), uint64(i))))
				mu.Lock()
				defer mu.Unlock()
				took = append(took, d)
				if err != nil {
					return fmt.Errorf("try %d of %d nodes: %w", i, count, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(took)
		t.Logf("%d nodes, %d tries: registered after the last start: median %s, at most %s",
			count, tries, took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	}
}

// formOnce starts nodes and looks at each id that any of them ever has for its cluster.
func formOnce(t *testing.T, count int, r *rand.Rand) (time.Duration, error) {
	nodes := newNodes(t, count)
	spread := time.Duration(r.IntN(3)) * 20 * time.Millisecond // 0: all at once
	seen := newIDs()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var g errgroup.Group
	var mu sync.Mutex
	var last time.Time
	for _, i := range r.Perm(count) {
		wait := time.Duration(r.Int64N(int64(spread) + 1))
		g.Go(func() error {
			<-time.After(wait)
			if err := nodes[i].try(); err != nil {
				return err
			}
			mu.Lock()
			last = time.Now()
			mu.Unlock()
			go seen.watch(ctx, nodes[i].Cluster)
			return nodes[i].Wait(ctx)
		})
	}
	err := g.Wait()
	took := time.Since(last)
	for _, n := range nodes {
		seen.add(n.ClusterID())
		defer n.stop()
	}
	ids := seen.all()
	if err == nil && len(ids) != 1 {
		err = fmt.Errorf("cluster ids %v", ids)
	}
	if lowest := slices.MinFunc(nodes, func(a, b *tnode) int { return strings.Compare(a.conf.ID, b.conf.ID) }); err == nil && ids[0] != lowest.conf.ID {
		err = fmt.Errorf("cluster %s was not formed by the lowest node %s", ids[0], lowest.conf.ID)
	}
	return took, err
}

type ids struct {
	mu  sync.Mutex
	ids map[string]bool
}

func newIDs() *ids { return &ids{ids: map[string]bool{}} }

func (s *ids) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" {
		s.ids[id] = true
	}
}

func (s *ids) all() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.ids {
		list = append(list, id)
	}
	return list
}

func (s *ids) watch(ctx context.Context, c *Cluster) {
	for {
		changed := c.Changed()
		s.add(c.State().ClusterID)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// TestTwoWouldForm: a seed's address passes to a node with a lower id while the lowest so far is
// about to form the cluster. Both take themselves for the lowest; each says so before it asks once
// more, so that whoever asks last gives way.
func TestTwoWouldForm(t *testing.T) {
	t.Parallel()
	seeds := []string{"a:1", "b:1"}
	hello := func(id string, forming bool) *Hello {
		return &Hello{NodeID: id, Name: "n" + id, Incarnation: "i", Addr: "x:1", Format: 1, Empty: true, Forming: forming, Seeds: seeds}
	}
	at := func(a, b *Hello) []answer { return []answer{{seed: "a:1", hello: a}, {seed: "b:1", hello: b}} }
	two := Config{ID: "2", Name: "n2", Incarnation: "i", Seeds: seeds}
	before := at(hello("3", false), hello("2", false))
	if v := judge(two, before); v.form == nil {
		t.Fatalf("2 is the lowest of 2 and 3: %+v", v)
	}
	if v := judge(two, at(hello("3", false), hello("2", true))); v.form == nil {
		t.Errorf("2 gives way to its own word: %+v", v)
	}
	after := at(hello("1", false), hello("2", true))
	if v := judge(two, after); v.form != nil || sameProcesses(before, after) {
		t.Errorf("2 does not see that 1 has come: %+v", v)
	}
	one := Config{ID: "1", Name: "n1", Incarnation: "i", Seeds: seeds}
	if v := judge(one, at(hello("1", true), hello("2", true))); v.form != nil || v.wait == nil {
		t.Errorf("1 forms a cluster although 2 has said that it does: %+v", v)
	}
}

// TestFormAsksTwice: a node that is about to form a cluster says so, asks once more, and forms none
// if another process has come to a seed in between.
func TestFormAsksTwice(t *testing.T) {
	t.Parallel()
	n := newNode(t, "a")
	n.conf.ID = "1"
	other := newGate(t).addr
	n.conf.Seeds = []string{n.gate.addr, other}
	first := Hello{NodeID: "2", Name: "b", Incarnation: "first", Addr: other, Format: 1, Empty: true, Seeds: n.conf.Seeds}
	slices.Sort(first.Seeds)
	var mu sync.Mutex
	var heard []bool // of this node, whether it was about to form, when the other seed was asked
	n.wrap = func(real Call) Call {
		return func(ctx context.Context, addr, call string, in, out any) error {
			if addr != other || call != "hello" {
				return real(ctx, addr, call, in, out)
			}
			var self Hello
			if err := real(ctx, n.gate.addr, "hello", in, &self); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, self.Forming)
			answer := first
			answer.Incarnation = fmt.Sprint("process ", len(heard)) // another one each time
			*out.(*Hello) = answer
			return nil
		}
	}
	n.start()
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(heard) < 6 {
			return fmt.Errorf("asked %d times", len(heard))
		}
		return nil
	})
	if !n.raft.Empty() {
		t.Error("it has formed a cluster")
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []bool{false, true, false, true, false, true}; !slices.Equal(heard[:6], want) {
		t.Errorf("it said that it forms one: %v, want %v", heard[:6], want)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	seeds := []string{"a:1", "b:1", "c:1"}
	conf := Config{ID: "1", Name: "n1", Incarnation: "i1", Started: time.UnixMilli(100), Addr: "a:1", Release: "9", DataDir: "/d", Seeds: seeds}
	hello := func(id string, change ...func(*Hello)) *Hello {
		h := &Hello{NodeID: id, Name: "n" + id, Incarnation: "i" + id, Addr: "at-" + id, Release: "9", Format: 1, Empty: true, Seeds: seeds}
		for _, c := range change {
			c(h)
		}
		return h
	}
	in := func(cluster string) func(*Hello) { return func(h *Hello) { h.ClusterID, h.Empty = cluster, false } }
	list := func(seeds ...string) func(*Hello) { return func(h *Hello) { h.Seeds = seeds } }
	named := func(name string) func(*Hello) { return func(h *Hello) { h.Name = name } }
	at := func(ms int64) func(*Hello) { return func(h *Hello) { h.StartedMs = ms } }
	gone := (*Hello)(nil)
	for _, c := range []struct {
		name string
		of   [3]*Hello
		want string // wait, warn, join, form, refuse: and words of it
	}{
		{"all empty, this one the lowest", [3]*Hello{hello("1"), hello("2"), hello("3")}, "form 1 2 3"},
		{"all empty, another the lowest", [3]*Hello{hello("1"), hello("0"), hello("3")}, "wait n0 at b:1 has the lowest id"},
		{"one does not answer", [3]*Hello{hello("1"), gone, hello("3")}, "wait b:1 (gone)"},
		{"this one's own address does not answer", [3]*Hello{gone, hello("2"), hello("3")}, "wait a:1 (gone)"},
		{"none of them is this one", [3]*Hello{hello("4"), hello("2"), hello("3")}, "wait not in its own --join"},
		{"one is in a cluster", [3]*Hello{hello("1"), gone, hello("3", in("x"))}, "join c:1"},
		{"two clusters", [3]*Hello{hello("1"), hello("2", in("x")), hello("3", in("y"))}, "refuse cluster x, and c:1 in cluster y"},
		{"one is about to form it", [3]*Hello{hello("1"), hello("2", func(h *Hello) { h.Forming = true }), hello("3")}, "wait n2 at b:1 is forming"},
		{"one has heard of a group", [3]*Hello{hello("1"), hello("2", func(h *Hello) { h.Empty = false }), hello("3")}, "wait n2 at b:1 is forming"},
		{"another list", [3]*Hello{hello("1"), gone, hello("3", list("a:1", "c:1"))}, "refuse n3 at c:1 was started with --join a:1,c:1"},
		{"another list, of an earlier one", [3]*Hello{hello("1"), hello("2"), hello("3", list("a:1", "c:1"), at(99))},
			"refuse n3 at c:1 was started with --join a:1,c:1"},
		{"another list, of one of the same time", [3]*Hello{hello("1"), hello("2"), hello("3", list("a:1"), at(100))}, "refuse need the same list"},
		{"another list, of a later one", [3]*Hello{hello("1"), hello("2"), hello("3", list("a:1", "c:1"), at(101))},
			"warn n3 at c:1 was started with --join a:1,c:1, and this one with --join a:1,b:1,c:1"},
		{"other lists, of an earlier and a later one", [3]*Hello{hello("1"), hello("2", list("b:1"), at(99)), hello("3", list("c:1"), at(101))},
			"refuse n2 at b:1 was started with --join b:1"},
		{"no list", [3]*Hello{hello("1"), hello("2", list()), hello("3")}, "refuse --join nothing"},
		{"no list, and a group that has no name yet", [3]*Hello{hello("1"), hello("2", list(), func(h *Hello) { h.Empty = false }), hello("3")},
			"wait n2 at b:1 is forming"},
		{"another list, and this one is no seed", [3]*Hello{hello("4"), hello("2", list()), hello("3")}, "wait not in its own"},
		{"one name twice", [3]*Hello{hello("1"), hello("2", named("n1")), hello("3")}, "refuse two nodes are named n1"},
		{"one name twice, the other earlier", [3]*Hello{hello("1"), hello("2", named("n1"), at(99)), hello("3")}, "refuse two nodes are named n1"},
		{"one name twice, the other later", [3]*Hello{hello("1", at(100)), hello("2", named("n1"), at(101)), hello("3")},
			"warn two nodes are named n1, at a:1 and at at-2: give each a --node of its own"},
		{"one name twice, the other later, and first to answer", [3]*Hello{hello("2", named("n1"), at(101)), hello("1", at(100)), hello("3")},
			"warn two nodes are named n1"},
		{"one name twice, the other later and in a cluster", [3]*Hello{hello("1"), hello("2", named("n1"), at(101), in("x")), hello("3")},
			"refuse two nodes are named n1"},
		{"one name twice, of others", [3]*Hello{hello("1"), hello("2"), hello("3", named("n2"))}, "warn two nodes are named n2, at at-2 and at at-3"},
		{"one name twice, of others, of whom one is in a cluster", [3]*Hello{hello("1"), hello("2", in("x")), hello("3", named("n2"))}, "join b:1"},
		{"one node twice", [3]*Hello{hello("1"), hello("2"), hello("2")}, "refuse names one node twice: b:1 and c:1"},
		{"a copy of this node", [3]*Hello{hello("1", func(h *Hello) { h.Incarnation = "other" }), hello("2"), hello("3")}, "refuse is a copy"},
		{"a newer cluster", [3]*Hello{hello("1"), gone, hello("3", in("x"), func(h *Hello) { h.ClusterAt, h.Release = 7, "12" })},
			"refuse knows format 3, and cluster x is at format 7: start release 12"},
		{"nodes of before and after a recovery", [3]*Hello{hello("1"), hello("2", in("x"), func(h *Hello) { h.Recovered.Times = 1 }), hello("3", in("x"))}, "join b:1"},
		{"an older program", [3]*Hello{hello("1"), gone, hello("3", func(h *Hello) { h.Format = 0 })}, "refuse bring that node to a newer release"},
	} {
		var answers []answer
		for i, h := range c.of {
			answers = append(answers, answer{seed: seeds[i], hello: h, err: errors.New("gone")})
		}
		got := judge(conf, answers).text()
		kind, words, _ := strings.Cut(c.want, " ")
		if !strings.HasPrefix(got, kind+" ") || !strings.Contains(got, words) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

// text is the verdict in words, what it is first.
func (v verdict) text() string {
	switch {
	case v.refuse != nil:
		return "refuse " + v.refuse.Error()
	case v.join != "":
		return "join " + v.join
	case v.warn:
		return "warn " + v.wait.Error()
	case v.wait != nil:
		return "wait " + v.wait.Error()
	}
	text := "form"
	for _, s := range v.form {
		text += " " + s.ID
	}
	return text
}

// TestHelloOfBefore: what a node says of itself is read by those that know no time of a start, and
// theirs is one that is not known.
func TestHelloOfBefore(t *testing.T) {
	t.Parallel()
	n := newNode(t, "a", newGate(t).addr).start()
	text, err := json.Marshal(n.hello())
	if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"started_ms":%d,`, n.Cluster.c.Started.UnixMilli())) {
		t.Errorf("%s, %v", text, err)
	}
	var before Hello
	if err := json.Unmarshal([]byte(`{"node_id":"1","name":"b","incarnation":"i","addr":"x:1","format":1,"empty":true}`), &before); err != nil {
		t.Fatal(err)
	}
	if first(n.Cluster.c, &before) {
		t.Error("a node whose start is not known counts as the later one")
	}
}

func TestSeedList(t *testing.T) {
	t.Parallel()
	a, err := SeedList([]string{"B:2", " a:1", "b:2"})
	if err != nil || !slices.Equal(a, []string{"a:1", "b:2"}) {
		t.Errorf("%v %v", a, err)
	}
	for _, refused := range []struct{ seeds, why string }{
		{"a", "not HOST:PORT"}, {"a:1 a:", "not HOST:PORT"}, {"a:74O1", "not HOST:PORT"}, {"a:65536", "not HOST:PORT"},
		{":1", "could be dialed"}, {"0.0.0.0:1", "could be dialed"}, {"[::]:1", "could be dialed"}, {"a:0", "could be dialed"},
		{"a:1 a:2 a:3 a:4 a:5 a:6 a:7 a:8", "names 8 nodes"},
	} {
		if _, err := SeedList(strings.Fields(refused.seeds)); err == nil || !strings.Contains(err.Error(), refused.why) {
			t.Errorf("%s: %v", refused.seeds, err)
		}
	}
}

// TestDifferentSeeds, over real calls: a node that is started with another list ends, and those
// that wait go on waiting, say what for, and form the cluster once that one has the right list. By
// a clock that is off it is one of the others that ends; no cluster comes of that either.
func TestDifferentSeeds(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	seeds, began := nodes[0].conf.Seeds, time.Now()
	two := slices.Clone(seeds[:2])
	slices.Sort(two)
	for i, n := range nodes {
		n.conf.Started = began.Add(time.Duration(i) * time.Second)
	}
	nodes[0].start()
	nodes[1].conf.Seeds = two
	nodes[1].start()
	nodes[1].halts("node n0 at", "--join "+strings.Join(two, ","), "need the same list")
	nodes[1].stop()
	nodes[2].start()
	nodes[1].conf.Started = began.Add(-time.Second)
	nodes[1].start()
	for _, n := range []*tnode{nodes[0], nodes[2]} {
		n.halts("node n1 at", "--join "+strings.Join(two, ","))
		n.stop()
		n.start()
		n.halts("need the same list")
		n.stop()
	}
	if !nodes[1].raft.Empty() {
		t.Error("it has formed a cluster")
	}
	nodes[1].stop()

	nodes[0].start()
	nodes[2].start()
	nodes[1].conf.Started = began.Add(3 * time.Second)
	nodes[1].start()
	for _, n := range []*tnode{nodes[0], nodes[2]} {
		n.waits("node n1 at", "need the same list", "this node waits until that is mended")
	}
	nodes[1].halts("need the same list")
	nodes[1].stop()
	nodes[1].conf.Seeds = seeds
	inAfter(nodes, nodes[1])
}

// TestNameTwice: the later one ends, and the other two wait until it has a name of its own.
func TestNameTwice(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	began := time.Now()
	for i, n := range nodes {
		n.conf.Started = began.Add(time.Duration(i) * time.Second)
	}
	nodes[2].conf.Name = "n0"
	nodes[0].start()
	nodes[1].start()
	nodes[2].start()
	for _, n := range nodes[:2] {
		n.waits("two nodes are named n0", "--node", "this node waits until that is mended")
	}
	nodes[2].halts("two nodes are named n0", "--node")
	nodes[2].stop()
	for _, n := range nodes[:2] {
		n.waits("these seeds do not answer: " + nodes[2].gate.addr)
	}
	nodes[2].conf.Name = "n2"
	inAfter(nodes, nodes[2])
}

// TestStarted at the same moment, as far as is known: both end.
func TestStarted(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 2)
	for _, n := range nodes {
		n.conf.Name, n.conf.Started = "n", time.UnixMilli(1)
		n.start()
	}
	for _, n := range nodes {
		n.halts("two nodes are named n")
	}
}

// inAfter starts the last node of those that wait for it, and each is in one cluster then.
func inAfter(nodes []*tnode, last *tnode) {
	last.start()
	for _, n := range nodes {
		n.in()
		if n.ClusterID() != nodes[0].ClusterID() {
			n.t.Errorf("%s is in cluster %s, not %s", n.conf.Name, n.ClusterID(), nodes[0].ClusterID())
		}
	}
}

// waits waits until the node says that it waits for something, in these words.
func (n *tnode) waits(words ...string) {
	n.t.Helper()
	eventually(n.t, func() error {
		for _, w := range words {
			if why := n.Waits(); !strings.Contains(why, w) {
				return fmt.Errorf("%s waits for %q, which does not say %q", n.conf.Name, why, w)
			}
		}
		return nil
	})
	select {
	case err := <-n.halted:
		n.t.Errorf("%s has ended: %v", n.conf.Name, err)
	default:
	}
}

// halts waits until the running node ends by itself, with words of the reason.
func (n *tnode) halts(words ...string) {
	n.t.Helper()
	select {
	case err := <-n.halted:
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				n.t.Errorf("%s ends with %q, which does not say %q", n.conf.Name, err, w)
			}
		}
	case <-limit(n.t).Done():
		n.t.Fatalf("%s has not ended; it waits for %q", n.conf.Name, n.Waits())
	}
}
