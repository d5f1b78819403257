package cluster

import (
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
