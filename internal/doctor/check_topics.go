package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// ownExtraBytes is by how much the limit of a record in a topic that tally owns exceeds the
// input's.
const ownExtraBytes = 64 << 10

// recordLimitDefault is Kafka's own max.message.bytes.
const recordLimitDefault = 1048588

// findings collects what is wrong with one topic; when nothing is, that is its one check.
type findings struct {
	f      *facts
	t      *topic
	checks []Check
}

func (fs *findings) add(r Result, found, why, mend string) {
	fs.checks = append(fs.checks, Check{Name: fs.t.title(), Result: r, Found: found, Why: why, Mend: mend})
}

func (fs *findings) done() []Check {
	if len(fs.checks) == 0 {
		fs.add(OK, fs.t.summary(), "", "")
	}
	return fs.checks
}

func (t *topic) title() string { return t.role + " " + t.Name }

func (t *topic) summary() string {
	text := fmt.Sprintf("%s, replication %d", plural(t.Partitions, "partition"), t.Replication)
	for _, name := range []string{"cleanup.policy", "min.insync.replicas", "max.message.bytes"} {
		if v, ok := t.Configs[name]; ok {
			text += fmt.Sprintf(", %s=%s", name, v)
		}
	}
	return text
}

// number is a numeric setting of the topic; ok is false where it is not known.
func (t *topic) number(setting string) (n int, ok bool) {
	n, err := strconv.Atoi(t.Configs[setting])
	return n, err == nil
}

func (t *topic) recordLimit() int {
	if n, ok := t.number("max.message.bytes"); ok && n > 0 {
		return n
	}
	return recordLimitDefault
}

func (t *topic) compacted() bool { return strings.Contains(t.Configs["cleanup.policy"], "compact") }

// begin judges what all topics have in common; false when there is no topic to look at further.
func begin(f *facts, t *topic) (*findings, bool) {
	fs := &findings{f: f, t: t}
	if t.err != nil {
		fs.checks = append(fs.checks, notKnown(f, t.title(), t.err, "Describe", "--topic "+t.Name))
		return fs, false
	}
	if !t.there {
		return fs, false
	}
	if t.Configs == nil {
		fs.add(Warning, "this user may not read its settings",
			"neither the doctor nor tally can tell whether they lose counts",
			f.commands.allow("DescribeConfigs", "--topic "+t.Name))
	}
	fs.replication()
	return fs, true
}

func (fs *findings) replication() {
	t, brokers := fs.t, len(fs.f.brokers.v)
	isr, known := t.number("min.insync.replicas")
	switch {
	case t.Replication == 1 && brokers >= 3:
		fs.add(Warning, fmt.Sprintf("replication 1, and there are %d brokers", brokers),
			"when its one broker is lost, so are its records, and while that broker is down nothing goes on",
			fs.moreReplicas())
	case known && isr > t.Replication:
		fs.add(Error, fmt.Sprintf("min.insync.replicas=%d, and it has only %s", isr, plural(t.Replication, "replica")),
			"Kafka refuses every write to it", fs.f.commands.setTopic(t.Name, fmt.Sprintf("min.insync.replicas=%d", max(1, t.Replication-1))))
	case known && isr == t.Replication && t.Replication > 1:
		fs.add(Warning, fmt.Sprintf("min.insync.replicas=%d, as many as it has replicas", isr),
			"Kafka refuses every write to it while one of these brokers is down",
			fs.f.commands.setTopic(t.Name, fmt.Sprintf("min.insync.replicas=%d", t.Replication-1)))
	case known && isr < 2 && t.Replication >= 3:
		fs.add(Warning, fmt.Sprintf("min.insync.replicas=%d with %d replicas", isr, t.Replication),
			"a write that Kafka acknowledged may be on one broker only, and is lost with it",
			fs.f.commands.setTopic(t.Name, "min.insync.replicas=2"))
	}
	if t.Configs["unclean.leader.election.enable"] == "true" {
		fs.add(Warning, "unclean.leader.election.enable=true",
			"a broker that missed acknowledged records may become leader, and these are gone",
			fs.f.commands.setTopic(t.Name, "unclean.leader.election.enable=false"))
	}
}

func (fs *findings) moreReplicas() string {
	return fs.f.commands.line("kafka-reassign-partitions", "--reassignment-json-file FILE --execute") +
		"\nwith FILE naming three replicas for each partition of " + fs.t.Name
}

