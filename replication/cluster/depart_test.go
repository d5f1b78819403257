package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
)

// TestDepartStep: a group is a word a server: its name, + a vote, ! gone or about to go, ? not
// heard of; the node that asks is a, which has registered unless it is written a~.
func TestDepartStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ group, want string }{
		{"a b+ c+", ""},
		{"a+ b+ c+", ""},
		{"a+ b+ c?+", "wait"},
		{"a+ b+ c!+", "demote c"},
		{"a+ b+ c!", "demote a"},
		{"a+ b+", "demote a"},
		{"a+ b+ c+ d!+", "demote d"},
		{"a+ b+ c+ d?+", "wait"},
		{"a+ b+ c+ d?+ e+", ""},
		{"a+ b+ c?+ d!+ e!+", "demote e"},
		{"a~+ b+ c+", "demote a"},
		{"a~+ b+ c?+", "wait"},
		{"a~+ b+ c!+", "demote c"},
	} {
		var servers []consensus.Server
		is := map[string]standing{}
		for word := range strings.FieldsSeq(c.group) {
			id := word[:1]
			servers = append(servers, consensus.Server{ID: id, Voter: strings.Contains(word, "+")})
			is[id] = stays
			switch {
			case strings.Contains(word, "!"):
				is[id] = ends
			case strings.Contains(word, "?"):
				is[id] = unsure
			}
		}
		s := departStep(servers, "a", !strings.Contains(c.group, "~"), func(id string) standing { return is[id] })
		if got := strings.TrimSpace(s.do + " " + s.id); got != c.want {
			t.Errorf("%s: %q, want %q", c.group, got, c.want)
		}
	}
}

// depart ends nodes in the way of a clean stop, all at once.
func depart(t *testing.T, nodes ...*tnode) {
	t.Helper()
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			if err := n.Depart(limit(t)); err != nil {
				t.Errorf("%s: %v", n.conf.Name, err)
			}
			n.stop()
		})
	}
	all.Wait()
}

// TestDepartOne: one of three that stops keeps its vote, since any two of three can decide.
func TestDepartOne(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	old := leaderOf(t, nodes...)
	depart(t, old)
	rest := others(nodes, old)
	leaderOf(t, rest...).voters(3)
	rest[0].put("by-two")
	rest[0].stop() // for good, without a word
	old.start().in().put("by-the-other-two")
}

// TestDepartTogether: two of three that stop at once leave one who can decide, and get their votes
// back. So does the leader with another.
func TestDepartTogether(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"the leader", "a follower"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			nodes := inCluster(newNodes(t, 3))
			leader := leaderOf(t, nodes...)
			go1 := leader
			rest := others(nodes, leader)
			if with == "a follower" {
				go1, rest = rest[1], []*tnode{leader, rest[0]} // the leader stays
			}
			stays, go2 := rest[0], rest[1]
			depart(t, go1, go2)
			stays.put("alone")
			go1.start().in()
			go2.start().in().has("alone")
			stays.voters(3)
		})
	}
}

// TestDepartAll: nodes that all stop at once do not wait for each other, and all started again are
// a cluster.
func TestDepartAll(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	depart(t, nodes...)
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.in()
	}
	nodes[0].voters(3)
	nodes[0].put("again")
}

// TestDepartUnregistered: nodes that are told to stop before they are members again, and of which
// the group knows that they vote, do not take the majority with them.
func TestDepartUnregistered(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	leader := leaderOf(t, nodes...)
	rest := others(nodes, leader)
	for _, n := range rest {
		n.stop()
		n.refuse(func(call string) error {
			if call == "join" {
				return errors.New("not now")
			}
			return nil
		})
		n.start()
	}
	leaderOf(t, nodes...) // be it one of them
	depart(t, rest...)
	leader.put("alone")
}

// TestDepartWithoutLeader: a leader is waited for.
func TestDepartWithoutLeader(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 5))
	leader := leaderOf(t, nodes...)
	rest := others(nodes, leader)
	leader.voters(5)
	leader.stop()
	depart(t, rest[2:]...)
	leaderOf(t, rest[:2]...).put("by-two-of-five")
}

// TestDepartInVain: where nobody can decide, it is said what remains when the time is over.
func TestDepartInVain(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	for _, n := range nodes[1:] {
		n.stop()
	}
	last := nodes[0]
	eventually(t, func() error {
		if id, _, _ := last.Leader(); id != "" {
			return fmt.Errorf("%s still counts as the leader", id)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := last.Depart(ctx)
	if err == nil || !strings.Contains(err.Error(), "node n0 still votes in its cluster: ") {
		t.Errorf("it ends with %v", err)
	}
	alone := newNode(t, "alone").start().in()
	began := time.Now()
	if err := alone.Depart(limit(t)); err != nil || time.Since(began) > time.Second {
		t.Errorf("a node alone departs after %s: %v", time.Since(began), err)
	}
}
