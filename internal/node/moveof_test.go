package node

import (
	"errors"
	"testing"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/replication/ownership"
)

// A move to a node that takes no lane names those that do, or says that there are none.
func TestMoveToNobody(t *testing.T) {
	ref := ownership.LaneRef{App: "words"}
	st := &ownership.State{
		Apps: map[string]*ownership.App{"words": {Name: "words", Lanes: make([]ownership.Lane, 1)}},
		Members: map[string]*ownership.Member{
			"a": {ID: "a", Name: "a", Alive: true, Draining: true}, "b": {ID: "b", Name: "b"}, "c": {ID: "c", Name: "c", Alive: true, Draining: true},
		},
	}
	next := func() string {
		_, err := moveOf(st, ref, st.Members["b"])
		var e *api.Error
		if !errors.As(err, &e) {
			t.Fatalf("the move: %v", err)
		}
		return e.Next
	}
	saysText(t, next(), "no node takes lanes", "a, c", "tally drain NODE --undo", "start another")
	st.Members["c"].Draining = false
	saysText(t, next(), "the nodes that do: c")
	st.Members = map[string]*ownership.Member{"b": {ID: "b", Name: "b"}}
	saysText(t, next(), "no node takes lanes: start one")
}
