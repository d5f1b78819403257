package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/internal/api"
)

// noteParts warns on stderr when an answer may be old: it is not an owner's, or events wait to be
// counted.
func (t *tool) noteParts(parts []api.Part) {
	switch lag := lagOf(parts); {
	case lag == 1:
		fmt.Fprintln(t.err, "1 event is still to be counted")
	case lag > 1:
		fmt.Fprintf(t.err, "%d events are still to be counted\n", lag)
	}
	seen := map[int]bool{}
	for _, p := range parts {
		if p.Role != api.RoleOwner && !seen[p.Lane] {
			seen[p.Lane] = true
			fmt.Fprintf(t.err, "lane %d: node %s is %s, its values are %s%s\n", p.Lane, shown(p.Node), shown(string(p.Role)), t.ageOf(p), standsAt(parts, p))
		}
	}
}

// noteSilent warns of lanes that are left out of an answer.
func (t *tool) noteSilent(lanes []int) {
	if len(lanes) == 0 {
		return
	}
	texts := make([]string, len(lanes))
	for i, k := range lanes {
		texts[i] = strconv.Itoa(k)
	}
	fmt.Fprintf(t.err, "nobody answers for lanes %s: what they may have of the group is left out\n", strings.Join(texts, ", "))
}

// ageOf says when a part was proved to be as new as it says.
func (t *tool) ageOf(p api.Part) string {
	if p.AsOfMs == 0 { // a node of an older release was asked, too, or one did not answer
		return "of an unknown age"
	}
	return fmt.Sprintf("as of %d ms ago", t.seam.Now().UnixMilli()-p.AsOfMs)
}

// standsAt says of a standby's copy of a lane up to where its values go.
func standsAt(parts []api.Part, of api.Part) string {
	if of.Role != api.RoleStandby {
		return ""
	}
	position := map[string]int64{}
	for _, p := range parts {
		if p.Lane == of.Lane {
			maps.Copy(position, p.Position)
		}
	}
	return ", up to " + positionText(position)
}

// lagOf is what all parts of an answer are behind the input, in offsets.
func lagOf(parts []api.Part) (lag int64) {
	input := int64(0) // of the same events, whichever part it is said of
	for _, p := range parts {
		lag += p.Lag - p.InputLag
		input = max(input, p.InputLag)
	}
	return lag + input
}
