package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
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
start had to restore, which standbys could take over; and a line a problem. Any node answers for all.

With --watch, a node that answers no more is asked again until it does; the first time it has to.`,
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
	for heard := false; ; heard = true {
		st, err := client.Status(ctx)
		switch {
		case err == nil:
			err = printStatus(t, st, opt)
		case heard && ctx.Err() != nil:
			return nil
		case heard: // the node that was asked may be back any moment
			err = printSilence(t, err, opt)
		}
		if !opt.watch {
			return err
		}
		if err == nil {
			err = t.seam.Sleep(ctx, time.Second)
		}
		if err != nil {
			return endless(ctx, err)
		}
	}
}

func printStatus(t *tool, st api.Status, opt statusOptions) error {
	if opt.json {
		return printJSON(t.out, st)
	}
	return opt.screen(t, func(w io.Writer) {
		statusNodes(w, st)
		statusApps(w, st)
		statusLanes(w, st)
		statusNotes(w, st)
	})
}

// printSilence says in a watch why there is no status. In JSON an answer is a status, or none.
func printSilence(t *tool, why error, opt statusOptions) error {
	if opt.json {
		_, err := fmt.Fprintf(t.err, "tally: %s\n", shownLines(why.Error()))
		return err
	}
	return opt.screen(t, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n\nIt is asked again each second.\n", shownLines(why.Error()))
	})
}

// screen shows all at once, in a watch in the place of what was there before.
func (opt statusOptions) screen(t *tool, draw func(io.Writer)) error {
	var screen bytes.Buffer
	if opt.watch && t.outTTY {
		screen.WriteString("\x1b[H\x1b[2J")
	}
	draw(&screen)
	if opt.watch && !t.outTTY {
		screen.WriteByte('\n')
	}
	_, err := t.out.Write(screen.Bytes())
	return err
}
