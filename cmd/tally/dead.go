package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
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

// open finds the app's dead letters. Where the app and brokers are named no node is needed.
func (f *deadFlags) open(ctx context.Context, t *tool) (*dead.Box, error) {
	cfg, err := f.load(t)
	if err != nil {
		return nil, err
	}
	app := f.app
	if app == "" || len(cfg.Brokers) == 0 {
		client, err := f.client(t)
		if err != nil {
			return nil, err
		}
		info, err := client.App(ctx, app)
		var none *api.NoNodeError
		if errors.As(err, &none) {
			err = fmt.Errorf("%w; without a node, say --app NAME and --brokers HOST:PORT", err)
		}
		if err != nil {
			return nil, err
		}
		app = info.App
	}
	if err := f.complete(ctx, t, &cfg); err != nil {
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
