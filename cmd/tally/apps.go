package main

import (
	"cmp"
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
	st, err := statusOfApps(ctx, client)
	if err != nil {
		return err
	}
	if len(st.Apps) == 0 {
		fmt.Fprintln(t.err, "no app runs yet: `tally submit FILE` runs one")
		return nil
	}
	return printApps(t, st)
}

// statusOfApps is the status; where that names no app, only once the node says that it knows of
// none: one that still looks for its cluster has an empty status, too.
func statusOfApps(ctx context.Context, client *api.Client) (api.Status, error) {
	st, err := client.Status(ctx)
	if err != nil || len(st.Apps) > 0 {
		return st, err
	}
	apps, err := client.Apps(ctx)
	if err != nil || len(apps) == 0 {
		return st, err
	}
	if st, err = client.Status(ctx); err == nil && len(st.Apps) == 0 {
		err = fmt.Errorf("the cluster has app %s, and no node says how it is: see `tally status`", apps[0].App)
	}
	return st, err
}

func printApps(t *tool, st api.Status) error {
	tw := table(t.out)
	fmt.Fprintln(tw, "APP\tGENERATION\tINPUT\tOUTPUT\tSTAGES\tLANES\tRUNNING\tLAG")
	for _, a := range st.Apps {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%s\n", a.App, a.Generation, orDash(a.Input), orDash(a.Output), a.Stages,
			len(a.Lanes), runningLanes(a), appLag(a))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, a := range st.Apps {
		if why := standsFor(a); why != "" {
			fmt.Fprintf(t.err, "app %s does not run: %s\n", a.App, shownLines(why))
		}
	}
	return nil
}

// standsFor is why no lane of an app runs, "" where one does or nobody knows.
func standsFor(a api.AppStatus) (why string) {
	for _, l := range a.Lanes {
		if l.State == api.LaneRunning {
			return ""
		}
		why = cmp.Or(why, l.Reason)
	}
	return why
}
