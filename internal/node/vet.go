package node

import (
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// vet says why an app must not run beside the others of the cluster, "" if it may: all count on one
// Kafka, and two that write to one topic would each take the other's records for its own. What an
// app has had in common with another since before that was refused is left to it, and so is the end
// of a reset. One that reads what another writes is a chain, and may. A spec that this release
// cannot read is refused: what it writes to is not known, and no node of this release could start
// from it.
func (n *Node) vet(st *ownership.State, rec *ownership.App) (why string) {
	before := st.Apps[rec.Name]
	if before != nil && before.Halted == deleting {
		return fmt.Sprintf("app %s: %s", rec.Name, deleting)
	}
	if before == nil {
		if why := n.vetKafka(st, rec); why != "" {
			return why
		}
	}
	s, err := spec.Parse([]byte(rec.Spec), "the spec")
	if err != nil {
		return fmt.Sprintf("app %s: the leader of the cluster cannot read its spec, and not say whether it may run beside the other apps: %v",
			rec.Name, err)
	}
	if before == nil && n.adopts(rec.Name) || before != nil && before.Halted != "" {
		return ""
	}
	for _, other := range st.SortedApps() {
		if other.Name == rec.Name {
			continue
		}
		o, err := spec.Parse([]byte(other.Spec), "the stored spec")
		if err != nil {
			continue // of a release that is not this one
		}
		if topic := shared(s, o); topic != "" && !sharedBefore(before, o, topic) {
			return fmt.Sprintf("app %s and app %s would both write to the topic %s, %s and %s: give app %s another output.topic, "+
				"or delete app %s first (`tally delete %[7]s`); an app may read what another one writes",
				s.App, o.App, topic, usage(s, topic), usage(o, topic), s.App, o.App)
		}
	}
	return ""
}

func (n *Node) adopts(app string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.adopted, app)
}

// shared is a topic that two apps write to, "" for none. Those that tally makes for one app have
// its name in theirs, so one of the two uses it as its output.
func shared(a, b *spec.Spec) string {
	for _, s := range []*spec.Spec{a, b} {
		if s.Output != nil && usage(a, s.Output.Topic) != "" && usage(b, s.Output.Topic) != "" {
			return s.Output.Topic
		}
	}
	return ""
}

func sharedBefore(rec *ownership.App, o *spec.Spec, topic string) bool {
	if rec == nil {
		return false
	}
	was, err := spec.Parse([]byte(rec.Spec), "the stored spec")
	return err == nil && shared(was, o) == topic
}

// usage says in words what an app writes to a topic, "" for nothing. A topic that its present spec
// does not need is its own all the same.
func usage(s *spec.Spec, topic string) string {
	what := map[string]string{
		spec.ChangelogTopic(s.App): "changelog", spec.DeadTopic(s.App): "dead letters", spec.RepartitionTopic(s.App): "repartition topic",
	}[topic]
	switch {
	case what != "":
		return fmt.Sprintf("app %s as its %s", s.App, what)
	case s.Output != nil && s.Output.Topic == topic:
		return fmt.Sprintf("app %s as its output", s.App)
	}
	return ""
}
