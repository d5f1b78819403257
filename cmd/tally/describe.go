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
		spec.Dead: "events go to " + spec.DeadTopic(s.App), spec.Skip: "events are skipped and counted as such",
		spec.Stop: "events stop their lane",
	}[s.OnError])
	row("lanes", "%s", lanesText(s))
	row("stages", "%s", stagesText(s))
	if twoStages(s) {
		row("between", "%s", betweenText(s))
	}
	row("owns", "%s", ownsText(s))
	for _, note := range s.Notes() {
		row("note", "%s", note)
	}
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
		if twoStages(s) {
			emit = "one record a partial result (an increment only where there is one stage)"
		}
	}
	key := "the event's"
	if s.Output.Key == spec.KeyGroup {
		key = "the group as a JSON array"
	}
	return fmt.Sprintf("%s, %s, its key: %s", s.Output.Topic, emit, key)
}

func ownsText(s *spec.Spec) string {
	changelog, dead := spec.ChangelogTopic(s.App), spec.DeadTopic(s.App)
	if twoStages(s) {
		return fmt.Sprintf("topics %s, %s and %s, consumer group %s", changelog, dead, spec.RepartitionTopic(s.App), s.App)
	}
	return fmt.Sprintf("topics %s and %s, consumer group %s", changelog, dead, s.App)
}
