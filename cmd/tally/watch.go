package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type watchOptions struct {
	readFlags
	null  bool
	parts []string
}

func newCmdWatch(t *tool) *cobra.Command {
	var opt watchOptions
	cmd := &cobra.Command{
		Use:   "watch [PART...]",
		Short: "Print the values of groups, and each time they change",
		Long: `Print the present values of all groups, or of those that begin with the PARTs, and then a line for
each change until interrupted. When a group changes often, values in between are left out.

Of one group, given by all its PARTs, a watch prints what get would: where nobody answers for some
lanes within --wait, but the lane of the group's key does, they are named on stderr ("silent" in
JSON). Once they answer, the values are printed anew, with what those lanes have of the group.`,
		Example: `  tally watch user-1
  tally watch user-1 spark --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.parts = args
			return runWatch(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.null, "null", false, "the event key is null and takes no PART")
	return cmd
}

func runWatch(ctx context.Context, t *tool, opt watchOptions) error {
	a, err := opt.resolve(ctx, t)
	if err != nil {
		return err
	}
	prefix, err := a.prefix(opt.parts, opt.null)
	if err != nil {
		return err
	}
	var silent []int
	err = a.client.Watch(ctx, a.name, prefix, a.opt, func(c api.Count) error {
		if opt.json {
			return printJSON(t.out, c)
		}
		if !slices.Equal(c.Silent, silent) {
			t.noteSilent(c.Silent)
			silent = c.Silent
		}
		t.noteParts(c.Parts)
		columns := append(a.program.GroupArgs(c.Group), valuesText(c.Values))
		_, err := fmt.Fprintln(t.out, strings.Join(columns, "  "))
		return err
	})
	return endless(ctx, err)
}

// endless is the end of a command that only an interruption ends: that is then no failure.
func endless(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
