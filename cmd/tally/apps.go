package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type appsOptions struct {
	serverFlags
	json bool
}

func newCmdApps(t *tool) *cobra.Command {
	var opt appsOptions
	cmd := &cobra.Command{
		Use:   "apps",
		Short: "Print the apps that run on a cluster",
		Example: `  tally apps
  tally apps --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runApps(cmd.Context(), t, opt) },
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON, with the specs")
	return cmd
}

func runApps(ctx context.Context, t *tool, opt appsOptions) error {
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	if opt.json {
		apps, err := client.Apps(ctx)
		if err != nil {
			return err
		}
		return printJSON(t.out, api.AppsAnswer{Apps: apps})
	}
	st, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if len(st.Apps) == 0 {
		fmt.Fprintln(t.err, "no app runs yet: `tally submit FILE` runs one")
		return nil
	}
	tw := table(t.out)
	fmt.Fprintln(tw, "APP\tGENERATION\tINPUT\tOUTPUT\tSTAGES\tLANES\tRUNNING\tLAG")
	for _, a := range st.Apps {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\n", a.App, a.Generation, a.Input, orDash(a.Output), a.Stages,
			len(a.Lanes), runningLanes(a), a.Lag)
	}
	return tw.Flush()
}
