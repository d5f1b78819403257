package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/broker"
)

type brokerOptions struct {
	dataDir   string
	port      int
	logLevel  string
	logFormat string
}

func newCmdBroker(t *tool) *cobra.Command {
	var opt brokerOptions
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker alone, for trying out",
		Long: `Run the embedded broker alone until interrupted: a Kafka for trying tally out, with its data in the
data dir, reachable from this machine only. ` + "`tally run` without --brokers" + ` uses it, or starts one.`,
		Example: `  tally broker --data-dir ./tally-data`,
		Args:    argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := saidEmpty(cmd); err != nil {
				return err
			}
			return runBroker(cmd.Context(), t, opt)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&opt.dataDir, "data-dir", "./tally-data", "`DIR` that holds the data")
	fl.IntVar(&opt.port, "port", 0, "the `PORT` to listen on (0: the one of the last time, else a free one)")
	addLogFlags(cmd, &opt.logLevel, &opt.logFormat)
	return cmd
}

func addLogFlags(cmd *cobra.Command, level, format *string) {
	cmd.Flags().StringVar(level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(format, "log-format", "text", "text or json")
}

func runBroker(ctx context.Context, t *tool, opt brokerOptions) error {
	log, err := t.newLogger(opt.logLevel, opt.logFormat)
	if err != nil {
		return err
	}
	return broker.Main(ctx, broker.MainOptions{
		DataDir: opt.dataDir, Port: opt.port, Keep: true, Seam: t.seam, Log: log,
		Ready: func(addr string) {
			fmt.Fprintf(t.out, "embedded broker at %s (for trying out); to send it something:\n  python examples/python/produce.py %s\n", addr, addr)
		},
	})
}
