package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/node"
	"github.com/tally-kafka/tally/internal/port"
)

type recoverOptions struct {
	dataDir string
	addr    string
	yes     bool
}

func newCmdNode(t *tool) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "node",
		Short:   "Go on without nodes that are gone for good",
		Example: "  tally node forget b\n  tally node recover --data-dir /var/lib/tally --yes",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newCmdNodeForget(t), newCmdNodeRecover(t))
	return cmd
}

func newCmdNodeRecover(t *tool) *cobra.Command {
	var opt recoverOptions
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on with one node when most voters of its cluster are lost for good",
		Long: `Make this stopped node the only voter of its cluster: the way out when most voters are lost for good,
so that no lane could move any more. Counts are not touched: they are in Kafka.

Do it on one node only, and only if the lost ones are lost for good: from then on they must join as
new nodes, with an empty data dir. One that comes back with its data ends, and says what to remove; so
do nodes that run, should this be done by mistake on one that could have joined them.`,
		Example: `  tally node recover --data-dir /var/lib/tally --yes
  tally run --data-dir /var/lib/tally --brokers kafka-1:9092`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := saidEmpty(cmd); err != nil {
				return err
			}
			return runNodeRecover(t, opt)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&opt.dataDir, "data-dir", "./tally-data", "`DIR` of the node, which must be stopped")
	fl.StringVar(&opt.addr, "advertise", "", "`HOST:PORT` at which the node is reached from now on (default: as before)")
	fl.BoolVar(&opt.yes, "yes", false, "do it; without it nothing is done")
	return cmd
}

func runNodeRecover(t *tool, opt recoverOptions) error {
	if !opt.yes {
		return usagef("this makes the node in %s the only voter of its cluster, which must never be done while the others may come back; say --yes if they are lost for good", opt.dataDir)
	}
	if opt.addr != "" {
		if err := port.CheckAdvertise(opt.addr); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	log, err := t.newLogger("warn", "text")
	if err != nil {
		return err
	}
	text, err := node.Recover(opt.dataDir, opt.addr, t.seam, log)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, text)
	return err
}
