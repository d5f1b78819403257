package cluster

import (
	"context"
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
	if v := judge(one, at(hello("1", true), hello("2", true))); v.form != nil || v.wait == "" {
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
	conf := Config{ID: "1", Name: "n1", Incarnation: "i1", Addr: "a:1", Release: "9", DataDir: "/d", Seeds: seeds}
	hello := func(id string, change ...func(*Hello)) *Hello {
		h := &Hello{NodeID: id, Name: "n" + id, Incarnation: "i" + id, Addr: "at-" + id, Release: "9", Format: 1, Empty: true, Seeds: seeds}
		for _, c := range change {
			c(h)
		}
		return h
	}
	in := func(cluster string) func(*Hello) { return func(h *Hello) { h.ClusterID, h.Empty = cluster, false } }
	gone := (*Hello)(nil)
	for _, c := range []struct {
		name string
		of   [3]*Hello
		want string // wait, join, form, refuse: and words of it
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
		{"another list", [3]*Hello{hello("1"), gone, hello("3", func(h *Hello) { h.Seeds = []string{"a:1", "c:1"} })},
			"refuse n3 at c:1 was started with --join a:1,c:1"},
		{"no list", [3]*Hello{hello("1"), hello("2", func(h *Hello) { h.Seeds = nil }), hello("3")}, "refuse --join nothing"},
		{"another list, and this one is no seed", [3]*Hello{hello("4"), hello("2", func(h *Hello) { h.Seeds = nil }), hello("3")}, "wait not in its own"},
		{"one name twice", [3]*Hello{hello("1"), hello("2", func(h *Hello) { h.Name = "n1" }), hello("3")}, "refuse two nodes are named n1"},
		{"one node twice", [3]*Hello{hello("1"), hello("2"), hello("2")}, "refuse names one node twice: b:1 and c:1"},
		{"a copy of this node", [3]*Hello{hello("1", func(h *Hello) { h.Incarnation = "other" }), hello("2"), hello("3")}, "refuse is a copy"},
		{"a newer cluster", [3]*Hello{hello("1"), gone, hello("3", in("x"), func(h *Hello) { h.ClusterAt, h.Release = 7, "12" })},
			"refuse knows format 1, and cluster x is at format 7: start release 12"},
		{"an older program", [3]*Hello{hello("1"), gone, hello("3", func(h *Hello) { h.Format = 0 })}, "refuse bring that node to a newer release"},
	} {
		var answers []answer
		for i, h := range c.of {
			answers = append(answers, answer{seed: seeds[i], hello: h, err: errors.New("gone")})
		}
		v := judge(conf, answers)
		got := "wait " + v.wait
		switch {
		case v.refuse != nil:
			got = "refuse " + v.refuse.Error()
		case v.join != "":
			got = "join " + v.join
		case v.form != nil:
			got = "form"
			for _, s := range v.form {
				got += " " + s.ID
			}
		}
		kind, words, _ := strings.Cut(c.want, " ")
		if !strings.HasPrefix(got, kind+" ") || !strings.Contains(got, words) {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestSeedList(t *testing.T) {
	t.Parallel()
	a, err := seedList([]string{"B:2", " a:1", "b:2"})
	if err != nil || !slices.Equal(a, []string{"a:1", "b:2"}) {
		t.Errorf("%v %v", a, err)
	}
	if _, err := seedList([]string{"a"}); err == nil {
		t.Error("an address without a port was taken")
	}
	if _, err := seedList(strings.Fields("a:1 a:2 a:3 a:4 a:5 a:6 a:7 a:8")); err == nil {
		t.Error("eight seeds were taken")
	}
}

// TestDifferentSeeds, over real calls.
func TestDifferentSeeds(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	nodes[1].conf.Seeds = nodes[1].conf.Seeds[:2]
	nodes[1].start()
	nodes[0].refused("node n1 at", "--join", "need the same list")
}

func TestNameTwice(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 2)
	nodes[1].conf.Name = "n0"
	nodes[1].start()
	nodes[0].refused("two nodes are named n0", "--node")
}
