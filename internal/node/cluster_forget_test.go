package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A node that is gone for good is forgotten: its lanes are run by others, who vote alone. One that
// is alive is not, and neither is one that there never was.
func TestBandForgets(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	b := p.band(3, standbys(1), func(c *Config) {
		if c.Name == nodeName(2) {
			c.HandOverMax, c.DepartMax = 1, 1 // its end is as good as a kill
		}
	})
	client := b.nodes[0].client
	_, err := client.Forget(p.ctx(), "node-c", false)
	says(t, err, "node-c", "is alive", "SIGTERM", "tally drain node-c")
	_, err = client.Forget(p.ctx(), "node-z", true)
	says(t, err, "no node", "node-z", "node-a, node-b, node-c")
	b.nodes[2].stop()
	var got api.ForgetAnswer
	until(t, func() error { // it counts as alive for a moment
		got, err = client.Forget(p.ctx(), "node-c", true)
		return err
	})
	if !got.DryRun || !got.Voted || got.Voters != 2 {
		t.Errorf("a dry run: %+v", got)
	}
	for _, dry := range []bool{true, false} { // its next start would end a drain unheard
		until(t, func() error { // to a new leader too
			if _, err = client.Drain(p.ctx(), "node-c", api.DrainRequest{DryRun: dry}); err == nil {
				return errors.New("it would be drained")
			}
			return nil
		})
		says(t, err, "node-c is not alive", "gone for good", "tally node forget node-c")
	}
	got, err = b.nodes[1].client.Forget(p.ctx(), "node-c", false)
	p.must(err)
	if got.Node != "node-c" || got.DryRun || !got.Voted || got.Voters != 2 {
		t.Errorf("it is forgotten: %+v", got)
	}
	b.whole()
	b.until("it is in no list", func(st api.Status) error {
		if text := strings.Join(st.Problems, "; "); len(st.Nodes) != 2 || strings.Contains(text, "node-c") {
			return fmt.Errorf("nodes %+v, problems %s", st.Nodes, text)
		}
		return nil
	})
	_, err = client.Forget(p.ctx(), "node-c", false)
	says(t, err, "no node", "node-c", "node-a, node-b")
	sent := b.events(100, 0)
	b.send(sent...)
	b.counted(sent)
}

