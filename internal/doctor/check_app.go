package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/api"
)

func nodeWithPID(pid int) func(api.NodeStatus) bool {
	return func(n api.NodeStatus) bool { return n.Pid == pid }
}

func checkGroup(f *facts, a *appFacts) Check {
	c := Check{Name: "consumer group " + a.Name, Result: OK, Found: "no members, as it should be"}
	if a.members.err != nil {
		return notKnown(f, c.Name, a.members.err, "Describe", "--group "+a.Name)
	}
	if n := a.members.v; n > 0 {
		c.Result = Error
		c.Found = plural(n, "member")
		c.Why = "the group is tally's alone, and tally never joins it: somebody else consumes under this name and overwrites the offsets"
		c.Mend = f.commands.line("kafka-consumer-groups", "--describe --members --group "+a.Name) +
			"\nthen end that program, or name the app otherwise"
	}
	return c
}

// checkPositions compares the position records with the offsets of the consumer group, the input
// and the ids of the topics.
func checkPositions(f *facts, a *appFacts) Check {
	c := Check{Name: "positions of " + a.Name, Result: OK}
	for _, err := range []error{a.offsets.err, a.positions.err, a.offsetsAfter.err, a.starts.err, a.ends.err} {
		if err != nil {
			return notKnown(f, c.Name, err, "Read", "--topic "+a.changelog.Name)
		}
	}
	if !a.input.there || a.changelog.err != nil {
		c.Result, c.Found = Skipped, "not checked: the topics are not all there to be read"
		return c
	}
	if wrong, ok := wrongIDs(a); ok {
		c.Result, c.Found, c.Why, c.Mend = wrong.Result, wrong.Found, wrong.Why, wrong.Mend
		return c
	}
	for p := range int32(a.input.Partitions) {
		if wrong, ok := wrongPosition(f, a, &a.input, a.first(), p); ok {
			c.Result, c.Found, c.Why, c.Mend = wrong.Result, wrong.Found, wrong.Why, wrong.Mend
			return c
		}
	}
	if len(a.positions.v) == 0 {
		c.Found = "none yet: the app has not counted"
		return c
	}
	var lag int64
	for p, pos := range a.positions.v {
		lag += max(a.ends.v[p]-pos.Input, 0)
	}
	c.Found = fmt.Sprintf("%s, none against the consumer group or the input; %s to count",
		plural(len(a.positions.v), "position record"), plural(int(lag), "offset"))
	return c
}

// wrongIDs finds a topic that was deleted and made again, and records of a newer tally.
func wrongIDs(a *appFacts) (Check, bool) {
	for _, p := range slices.Sorted(maps.Keys(a.positions.v)) {
		pos := a.positions.v[p]
		if pos.newer {
			return Check{Result: Error, Found: fmt.Sprintf("%s/%d holds records of a newer tally", a.changelog.Name, p),
				Why: "this version must not count what it does not understand", Mend: "run the newer version, or one after it"}, true
		}
		for _, t := range []struct {
			topic *topic
			id    string
		}{{&a.input, pos.InputTopicID}, {&a.changelog, pos.ChangelogTopicID}, {&a.repartition, pos.RepartitionTopicID}} {
			if t.id != "" && t.topic.ID != "" && t.id != t.topic.ID {
				return Check{Result: Error,
					Found: fmt.Sprintf("the position record of %s/%d was written for %s with the id %s, and that topic has the id %s now", a.changelog.Name, p, t.topic.Name, t.id, t.topic.ID),
					Why:   "the topic was deleted and made again, or this is another Kafka: its offsets mean other events, and the lane stops",
					Mend:  "tally reset " + a.Name + "    # counts the new topic from its start"}, true
			}
		}
	}
	return Check{}, false
}

// wrongPosition judges one partition: what would stop its lane, or has lost events.
func wrongPosition(f *facts, a *appFacts, t *topic, r read, p int32) (Check, bool) {
	pos, known := r.positions.v[p]
	committed, has := r.offsets.v[p]
	again := r.offsetsAfter.v[p]
	anew := "tally reset " + a.Name + "    # counts anew, from what the input has"
	wrong := func(why, mend, format string, args ...any) (Check, bool) {
		return Check{Result: Error, Found: fmt.Sprintf("%s/%d: %s", t.Name, p, fmt.Sprintf(format, args...)), Why: why, Mend: mend}, true
	}
	dropOffset := f.commands.line("kafka-consumer-groups", fmt.Sprintf("--delete-offsets --group %s --topic %s", a.Name, t.Name))
	switch {
	case !known && has && !a.changelog.there:
		return wrong("somebody else used this consumer group, or the changelog was deleted with all counts: the lane does not start",
			dropOffset+"\nto count from where the spec starts, or name the app otherwise",
			"the consumer group %s has the offset %d, and there is no changelog", a.Name, committed)
	case !known && has:
		return wrong("somebody else used this consumer group, or the changelog lost its records: the lane does not start",
			dropOffset+"\nto count from where the spec starts, or name the app otherwise",
			"the consumer group %s has the offset %d, and the changelog has no position record", a.Name, committed)
	case !known:
		return Check{}, false
	case has && committed > pos.Input:
		return wrong("an offset was set by somebody else, or the changelog lost records: the lane stops with both numbers",
			dropOffset+"\nand the next start commits the position again",
			"the consumer group's offset %d is beyond the position %d", committed, pos.Input)
	case has && again < pos.Input:
		return wrong("an offset was set back by somebody else; the lane asks for a minute and then stops with both numbers",
			dropOffset+"\nand the next start commits the position again",
			"the consumer group's offset %d is below the position %d", again, pos.Input)
	case pos.Input > r.ends.v[p]:
		return wrong("it lost what was counted already: Kafka was restored from an older copy, or lost a broker; the lane stops",
			"restore the topic; or\n"+anew,
			"the position is %d, and the %s ends at %d", pos.Input, t.role, r.ends.v[p])
	case pos.Input < r.starts.v[p]:
		return wrong("records were deleted before they were counted; the lane stops",
			f.commands.setTopic(t.Name, "retention.ms=-1")+"    # saves the rest\n"+anew,
			"the position is %d, and the %s begins at %d", pos.Input, t.role, r.starts.v[p])
	}
	return Check{}, false
}

