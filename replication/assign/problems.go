package assign

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// problems are what people should know, nodes first.
func (b *board) problems() []string {
	lines := b.memberProblems()
	for _, l := range b.lanes {
		if line := b.laneProblem(l); line != "" {
			lines = append(lines, line)
		}
	}
	if more := len(lines) - b.s.ProblemLinesMax; more > 0 {
		lines = append(lines[:b.s.ProblemLinesMax], fmt.Sprintf("and %d more", more))
	}
	return lines
}

func (b *board) memberProblems() (lines []string) {
	if b.in.Paused {
		lines = append(lines, "more than half of the nodes are gone at once: nothing is reassigned until they are back, for a while")
	}
	if b.kafkaIsGone() {
		lines = append(lines, "most nodes do not reach Kafka: no lane is moved for that")
	}
	byName := slices.SortedFunc(slices.Values(b.members), func(x, y *member) int { return strings.Compare(x.Name, y.Name) })
	for _, m := range byName {
		switch {
		case !m.alive:
			lines = append(lines, fmt.Sprintf("node %s is not alive", m.Name))
		case !m.reaches:
			lines = append(lines, fmt.Sprintf("node %s has not reached Kafka for %s: its lanes are moved", m.Name, round(m.health.KafkaAge)))
		case m.ill && m.fit:
			lines = append(lines, m.illness()+", and no other node can take its lanes")
		case m.ill:
			lines = append(lines, m.illness()+": its lanes are moved")
		case m.live && m.health.OldestWaiting > b.s.WaitingMax:
			lines = append(lines, fmt.Sprintf("node %s has had an event waiting for %s", m.Name, round(m.health.OldestWaiting)))
		case m.Draining && m.fit:
			lines = append(lines, fmt.Sprintf("node %s is to be drained, and no other node can take its lanes: start one", m.Name))
		}
	}
	return lines
}

func (m *member) illness() string {
	if m.health.Disk == "" {
		return fmt.Sprintf("the cluster's log has not reached node %s for %s, though its pings come: see its log, and whether the others can connect to %s",
			m.Name, round(m.health.Behind), m.Addr)
	}
	return fmt.Sprintf("the disk of node %s fails (%s)", m.Name, m.health.Disk)
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// kafkaIsGone: so many do not reach it that nobody counts as cut off.
func (b *board) kafkaIsGone() bool {
	// With one node there is nobody that its lanes could go to.
	return len(b.members) > 1 && slices.ContainsFunc(b.members, func(m *member) bool {
		return m.live && m.reaches && m.health.KafkaAge > b.s.KafkaAgeMax
	})
}

func (b *board) laneProblem(l *lane) string {
	switch {
	case l.app.Halted != "":
		return ""
	case l.to.Unfenced:
		return fmt.Sprintf("%s has no owner: its last one is fenced before it is granted again", l.ref)
	case l.to.Owner == "":
		return fmt.Sprintf("%s has no owner: no node can take it now", l.ref)
	case b.owner(l) == nil && b.in.State.OwnerOf(l.to) == nil:
		return fmt.Sprintf("%s has no owner: its standbys have not reported yet", l.ref)
	case len(l.to.Standbys) < l.app.Standbys:
		return fmt.Sprintf("%s has %s: %d %s alive, %d asked", l.ref, standbys(len(l.to.Standbys)),
			b.aliveCount(), nodes(b.aliveCount()), l.app.Standbys)
	}
	return ""
}

func standbys(n int) string {
	switch n {
	case 0:
		return "no standby"
	case 1:
		return "only one standby"
	}
	return fmt.Sprintf("only %d standbys", n)
}

func nodes(n int) string {
	if n == 1 {
		return "node"
	}
	return "nodes"
}

func (b *board) aliveCount() (n int) {
	for _, m := range b.members {
		if m.alive {
			n++
		}
	}
	return n
}
