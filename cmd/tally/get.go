package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type getOptions struct {
	readFlags
	null  bool
	parts []string
}

func newCmdGet(t *tool) *cobra.Command {
	var opt getOptions
	cmd := &cobra.Command{
		Use:   "get PART...",
		Short: "Print the values of one group",
		Long: `Print the values of one group, given by its parts in the spec's order.

A PART is taken as scan and top print it: b64:... is bytes. For a part that comes from a JSON path, or
an item of JSON, a PART that is a JSON number, true, false, null or a "quoted" string is that; anything
else is a string. json:null is null for every part, such as the item of an event without a value.
When one group has counters in several partitions (clients that hash keys differently, null keys,
a grown topic) the values are folded, and the parts are shown on stderr.

Where nobody answers for some lanes within --wait, but the lane of the group's key does, the values
are without what those lanes may have of the group: they are named on stderr ("silent" in JSON).

Exits 3 when the group has no values: all events are counted that were there when it was asked for,
or those that --after and --min-position name. Exits 1 when that cannot be said within --wait.`,
		Example: `  tally get user-1 spark
  tally get --null spark                       # the events without a key
  tally get free '"7"'                         # the string, where 7 would be the number
  tally get user-1 json:null                   # the item of tombstones
  tally get user-1 spark --after input_event/0:1234 --wait 10s
  tally get user-1 spark --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.parts = args
			return runGet(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.null, "null", false, "the event key is null and takes no PART")
	return cmd
}

func runGet(ctx context.Context, t *tool, opt getOptions) error {
	a, err := opt.resolve(ctx, t)
	if err != nil {
		return err
	}
	group, err := a.program.GroupFromArgs(opt.parts, opt.null)
	if err == nil {
		_, err = a.program.ParseGroupJSON(group)
	}
	if err != nil {
		return usagef("app %s: %w", a.name, err)
	}
	answer, err := a.client.Get(ctx, a.name, group, a.opt)
	if err != nil {
		return err
	}
	if opt.json {
		err = printJSON(t.out, answer)
	} else if answer.Found {
		err = printGet(t, answer)
	}
	if err != nil || answer.Found {
		return err
	}
	bounded := len(opt.after) > 0 || opt.minPosition != "" // and that far it is counted
	if !answer.Proved && !bounded {
		why := "it cannot be said that none is to be counted"
		if lag := lagOf(answer.Parts); lag > 0 {
			why = fmt.Sprintf("%d events are still to be counted", lag)
		}
		return &exitError{exitFailed, fmt.Errorf("app %s has no values for %s yet, and %s: ask again, or with a longer --wait and --after", a.name, answer.Group, why)}
	}
	t.noteParts(answer.Parts)
	return &exitError{exitNoValues, fmt.Errorf("app %s has no values for %s", a.name, answer.Group)}
}

func printGet(t *tool, answer api.GetAnswer) error {
	if _, err := fmt.Fprintln(t.out, valuesText(answer.Values)); err != nil {
		return err
	}
	t.noteParts(answer.Parts)
	t.noteSilent(answer.Silent)
	holders := answer.Parts[:0:0]
	for _, p := range answer.Parts {
		if p.Values != nil {
			holders = append(holders, p)
		}
	}
	if len(holders) < 2 {
		return nil
	}
	fmt.Fprintf(t.err, "folded from %d partitions, since its events were not all sent to one:\n", len(holders))
	tw := table(t.err)
	for _, p := range holders {
		fmt.Fprintf(tw, "  partition %d\tlane %d\t%s\n", p.Partition, p.Lane, valuesText(p.Values))
	}
	return tw.Flush()
}
