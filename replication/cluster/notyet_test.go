package cluster

import (
	"strings"
	"testing"

	"github.com/tally-kafka/tally/replication/ownership"
)

// TestNotYet: a member that is dead cannot be drained; who waits for its place is told that the
// leader gives its lanes to others, and that nothing is to be done.
func TestNotYet(t *testing.T) {
	t.Parallel()
	state := &ownership.State{
		Members: map[string]*ownership.Member{"old": {ID: "old", Name: "a"}},
		Apps:    map[string]*ownership.App{"words": {Name: "words", Lanes: []ownership.Lane{{Standbys: []string{"old"}}}}},
	}
	_, result := state.Take(ownership.Command{Forget: &ownership.Forget{ID: "old"}})
	got := notYet("a", result)
	if strings.Contains(got, "drain") || !strings.Contains(got, "lane 0 of app words") || !strings.Contains(got, "by itself") {
		t.Errorf("it says %q", got)
	}
	if got := notYet("a", ownership.Result{Code: ownership.Bad, Refused: "no"}); got != "no" {
		t.Errorf("another refusal is said as %q", got)
	}
}
