package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/dead"
)

// deadFlags say whose dead letters.
type deadFlags struct {
	brokerFlags
	app string
}

func (f *deadFlags) add(cmd *cobra.Command) {
	f.brokerFlags.add(cmd)
	cmd.Flags().StringVar(&f.app, "app", "", "`NAME` of the app; may be left out when there is one")
}

// open finds the app's dead letters. With --app and --brokers no node is needed.
func (f *deadFlags) open(ctx context.Context, t *tool) (*dead.Box, error) {
	app := f.app
	if app == "" || len(f.brokers) == 0 {
		client, err := f.client(t)
		if err != nil {
			return nil, err
		}
		info, err := client.App(ctx, app)
		if err != nil {
			return nil, err
		}
		app = info.App
	}
	cfg, err := f.kafka(ctx, t)
	if err != nil {
		return nil, err
	}
	return dead.Open(ctx, cfg, app)
}

func newCmdDead(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Show dead letters, and send them to the input again",
		Long: `Show dead letters, the events that could not be counted, and send them to the input again. They are in
the topic APP.dead, untouched, with headers that say why and from where.`,
		Example: `  tally dead list
  tally dead show 0:17
  tally dead replay 0:17`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newCmdDeadList(t), newCmdDeadShow(t), newCmdDeadReplay(t))
	return cmd
}

type deadListOptions struct {
	deadFlags
	limit int
	json  bool
}

func newCmdDeadList(t *tool) *cobra.Command {
	var opt deadListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters",
		Long: `List the dead letters, partition by partition, the oldest first: where each lies, which event it is,
why it could not be counted, and its key.`,
		Example: `  tally dead list
  tally dead list --app orders --limit 1000 --json`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDeadList(cmd.Context(), t, opt) },
	}
	opt.add(cmd)
	cmd.Flags().IntVar(&opt.limit, "limit", 100, "end after so many (0: no limit)")
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON Lines")
	return cmd
}

func runDeadList(ctx context.Context, t *tool, opt deadListOptions) error {
	if opt.limit < 0 {
		return usagef("--limit is not negative")
	}
	box, err := opt.open(ctx, t)
	if err != nil {
		return err
	}
	defer box.Close()
	tw := table(t.out)
	n, more := 0, false
	err = box.Each(ctx, func(l dead.Letter) error {
		if more = opt.limit > 0 && n == opt.limit; more {
			return dead.ErrEnough
		}
		n++
		if opt.json {
			return printJSON(t.out, wireLetter(l, false))
		}
		if n == 1 {
			fmt.Fprintln(tw, "LETTER\tEVENT\tKEY\tERROR")
		}
		_, err := fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", l.Place, letterEvent(l), preview(l.Key, keyPreview), letterError(l))
		return err
	})
	if err := tw.Flush(); err != nil {
		return err
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		fmt.Fprintf(t.err, "%s holds no dead letters\n", box.Topic())
	case more:
		fmt.Fprintf(t.err, "there are more: say --limit\n")
	}
	return nil
}

func letterEvent(l dead.Letter) string {
	if l.Foreign {
		return "-"
	}
	return l.Topic + "/" + strconv.Itoa(int(l.SourcePartition)) + ":" + strconv.FormatInt(l.SourceOffset, 10)
}

func letterError(l dead.Letter) string {
	switch {
	case l.Foreign:
		return "no dead letter of tally: another program wrote it"
	case l.ReplayOf != "":
		return preview([]byte(l.Error), errorPreview) + " (replayed from " + l.ReplayOf + ")"
	}
	return preview([]byte(l.Error), errorPreview)
}
