package main

import (
	"bytes"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type statusOptions struct {
	serverFlags
	watch bool
	json  bool
}

func newCmdStatus(t *tool) *cobra.Command {
	var opt statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the nodes, apps and lanes",
		Long: `Print the nodes, apps and lanes: who runs what, how far it has read, what it counted, what the last
start had to restore, which standbys could take over; and a line a problem. Any node answers for all.`,
		Example: `  tally status
  tally status --watch
  tally status --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), t, opt) },
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.watch, "watch", false, "print it again each second until interrupted")
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runStatus(ctx context.Context, t *tool, opt statusOptions) error {
	client, err := opt.client(t)
	if err != nil {
		return err
	}
	for {
		st, err := client.Status(ctx)
		switch {
		case err != nil && opt.watch:
			return endless(ctx, err)
		case err != nil:
			return err
		}
		if err := printStatus(t, st, opt); err != nil || !opt.watch {
			return err
		}
		if err := t.seam.Sleep(ctx, time.Second); err != nil {
			return endless(ctx, err)
		}
	}
}

func printStatus(t *tool, st api.Status, opt statusOptions) error {
	if opt.json {
		return printJSON(t.out, st)
	}
	var screen bytes.Buffer
	if opt.watch && t.outTTY {
		screen.WriteString("\x1b[H\x1b[2J")
	}
	statusNodes(&screen, st)
	statusApps(&screen, st)
	statusLanes(&screen, st)
	statusNotes(&screen, st)
	if opt.watch && !t.outTTY {
		screen.WriteByte('\n')
	}
	_, err := t.out.Write(screen.Bytes())
	return err
}
