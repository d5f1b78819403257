package api

import (
	"strings"
	"testing"
)

// A status says which nodes vote and are gone, and when one more would leave too few to decide
// anything, as with two it always does; not when nothing can be decided any more, which it says in
// other words.
func TestVoterProblems(t *testing.T) {
	for nodes, want := range map[string]string{
		"a":           "",
		"a b c":       "",
		"a b":         "two nodes vote, and when one of them ends nothing can be decided, and no lane be taken over: start a third",
		"a b !c":      "2 of 3 nodes that vote are alive",
		"a b c !d !e": "start the others (d, e)",
		"a b c d !e":  "4 of 5 nodes that vote are alive, and the others vote still: start the others (e); what is gone for good: `tally node forget NODE`",
		"a b -!c":     "two nodes vote",
		"a b c -d !e": "3 of 4",
		"a b -c":      "",
		"a b ?c":      "start the others (1 that have never registered: c:7400)",
	} {
		st := Status{Leader: "a"}
		for name := range strings.FieldsSeq(nodes) {
			if name[0] == '?' { // not in the list
				st.Voters, st.Unregistered = 3, []string{name[1:] + ":7400"}
				continue
			}
			bare := strings.TrimLeft(name, "!-")
			st.Nodes = append(st.Nodes, NodeStatus{Name: bare, Alive: !strings.Contains(name, "!"), Voter: name[0] != '-'})
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
