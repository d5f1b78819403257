package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// A Difference is a field that differs between the stored spec and the one now given, and that a
// restart may not change.
type Difference struct{ Field, Stored, Now string }

// What a restart may change: on_error, output.emit and output.topic. The rest gives the counts, or
// what stands in the output, another meaning than the stored ones have.
//
// Adding or removing the whole output is refused, too: an output that was away for a while has no
// record of what changed meanwhile, so its last values would no longer be the counts.
//
// `lanes` is in neither list: the position records hold the number of lanes that was in fact
// chosen, which is the default when the spec says none. The node compares with that; Fit reports
// only two spoken numbers that differ.

// Fingerprint is a hex digest of the fields that a restart may not change.
func (s *Spec) Fingerprint() string {
	fixed := *s
	fixed.OnError, fixed.Lanes = Dead, 0
	if s.Output != nil {
		fixed.Output = &Output{Topic: "any", Emit: EmitLatest, Key: s.Output.Key}
	}
	sum := sha256.Sum256(append([]byte("tally spec 1\n"), fixed.YAML()...))
	return hex.EncodeToString(sum[:16])
}

// Fit lists the fields in which now differs from stored although a restart may not change them.
func Fit(stored, now *Spec) []Difference {
	var list []Difference
	compare := func(field, a, b string) {
		if a != b {
			list = append(list, Difference{field, a, b})
		}
	}
	compare("app", stored.App, now.App)
	compare("input.topic", stored.Input.Topic, now.Input.Topic)
	compare("input.start", string(stored.Input.Start), string(now.Input.Start))
	compare("input.format", string(stored.Input.Format), string(now.Input.Format))
	compare("where", flowList(stored.Where, Condition.yaml), flowList(now.Where, Condition.yaml))
	compare("split", stored.Split.yaml(), now.Split.yaml())
	compare("group", flowList(stored.Group, Part.yaml), flowList(now.Group, Part.yaml))
	compare("aggregates", namedAggregates(stored), namedAggregates(now))
	compare("repartition", stored.Repartition.yaml(), now.Repartition.yaml())
	if (stored.Output == nil) != (now.Output == nil) {
		compare("output", outputText(stored), outputText(now))
	} else if stored.Output != nil {
		compare("output.key", string(stored.Output.Key), string(now.Output.Key))
	}
	if stored.Lanes > 0 && now.Lanes > 0 {
		compare("lanes", strconv.Itoa(stored.Lanes), strconv.Itoa(now.Lanes))
	}
	return list
}

func namedAggregates(s *Spec) string {
	var pairs []string
	for _, a := range s.Aggregates {
		pairs = append(pairs, quote(a.Name), a.yaml())
	}
	return flow(pairs...)
}

func outputText(s *Spec) string {
	if s.Output == nil {
		return "none"
	}
	return s.Output.yaml()
}
