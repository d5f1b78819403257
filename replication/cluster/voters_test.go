package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/consensus"
	"github.com/tally-kafka/tally/replication/ownership"
)

// TestNextStep: a group is a word a server: its name, + a vote, ! dead for a moment, !! for longer
// than a dead voter keeps its vote, ~ sick, ? unknown to the state for long, @z in zone z.
func TestNextStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ group, want string }{
		{"a+", ""},
		{"a+ b", "promote b"},
		{"a+ b~", ""},
		{"a+ b!", ""},
		{"a+ b+ c", "promote c"},
		{"a+ b+ c+ d", ""},
		{"a+ b+ c+ d e", "promote d"},
		{"a+ b+ c+ d+ e", "promote e"},
		{"a+ b+ c+ d+ e+ f", ""},
		{"a+ b+ c! d e", "promote d"},
		{"a+ b+ c+! d! e", ""},
		{"a+ b+ c+ d! e", ""},
		{"a+ b+ c+! d e f", "promote d"},
		{"a+ b+ c+! d", ""},
		{"a+ b+ c+!5 d", "promote d"}, // one more death would leave no majority
		{"a+ b+ c+!5 d+", "demote c"},
		{"a+ b+ c+!5", ""},
		{"a+ b+ c+!5 d+ e+ f", ""}, // one more would not
		{"a+ b+ c+!5 d+ e+", ""},
		{"a+ b+ c+!5 d+ e+!", "demote c"},
		{"a+ b+ c+! d+ e+!5", "demote e"},
		{"a+ b+ c+! d+ e+!", ""},
		{"a+ b+ c+!! d", "promote d"},
		{"a+ b+ c+!! d!", ""},
		{"a+ b+ c+!!", ""},
		{"a+ b+ c+!! d+", "demote c"},
		{"a+ b+!! c+!! d+", "demote b"},
		{"a+ b+ c+ d?", "remove d"},
		{"a+@x b@x c@y", "promote c"},
		{"a+@x b+@y c@y d@z", "promote d"},
	} {
		if got := stepOf(c.group); got != c.want {
			t.Errorf("%s: %q, want %q", c.group, got, c.want)
		}
	}
}

func stepOf(group string) string {
	now := time.Unix(1000000, 0)
	times := Timing{}.orDefaults()
	state := ownership.New()
	w := &watch{dead: map[string]time.Time{}}
	sick := map[string]bool{}
	var servers []consensus.Server
	for _, word := range strings.Fields(group) {
		word, zone, _ := strings.Cut(word, "@")
		id := word[:1]
		servers = append(servers, consensus.Server{ID: id, Addr: id + ":1", Voter: strings.Contains(word, "+")})
		dead := strings.Contains(word, "!")
		switch {
		case strings.Contains(word, "!!"):
			w.dead[id] = now.Add(-times.DeadVoter)
		case strings.Contains(word, "!5"):
			w.dead[id] = now.Add(-times.BareVoter)
		case strings.Contains(word, "?"):
			w.dead[id] = now.Add(-times.Unknown)
		}
		if !strings.Contains(word, "?") {
			state.Members[id] = &ownership.Member{ID: id, Name: id, Alive: !dead, Zone: zone}
		}
		sick[id] = strings.Contains(word, "~")
	}
	w.look(state, servers, now)
	s := nextStep(times, state, servers, w, now, func(id string) bool { return !sick[id] })
	return strings.TrimSpace(s.do + " " + s.id)
}

// TestDeadForHowLong: the time of a death counts from the first look, and ends with it.
func TestDeadForHowLong(t *testing.T) {
	t.Parallel()
	w := &watch{dead: map[string]time.Time{}}
	dead, alive := ownership.New(), ownership.New()
	dead.Members["a"] = &ownership.Member{ID: "a"}
	alive.Members["a"] = &ownership.Member{ID: "a", Alive: true}
	servers := []consensus.Server{{ID: "a", Voter: true}}
	at := func(m int) time.Time { return time.Unix(int64(60*m), 0) }
	w.look(dead, servers, at(0))
	w.look(dead, servers, at(9))
	if w.gone("a", at(9), 10*time.Minute) || !w.gone("a", at(10), 10*time.Minute) {
		t.Error("not counted from the first look")
	}
	w.look(alive, servers, at(11))
	w.look(dead, servers, at(12))
	if w.gone("a", at(21), 10*time.Minute) {
		t.Error("counted on over a life")
	}
}

// TestNoVoteForWhoLeaves: while a node is being let go, the leader gives it no vote again;
// afterwards it fills the group up.
func TestNoVoteForWhoLeaves(t *testing.T) {
	t.Parallel()
	nodes := inCluster(newNodes(t, 3))
	leader := leaderOf(t, nodes...)
	id := others(nodes, leader)[0].conf.ID
	votes := func() bool {
		return slices.ContainsFunc(leader.raft.Servers(), func(s consensus.Server) bool { return s.ID == id && s.Voter })
	}
	held, done, ok := leader.leading(limit(t))
	if !ok {
		t.Fatal("the leader does not lead")
	}
	if err := leader.raft.Demote(held, id); err != nil {
		t.Fatal(err)
	}
	<-time.After(10 * quick.Voters)
	if votes() && held.Err() == nil {
		t.Error("it has got its vote back while it was let go")
	}
	done()
	eventually(t, func() error {
		if !votes() {
			return errors.New("it has no vote")
		}
		return nil
	})
}
