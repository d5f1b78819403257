package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/processor/spec"
)

func printReset(t *tool, opt resetOptions, a api.ResetAnswer) error {
	switch {
	case opt.json:
		return printJSON(t.out, a)
	case a.Done:
		fmt.Fprintf(t.out, "app %s counts anew, in generation %d, from\n", a.App, a.Generation)
		resetStarts(t.out, a)
	default:
		resetText(t.out, a)
		fmt.Fprintln(t.err, "Nothing was done: say --yes to do it.")
	}
	return nil
}

// resetText says what a reset would do.
func resetText(w io.Writer, a api.ResetAnswer) {
	fmt.Fprintf(w, "A reset of app %s to generation %d would delete\n", a.App, a.Generation)
	for _, topic := range a.Topics {
		note := ""
		if topic.Topic == spec.DeadTopic(a.App) && topic.Records > 0 {
			note = "; to count them again, do `tally dead replay --all` first"
		}
		fmt.Fprintf(w, "  topic %s (about %d records%s)\n", topic.Topic, topic.Records, note)
	}
	fmt.Fprintf(w, "  consumer group %s\n", a.Group)
	for _, dir := range a.StateDirs {
		fmt.Fprintf(w, "  %s\n", shown(dir))
	}
	fmt.Fprintln(w, "and count anew from")
	resetStarts(w, a)
	if a.Output != "" {
		fmt.Fprintf(w, "The output topic %s stays as it is.\n", a.Output)
	}
}

func resetStarts(w io.Writer, a api.ResetAnswer) {
	for _, place := range slices.Sorted(maps.Keys(a.Start)) {
		fmt.Fprintf(w, "  %s  offset %d\n", place, a.Start[place])
	}
}
