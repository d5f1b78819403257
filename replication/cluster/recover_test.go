package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// remembered waits until a node has written down which cluster it is in.
func (n *tnode) remembered() *tnode {
	n.t.Helper()
	eventually(n.t, func() error { _, err := os.Stat(filepath.Join(n.conf.DataDir, pastFile)); return err })
	return n
}

// recover makes a stopped node the only voter.
func (n *tnode) recover() string {
	n.t.Helper()
	done, err := Recover(n.conf.DataDir, n.conf.ID, "", n.conf.Seam, n.conf.Log)
	if err != nil {
		n.t.Fatal(err)
	}
	return done.String()
}

// end waits until nodes that were let in give up, and wants words of the reason. Each is stopped
// then, as its process would be.
func end(t *testing.T, words []string, nodes ...*tnode) {
	t.Helper()
	eventually(t, func() error {
		nodes = slices.DeleteFunc(nodes, func(n *tnode) bool {
			err := n.Failure()
			if err == nil {
				return false
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s is told %q, which does not say %q", n.conf.Name, err, w)
				}
			}
			n.stop()
			return true
		})
		if len(nodes) > 0 {
			return fmt.Errorf("%d go on", len(nodes))
		}
		return nil
	})
}

// stopped is a cluster of three whose processes have ended, and which all have an app "kept".
func stopped(t *testing.T) (a, b, c *tnode) {
	nodes := inCluster(newNodes(t, 3))
	nodes[0].put("kept")
	for _, n := range nodes {
		n.remembered().has("kept")
	}
	for _, n := range nodes {
		n.stop()
	}
	return nodes[0], nodes[1], nodes[2]
}

// TestRecover: with two of three nodes lost for good, the third is made the only voter, has all
// that was changed, and lets new nodes in.
func TestRecover(t *testing.T) {
	t.Parallel()
	_, last, _ := stopped(t)
	id := last.ClusterID()
	if s := last.recover(); !strings.Contains(s, "cluster "+id) || !strings.Contains(s, "node n2") {
		t.Errorf("it says %q", s)
	}
	last.start().in().has("kept")
	if last.ClusterID() != id {
		t.Errorf("cluster %s, not %s", last.ClusterID(), id)
	}
	if r := last.State().Recovered; r.Times != 1 || r.ID == "" {
		t.Errorf("the state says of its recovery %+v", r)
	}
	fresh := newNode(t, "fresh", last.gate.addr).start().in()
	fresh.has("kept")
	last.voters(2)
	fresh.stop()
	fresh.start().in().put("of both") // has the recovery in its log
	last.has("of both")
}

// TestLeftBehind: nodes that are started with their data of before a recovery, against all that was
// said, end and say what to do; the cluster that goes on does not see what they did.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	words := []string{"has gone on without", "since tally node recover was run (so says ", "remove node.json, cluster.json, raft, apps and state"}
	for _, knows := range []string{"by --join", "by its log alone"} {
		t.Run("one comes back, which finds the others "+knows, func(t *testing.T) {
			t.Parallel()
			a, b, _ := stopped(t)
			a.recover()
			a.start().in()
			if knows != "by --join" {
				b.conf.Seeds = nil
			}
			b.refused(words...)
			a.put("later")
		})
		t.Run("most were back first, and the one that goes on finds them "+knows, func(t *testing.T) {
			t.Parallel()
			a, b, c := stopped(t)
			a.recover()
			b.start()
			c.start()
			b.in().put("of the others")
			c.in().has("of the others")
			if knows != "by --join" {
				a.conf.Seeds = nil
			}
			a.start().in().put("later")
			end(t, words, b, c)
			if a.State().Apps["of the others"] != nil {
				t.Error("two logs were mixed")
			}
			if err := a.Failure(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("one that does not know where the other is now", func(t *testing.T) {
		t.Parallel()
		long(t)
		a, b, _ := stopped(t)
		moved := newNode(t, a.conf.Name)
		moved.conf.ID, moved.conf.DataDir, moved.conf.Timing.Unknown = a.conf.ID, a.conf.DataDir, 100*time.Millisecond
		if _, err := Recover(a.conf.DataDir, a.conf.ID, moved.conf.Addr, a.conf.Seam, a.conf.Log); err != nil {
			t.Fatal(err)
		}
		moved.start().in()
		b.start()
		end(t, words, b)
	})
	t.Run("some that were forgotten", func(t *testing.T) {
		t.Parallel()
		long(t)
		a, b, c := stopped(t)
		a.recover()
		a.start().in()
		for _, n := range []*tnode{b, c} {
			eventually(t, func() error { return a.Forget(limit(t), n.conf.ID, false) })
		}
		a.stop()
		a.conf.Seeds, b.conf.Seeds, c.conf.Seeds = nil, nil, nil
		b.start()
		c.start()
		b.in()
		c.in()
		a.start()
		end(t, words, b, c)
	})
	t.Run("one that was never stopped", func(t *testing.T) {
		t.Parallel()
		a, b, _ := stopped(t)
		b.start() // of three, alone
		a.recover()
		a.start().in()
		end(t, words, b)
	})
}

// long leaves out, of the short run with -race, what waits for two of three members to be given up.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s")
	}
}

// TestRecoveredApart: of two nodes that were both recovered, against all that was said, one ends.
func TestRecoveredApart(t *testing.T) {
	t.Parallel()
	a, b, _ := stopped(t)
	a.recover()
	b.recover()
	a.start()
	b.start()
	eventually(t, func() error {
		switch ended := a.Failure() != nil; {
		case ended == (b.Failure() != nil):
			return errors.New("both go on, or neither")
		case ended:
			return b.goesOn()
		default:
			return a.goesOn()
		}
	})
}

func (n *tnode) goesOn() error {
	if !n.Registered() {
		return fmt.Errorf("%s is not in its cluster", n.conf.Name)
	}
	return n.Failure()
}