// checkRetention tells when events wait for so long that Kafka deletes them before they are
// counted.
func checkRetention(f *facts, a *appFacts) Check {
	c := Check{Name: "retention of " + a.Input, Result: OK}
	if a.half.err != nil || a.expired.err != nil || a.positions.err != nil {
		return notKnown(f, c.Name, firstError(a.half.err, a.expired.err, a.positions.err), "Describe", "--topic "+a.Input)
	}
	keeps, known := a.input.number("retention.ms")
	switch {
	case !a.input.there || !known:
		c.Result, c.Found = Skipped, "not checked: retention.ms is not known"
		return c
	case !strings.Contains(a.input.Configs["cleanup.policy"], "delete"):
		c.Found = "nothing is deleted for its age (cleanup.policy=" + a.input.Configs["cleanup.policy"] + ")"
		return c
	case keeps < 0:
		c.Found = "retention.ms=-1: nothing is deleted for its age"
		return c
	}
	kept := time.Duration(keeps) * time.Millisecond
	c.Found = fmt.Sprintf("events are kept for %s, and none of more than half that age waits to be counted", days(kept))
	if size, ok := a.input.number("retention.bytes"); ok && size > 0 {
		c.Found += fmt.Sprintf("; retention.bytes=%d deletes at any age, and was not compared", size)
	}
	for _, p := range slices.Sorted(maps.Keys(a.positions.v)) {
		pos := a.positions.v[p].Input
		switch {
		case waits(a, a.expired.v, p, pos):
			c.Result = Error
			c.Found = fmt.Sprintf("%s/%d: the event at offset %d is not counted and is older than the retention of %s", a.Input, p, pos, days(kept))
		case waits(a, a.half.v, p, pos) && c.Result != Error:
			c.Result = Warning
			c.Found = fmt.Sprintf("%s/%d: the event at offset %d is not counted and is older than half of the retention of %s", a.Input, p, pos, days(kept))
		}
	}
	if c.Result != OK {
		c.Why = "Kafka deletes it before it is counted if the lag does not fall in time"
		c.Mend = f.commands.setTopic(a.Input, "retention.ms=-1") + "\nuntil the lag is gone (tally status --watch)"
	}
	return c
}

// days writes a length of time as people set it.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return plural(int(d/day), "day")
	}
	return d.String()
}

// waits tells whether the event at a position is older than those that begin at the given offsets.
func waits(a *appFacts, younger map[int32]int64, p int32, position int64) bool {
	first, ok := younger[p]
	if !ok || position < a.starts.v[p] {
		return false // what is deleted already is for checkPositions
	}
	if first < 0 {
		first = a.ends.v[p]
	}
	return position < first
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLanes passes on what the node says of its lanes.
func checkLanes(f *facts, a *appFacts) Check {
	c := Check{Name: "lanes of " + a.Name, Result: OK}
	i := slices.IndexFunc(f.node.Apps, func(s api.AppStatus) bool { return s.App == a.Name })
	if i < 0 {
		c.Result, c.Found = Skipped, fmt.Sprintf("not checked: the node %s does not run this app", f.node.Node)
		return c
	}
	var lost, waiting []string
	for _, lane := range f.node.Apps[i].Lanes {
		switch text := fmt.Sprintf("lane %d is %s", lane.Lane, lane.State); lane.State {
		case api.LaneRunning:
		case api.LaneStopped, api.LaneLost:
			lost = append(lost, text+": "+lane.Reason)
		default:
			waiting = append(waiting, text)
		}
	}
	switch {
	case len(lost) > 0:
		c.Result, c.Found = Error, strings.Join(lost, "; ")
		c.Why = "what its partitions receive is not counted"
		c.Mend = "do what the reason says; then restart the node"
	case len(waiting) > 0:
		c.Result, c.Found = Warning, strings.Join(waiting, ", ")
		c.Why = "it does not count yet"
		c.Mend = "tally status --watch"
	default:
		c.Found = plural(len(f.node.Apps[i].Lanes), "lane") + ", all running"
	}
	return c
}