// A node that has just started does not take the cluster that it does not know yet for one without
// nodes and apps: it waits, and says after a while what it waits for.
func TestAskedWhileJoining(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	lost := p.launch(joined([]string{testkafka.FreeAddr(t), testkafka.FreeAddr(t)}), named("node-a"), func(c *Config) { c.SettleWait = 100 * time.Millisecond })
	asks := map[string]func(*tally) error{
		"drain": func(n *tally) error {
			_, err := n.client.Drain(p.ctx(), "node-b", api.DrainRequest{DryRun: true})
			return err
		},
		"move": func(n *tally) error {
			_, err := n.client.Move(p.ctx(), p.app, 0, api.MoveRequest{To: "node-b", DryRun: true})
			if refused := (*api.Error)(nil); errors.As(err, &refused) && refused.Code == api.CodeConflict {
				return nil // it knows that the lane is under way, as the shares are made even again
			}
			return err
		},
		"apps": func(n *tally) error { _, err := n.client.App(p.ctx(), p.app); return err },
		"get": func(n *tally) error {
			_, err := n.client.Get(p.ctx(), p.app, []byte(`["user-0","and"]`), api.ReadOptions{Wait: 20 * time.Second})
			return err
		},
	}
	for what, ask := range asks {
		var err error
		until(t, func() error {
			if err = ask(lost); errors.As(err, new(*api.NoNodeError)) {
				return err
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "still joining") || !strings.Contains(err.Error(), "another node with --server") {
			t.Errorf("%s: %v", what, err)
		}
	}
	lost.stop()
	b := p.band(3, standbys(1))
	for what, ask := range asks {
		b.nodes[2].stop()
		b.nodes[2] = b.launch(2, inDir(b.nodes[2].dir), standbys(1))
		until(t, func() error {
			err := ask(b.nodes[2])
			if err != nil && !errors.As(err, new(*api.NoNodeError)) {
				t.Fatalf("%s at a node that has just started: %v", what, err)
			}
			return err
		})
		b.whole()
	}
}

// Nor does one that has just formed the cluster with others, who are still starting.
func TestAskedWhileForming(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	seeds := []string{testkafka.FreeAddr(t), testkafka.FreeAddr(t), testkafka.FreeAddr(t)}
	var nodes []*tally
	for i, addr := range seeds {
		nodes = append(nodes, p.launch(listening(addr), joined(seeds), named(nodeName(i))))
	}
	for i, n := range nodes {
		until(t, func() error {
			_, err := n.client.Drain(p.ctx(), nodeName((i+1)%3), api.DrainRequest{DryRun: true})
			if err != nil && strings.Contains(err.Error(), "no node \"") {
				t.Errorf("%s: %v", nodeName(i), err)
				return nil
			}
			return err
		})
	}
	_, err := nodes[0].client.Drain(p.ctx(), "node-z", api.DrainRequest{DryRun: true})
	says(t, err, "no node", "node-z", "node-a, node-b, node-c")
}

// Two apps that write to one topic are not both taken, whichever comes first and wherever; one that
// reads what another writes is.
func TestSharedTopics(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 4)
	n := p.start()
	submit := func(app, in, out string) error {
		text := fmt.Sprintf("app: %s\ninput: {topic: %s}\ngroup: [key]\noutput: {topic: %s}\n", app, in, out)
		_, err := n.client.Submit(p.ctx(), app, []byte(text), api.SubmitRequest{})
		return err
	}
	mine := func(name string) string { return p.app + name }
	for _, c := range []struct {
		app, in, out string
		words        []string
	}{
		{mine("-same"), p.in, p.out, []string{p.app + " as its output", mine("-same") + " as its output", "another output.topic", "tally delete " + p.app}},
		{mine("-log"), p.in, p.app + ".changelog", []string{p.app + " as its changelog", mine("-log") + " as its output"}},
		{mine("-dead"), p.in, p.app + ".dead", []string{"dead letters"}},
		{mine("-parts"), p.in, p.app + ".repartition", []string{"repartition topic"}},
	} {
		says(t, submit(c.app, c.in, c.out), append(c.words, "app "+c.app, "app "+p.app, "topic "+c.out)...)
	}
	p.must(submit(mine("-chain"), p.out, p.app+".more"))
	p.must(submit(mine("-beside"), p.in, p.app+".beside"))
	says(t, submit(mine("-thief"), p.in, mine("-chain")+".changelog"), mine("-chain"))
	if st, err := n.client.Status(p.ctx()); err != nil || len(st.Apps) != 3 {
		t.Errorf("%d apps, %v", len(st.Apps), err)
	}
	one, two := *p, *p
	one.app, two.app = mine("-one"), mine("-two")
	err := p.refused(func(c *Config) { c.Specs = []*spec.Spec{one.spec(wordcount), two.spec(wordcount)} })
	says(t, err, mine("-one"), mine("-two"), "would both write to the topic "+p.out)
}

// Apps that share a topic since before that was refused go on: under another spec, after a reset,
// and from a data dir of before there were clusters.
func TestSharedBefore(t *testing.T) {
	t.Parallel()
	one := "app: %s\ninput: {topic: in}\nsplit: words\ngroup: [key, item]\noutput: {topic: %s}\n"
	rec := func(app, out string) *ownership.App {
		s, err := spec.Parse(fmt.Appendf(nil, one, app, out), "x")
		if err != nil {
			t.Fatal(err)
		}
		return &ownership.App{Name: app, Spec: string(s.YAML())}
	}
	n := &Node{adopted: []string{"old"}}
	st := ownership.New()
	st.Apps["a"], st.Apps["b"] = rec("a", "out"), rec("b", "out")
	for _, c := range []struct {
		rec   *ownership.App
		taken bool
	}{
		{rec("a", "out"), true},
		{rec("a", "b.dead"), false},
		{rec("c", "out"), false},
		{rec("old", "out"), true},
	} {
		if why := n.vet(st, c.rec); (why == "") != c.taken {
			t.Errorf("%s: %q", c.rec.Spec, why)
		}
	}
	halted := *st.Apps["a"]
	halted.Halted = "a reset"
	st.Apps["a"] = &halted
	if why := n.vet(st, rec("a", "b.dead")); why != "" {
		t.Errorf("the end of a reset: %s", why)
	}
	unread := rec("c", "other")
	unread.Spec += "window: 1m\n"
	saysText(t, n.vet(st, unread), "app c", "cannot read its spec", "window is not supported yet")
}