func checkInput(f *facts, a *appFacts) []Check {
	fs, ok := begin(f, &a.input)
	switch {
	case !ok && a.input.err == nil:
		fs.add(Error, "there is no such topic", "there is nothing to count",
			f.commands.line("kafka-topics", "--create --topic "+a.Input+" --partitions 4"))
	case ok && a.input.compacted():
		fs.add(Warning, "cleanup.policy="+a.input.Configs["cleanup.policy"],
			"compaction may remove an event, for a newer one of its key, before it was counted; and a recount of the input comes to less",
			f.commands.setTopic(a.Input, "cleanup.policy=delete"))
	}
	return fs.done()
}

// toBeMade judges a topic that tally makes at its first start.
func (fs *findings) toBeMade() {
	c := Check{Name: fs.t.title(), Result: OK, Found: "not there yet: `tally run` makes it"}
	if fs.t.create != nil {
		c.Result = Error
		c.Found = fmt.Sprintf("not there, and tally cannot make it: %v", fs.t.create)
		c.Why = "the app does not start without it"
		c.Mend = fs.f.commands.allow("Create", "--topic "+fs.t.Name)
	}
	fs.checks = append(fs.checks, c)
}

// partitions judges a topic whose partitions correspond to others': the input's, or those that the
// counts are spread over.
func (fs *findings) partitions(a *appFacts, least int, why string, r Result) {
	if !a.input.there || fs.t.Partitions >= least {
		return
	}
	whose := "the input has"
	if least != a.input.Partitions {
		whose = "the counts are spread over"
	}
	fs.add(r, fmt.Sprintf("%s, and %s %d", plural(fs.t.Partitions, "partition"), whose, least), why,
		fs.f.commands.line("kafka-topics", fmt.Sprintf("--alter --topic %s --partitions %d", fs.t.Name, least)))
}

// limit judges whether what an input record may become fits in.
func (fs *findings) limit(input *topic, why string) {
	least := input.recordLimit() + ownExtraBytes
	if fs.t.Configs == nil || !input.there || fs.t.recordLimit() >= least {
		return
	}
	fs.add(Warning, fmt.Sprintf("max.message.bytes=%d, less than the input's %d and 64 KiB", fs.t.recordLimit(), input.recordLimit()),
		why, fs.f.commands.setTopic(fs.t.Name, fmt.Sprintf("max.message.bytes=%d", least)))
}

func checkOutput(f *facts, a *appFacts) []Check {
	if a.Output == "" {
		return nil
	}
	fs, ok := begin(f, &a.output)
	if !ok {
		if a.output.err == nil {
			fs.toBeMade()
		}
		return fs.done()
	}
	fs.partitions(a, a.counted(), "an output record goes to the partition in which its group is counted: tally refuses to start", Error)
	if a.KeyEvent && a.output.compacted() {
		fs.add(Error, "cleanup.policy="+a.output.Configs["cleanup.policy"]+", and its records have the event's key (output.key: event)",
			"several groups share a key, so compaction drops counts: tally refuses to start",
			f.commands.setTopic(a.Output, "cleanup.policy=delete")+"\nor say output.key: group in the spec")
	}
	return fs.done()
}

func checkChangelog(f *facts, a *appFacts) []Check {
	fs, ok := begin(f, &a.changelog)
	if !ok {
		if a.changelog.err == nil {
			fs.toBeMade()
		}
		return fs.done()
	}
	if policy, known := a.changelog.Configs["cleanup.policy"]; known && policy != "compact" {
		fs.add(Error, "cleanup.policy="+policy, "Kafka deletes counts that have not changed for a while: tally refuses to start",
			f.commands.setTopic(a.changelog.Name, "cleanup.policy=compact"))
	}
	fs.partitions(a, max(a.input.Partitions, a.repartitions), "tally adds the missing ones at its next start; until then new partitions of the input are not counted", Warning)
	fs.limit(&a.input, "the values of a long group may not fit: its event then gets its on_error instead of being counted")
	return fs.done()
}

func checkDead(f *facts, a *appFacts) []Check {
	if !a.DeadLetters {
		return nil
	}
	fs, ok := begin(f, &a.dead)
	if !ok {
		if a.dead.err == nil {
			fs.toBeMade()
		}
		return fs.done()
	}
	if a.dead.compacted() {
		fs.add(Error, "cleanup.policy="+a.dead.Configs["cleanup.policy"],
			"a dead letter has the key of its event: compaction drops all but the newest of a key, and Kafka refuses those without a key",
			f.commands.setTopic(a.dead.Name, "cleanup.policy=delete"))
	}
	fs.partitions(a, a.input.Partitions, "tally adds the missing ones at its next start", Warning)
	fs.limit(&a.input, "a large event that cannot be read may not fit, and then stops its lane")
	return fs.done()
}
