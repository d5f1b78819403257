package ownership

import (
	"cmp"
	"fmt"
)

// Recovery says how a group of nodes came to be: the zero one was formed, any other goes on from
// the log of one of its nodes, which was made its only voter when most voters were lost. Two groups
// of one cluster that differ in it must not share a log: each may have entries that the other has
// not.
type Recovery struct {
	Times int    `json:"times"` // that the cluster was recovered
	ID    string `json:"id"`    // random, of the last time
}

// recoveredFormat is that of a state with a Recovery: an older program would let nodes in that were
// left behind.
const recoveredFormat = 3

// Compare orders the recoveries of one cluster. Of two groups that live the later one is the
// cluster: a person has said that the nodes of the other are lost. Where two nodes were recovered
// apart, which must not be, one of them is as good as the other.
func (r Recovery) Compare(o Recovery) int {
	return cmp.Or(cmp.Compare(r.Times, o.Times), cmp.Compare(r.ID, o.ID))
}

// String is "" for the group that was formed, else a word without spaces.
func (r Recovery) String() string {
	if r == (Recovery{}) {
		return ""
	}
	return fmt.Sprintf("%d-%s", r.Times, r.ID)
}

// ParseRecovery reads what String has written.
func ParseRecovery(s string) (r Recovery, err error) {
	if s == "" {
		return r, nil
	}
	if n, err := fmt.Sscanf(s, "%d-%s", &r.Times, &r.ID); n != 2 || err != nil || r.Times < 1 {
		return Recovery{}, fmt.Errorf("%q says no recovery of a cluster", s)
	}
	return r, nil
}

// Recover is the state with which a group goes on that has one voter left. The id is random.
func (s *State) Recover(id string) *State {
	next := *s
	next.Recovered = Recovery{Times: s.Recovered.Times + 1, ID: id}
	next.Format = max(s.Format, recoveredFormat)
	return &next
}
