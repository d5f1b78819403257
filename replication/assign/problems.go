package assign

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// problems are what people should know and the leader alone can tell.
func (b *board) problems() (lines []string) {
	if b.kafkaIsGone() {
		lines = append(lines, "most nodes do not reach Kafka: no lane is moved for that")
	}
	byName := slices.SortedFunc(slices.Values(b.members), func(x, y *member) int { return strings.Compare(x.Name, y.Name) })
	for _, m := range byName {
		switch {
		case m.deaf() && m.fit:
			lines = append(lines, b.deafness(m)+", and no other node can take its lanes")
		case m.deaf():
			lines = append(lines, b.deafness(m)+": its lanes are moved")
		case m.Draining && m.fit && m.owned > 0:
			lines = append(lines, fmt.Sprintf("node %s is to be drained, and no other node can take its lanes: start one", m.Name))
		}
	}
	if more := len(lines) - b.s.ProblemLinesMax; more > 0 {
		lines = append(lines[:b.s.ProblemLinesMax], fmt.Sprintf("and %d more", more))
	}
	return lines
}

// deaf: the log does not reach it, and nothing is known to be wrong with its disk, which it would
// say itself.
func (m *member) deaf() bool { return m.ill && m.health.Disk == "" }

func (b *board) deafness(m *member) string {
	return fmt.Sprintf("the cluster's log has not reached node %s for %s, though its pings come: see its log, and whether the others can connect to %s",
		m.Name, round(m.health.Behind), m.Addr)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// kafkaIsGone: so many do not reach it that nobody counts as cut off.
func (b *board) kafkaIsGone() bool {
	// With one node there is nobody that its lanes could go to.
	return len(b.members) > 1 && slices.ContainsFunc(b.members, func(m *member) bool {
		return m.live && m.reaches && m.health.KafkaAge > b.s.KafkaAgeMax
	})
}

// ownerless says why lanes have nobody who runs them, of as many as are lines of problems at most.
func (b *board) ownerless() map[ownership.LaneRef]string {
	whys := map[ownership.LaneRef]string{}
	for _, l := range b.lanes {
		if why := b.whyOwnerless(l); why != "" && len(whys) < b.s.ProblemLinesMax {
			whys[l.ref] = why
		}
	}
	return whys
}

func (b *board) whyOwnerless(l *lane) string {
	switch {
	case l.app.Halted != "":
		return ""
	case l.to.Unfenced:
		return "its last owner is fenced before it is granted again"
	case l.to.Owner == "":
		return "no node can take it now"
	case b.owner(l) == nil && b.in.State.OwnerOf(l.to) == nil:
		return "its standbys have not reported yet"
	}
	return ""
}
