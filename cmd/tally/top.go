package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

type topOptions struct {
	readFlags
	n int
}

func newCmdTop(t *tool) *cobra.Command {
	var opt topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Print the largest groups",
		Long: `Print the largest groups by the first aggregate. The answer is of one cut: one commit boundary
of each lane.`,
		Example: `  tally top
  tally top -n 100 --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runTop(cmd.Context(), t, opt) },
	}
	opt.add(cmd)
	cmd.Flags().IntVarP(&opt.n, "count", "n", 10, "how many, at most 10000")
	return cmd
}

func runTop(ctx context.Context, t *tool, opt topOptions) error {
	a, err := opt.resolve(ctx, t)
	if err != nil {
		return err
	}
	answer, err := a.client.Top(ctx, a.name, opt.n, a.opt)
	if err != nil {
		return err
	}
	if opt.json {
		return printJSON(t.out, answer)
	}
	t.noteParts(answer.Parts)
	if len(answer.Counts) == 0 {
		fmt.Fprintf(t.err, "app %s has no groups yet\n", a.name)
		return nil
	}
	tw := table(t.out)
	fmt.Fprintln(tw, a.countHeader())
	for _, c := range answer.Counts {
		fmt.Fprintln(tw, a.countRow(c))
	}
	return tw.Flush()
}
