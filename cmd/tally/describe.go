package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/processor/spec"
)

// describeSpec says in words what an app will do.
func describeSpec(w io.Writer, s *spec.Spec) {
	tw := table(w)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("app", "%s", s.App)
	row("input", "%s (%s), at the very first start from the %s event on", s.Input.Topic, s.Input.Format, s.Input.Start)
	for _, c := range s.Where {
		row("where", "%s", conditionText(c))
	}
	row("split", "%s", splitText(s.Split))
	var parts, counts []string
	for _, p := range s.Group {
		parts = append(parts, p.Name())
	}
	for _, a := range s.Aggregates {
		text := a.Name + " = " + string(a.Kind)
		if !a.Path.IsZero() {
			text += " of " + a.Path.String()
		}
		counts = append(counts, text)
	}
	row("group", "%s", strings.Join(parts, ", "))
	row("values", "%s", strings.Join(counts, ", "))
	row("output", "%s", outputText(s))
	row("unreadable", "%s", map[spec.OnError]string{
		spec.Dead: "events go to " + s.App + ".dead", spec.Skip: "events are skipped and counted as such",
		spec.Stop: "events stop their lane",
	}[s.OnError])
	row("stages", "%s", stagesText(s))
	row("owns", "%s", ownsText(s))
	tw.Flush()
	fmt.Fprintln(w)
}

func conditionText(c spec.Condition) string {
	verb := [2]string{"is there", "is not there"}
	if len(c.In) > 0 {
		verb = [2]string{"is one of ", "is none of "}
	}
	text := c.Path.String() + " " + verb[0]
	if c.Not {
		text = c.Path.String() + " " + verb[1]
	}
	var values []string
	for _, v := range c.In {
		values = append(values, scalarOf(v))
	}
	return text + strings.Join(values, ", ")
}

func scalarOf(v spec.Scalar) string {
	switch v.Kind {
	case spec.ScalarBool:
		return strconv.FormatBool(v.Bool)
	case spec.ScalarNumber:
		return v.Number.String()
	case spec.ScalarString:
		return strconv.Quote(v.Text)
	}
	return "null"
}

func splitText(s spec.Split) string {
	what := "the event's value"
	if !s.Path.IsZero() {
		what = "the value at " + s.Path.String()
	}
	switch s.Kind {
	case spec.SplitWords:
		return "into the words of " + what + ", in lower case"
	case spec.SplitLines:
		return "into the lines of " + what
	case spec.SplitEach:
		return "into the elements of the array at " + s.Path.String()
	}
	return "not: each event is one item"
}

func outputText(s *spec.Spec) string {
	if s.Output == nil {
		return "none: the counts are for queries only"
	}
	emit := "one record a changed group and transaction"
	if s.Output.Emit == spec.EmitEvery {
		emit = "one record an increment"
	}
	key := "the event's"
	if s.Output.Key == spec.KeyGroup {
		key = "the group as a JSON array"
	}
	return fmt.Sprintf("%s, %s, its key: %s", s.Output.Topic, emit, key)
}

func ownsText(s *spec.Spec) string {
	text := fmt.Sprintf("topics %s.changelog and %s.dead, consumer group %s", s.App, s.App, s.App)
	if two, err := s.TwoStages(2); two && err == nil {
		text += fmt.Sprintf("; with two stages also topic %s.repartition", s.App)
	}
	return text
}

// stagesText says how many stages a spec has, and why.
func stagesText(s *spec.Spec) string {
	second := fmt.Sprintf("partial results go to %s.repartition, whose partition is decided by the group alone, and are folded there", s.App)
	if s.Output != nil && s.Output.Emit == spec.EmitEvery {
		second += "; `emit: every` emits one record a partial result, not one an increment"
	}
	switch {
	case s.Repartition.Mode == spec.RepartitionAlways:
		return "2, since the spec says `repartition: always`: " + second
	case s.Local(2):
		return "1: the grouping is local, since it contains key or partition: the events of a group come from one partition"
	case s.Repartition.Mode == spec.RepartitionNever:
		return "1, and only if the input has one partition: the grouping is not local, and the spec says `repartition: never`"
	}
	return "1 if the input has one partition; with more 2, since the grouping is not local: " + second
}
