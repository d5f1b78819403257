package api

import (
	"strings"
	"testing"
)

// A status says when one voter more that ends would leave too few to decide anything, and not
// before: nor when nothing can be decided any more, which it says in other words.
func TestVoterProblems(t *testing.T) {
	for nodes, want := range map[string]string{
		"a":           "",
		"a b c":       "",
		"a b !c":      "2 of 3 nodes that vote are alive",
		"a b c !d !e": "start the others (d, e)",
		"a b c d !e":  "",
		"a b c -d !e": "3 of 4",
		"a b -c":      "",
		"a b ?c":      "start the others (1 that have never registered)",
	} {
		st := Status{Leader: "a"}
		for name := range strings.FieldsSeq(nodes) {
			if name[0] == '?' { // not in the list
				st.Voters = 3
				continue
			}
			bare := strings.TrimLeft(name, "!-")
			st.Nodes = append(st.Nodes, NodeStatus{Name: bare, Alive: bare == name, Voter: name[0] != '-'})
		}
		if got := strings.Join(voterProblems(st), "\n"); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", nodes, got, want)
		}
		st.Leader = ""
		if got := voterProblems(st); got != nil {
			t.Errorf("%s without a leader: %q", nodes, got)
		}
	}
}
