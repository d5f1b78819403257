package doctor

import (
	"fmt"
	"strings"

	"github.com/tally-kafka/tally/internal/kafka"
)

// checkTopicRights has a line for each right, since each is given by a command of its own.
func checkTopicRights(f *facts, t *topic) []Check {
	name := "rights on " + t.Name
	switch {
	case !t.there && t.err == nil:
		return nil // the topic's own check says whether it can be made
	case t.rights.err != nil:
		return []Check{notKnown(f, name, t.rights.err, "Describe", "--topic "+t.Name)}
	case !t.known:
		return []Check{{Name: name, Result: Skipped, Found: "not checked: this Kafka does not tell rights (it does from 2.3 on)"}}
	}
	var have []string
	var missing []Check
	for _, r := range t.needs {
		if t.rights.v.Has(r) {
			have = append(have, r.String())
			continue
		}
		missing = append(missing, missingRight(f, name, t, r))
	}
	if len(missing) > 0 {
		return missing
	}
	return []Check{{Name: name, Result: OK, Found: strings.Join(have, ", ")}}
}

func missingRight(f *facts, name string, t *topic, r kafka.Right) Check {
	c := Check{Name: name, Result: Error, Found: r.String() + " is missing",
		Why: "a lane stops with an error of authorization", Mend: f.commands.allow(r.String(), "--topic "+t.Name)}
	if r == kafka.RightDescribeConfigs {
		c.Result = Warning
		c.Why = "tally then takes Kafka's defaults for the topic's settings, such as the largest record"
	}
	return c
}

func checkGroupRight(f *facts, a *appFacts) Check {
	c := Check{Name: "rights on group " + a.Name, Result: OK, Found: "Read (tried with the heartbeat of a member that does not exist)"}
	return tried(f, c, a.mayOffsets, "Read", "--group "+a.Name, "offsets are committed to this consumer group with each transaction")
}

func checkTransactionRight(f *facts, a *appFacts) Check {
	c := Check{Name: "rights on transactions", Result: OK,
		Found: fmt.Sprintf("Write on the transactional ids %s (tried with a producer that does not exist)", a.transactedAs)}
	c = tried(f, c, a.mayTransact, "Write", "--transactional-id "+a.Name+".lane- --resource-pattern-type prefixed",
		"each lane commits under an id of its own")
	if c.Result == Error {
		c.Found += " on the transactional id " + a.transactedAs
	}
	return c
}

// tried judges a right that was tried.
func tried(f *facts, c Check, err error, operation, resource, why string) Check {
	switch {
	case err == nil:
		return c
	case !kafka.Denied(err):
		return notKnown(f, c.Name, err, "", "")
	}
	c.Result, c.Found, c.Why, c.Mend = Error, operation+" is missing", why, f.commands.allow(operation, resource)
	return c
}
