package doctor

import "fmt"

// checkRepartition judges the topic between two stages: what is in it and not counted yet is
// nowhere else.
func checkRepartition(f *facts, a *appFacts) []Check {
	if a.repartitions == 0 {
		return nil
	}
	t := &a.repartition
	fs, ok := begin(f, t)
	if !ok {
		if t.err == nil {
			fs.toBeMade()
		}
		return fs.done()
	}
	if policy, known := t.Configs["cleanup.policy"]; known && policy != "delete" {
		fs.add(Error, "cleanup.policy="+policy, "compaction drops partial results that are not counted yet: tally refuses to start",
			f.commands.setTopic(t.Name, "cleanup.policy=delete"))
	}
	for _, setting := range []string{"retention.ms", "retention.bytes"} {
		if n, known := t.number(setting); known && n >= 0 {
			fs.add(Error, fmt.Sprintf("%s=%d", setting, n), "Kafka deletes partial results that are not counted yet when the app is down or behind; tally itself trims what is counted",
				f.commands.setTopic(t.Name, setting+"=-1"))
		}
	}
	if t.Partitions < a.repartitions {
		fs.add(Error, fmt.Sprintf("%s, and the groups belong to %d", plural(t.Partitions, "partition"), a.repartitions),
			"the topic was deleted and made again, or another program made it: tally refuses to start", "tally reset "+a.Name)
	}
	fs.limit(&a.input, "the partial result of a long group may not fit: its event then gets its on_error instead of being counted")
	return fs.done()
}

// checkSecondPositions compares the position records of the second stage with the repartition
// topic.
func checkSecondPositions(f *facts, a *appFacts) []Check {
	if a.repartitions == 0 {
		return nil
	}
	r := a.second
	c := Check{Name: "positions of " + a.Repartition(), Result: OK}
	for _, err := range []error{r.offsets.err, r.positions.err, r.offsetsAfter.err, r.starts.err, r.ends.err} {
		if err != nil {
			return []Check{notKnown(f, c.Name, err, "Read", "--topic "+a.changelog.Name)}
		}
	}
	if !a.repartition.there {
		c.Result, c.Found = Skipped, "not checked: the topic is not there"
		return []Check{c}
	}
	var lag int64
	for q := range int32(a.repartitions) {
		if wrong, ok := wrongPosition(f, a, &a.repartition, r, q); ok {
			c.Result, c.Found, c.Why, c.Mend = wrong.Result, wrong.Found, wrong.Why, wrong.Mend
			return []Check{c}
		}
		if pos, known := r.positions.v[q]; known {
			lag += max(r.ends.v[q]-pos.Input, 0)
		}
	}
	c.Found = fmt.Sprintf("%s, none against the consumer group or the topic; at most %s to count",
		plural(len(r.positions.v), "position record"), plural(int(lag), "offset"))
	return []Check{c}
}

// checkTrimRight: without the right the topic grows and grows.
func checkTrimRight(f *facts, a *appFacts) []Check {
	if a.repartitions == 0 || !a.repartition.there {
		return nil
	}
	c := Check{Name: "trimming of " + a.Repartition(), Result: OK, Found: "Delete (tried with what is below offset 0, which is nothing)"}
	c = tried(f, c, a.mayTrim, "Delete", "--topic "+a.Repartition(), "tally cannot trim the topic behind what is counted: it grows until the disk is full")
	if c.Result == Error {
		c.Result = Warning
	}
	return []Check{c}
}
