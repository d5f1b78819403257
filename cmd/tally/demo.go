package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/demo"
)

type demoOptions struct {
	keep        bool
	dataDir     string
	brokers     []string
	kafkaConfig string
}

func newCmdDemo(t *tool) *cobra.Command {
	var opt demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all: three nodes, kill -9 in the middle, a takeover, a restart, an audit",
		Long: `Start a broker, three nodes and a producer as processes of their own, and show which node has which
lanes. Kill a node that owns lanes in the middle of a transaction, see them go on at the others, start
it again, and compare every count and every output with what was sent; then have it audited.

The broker is an embedded one, which is not killed, unless --brokers names a Kafka. There the demo uses
an app and topics of a new name, and deletes them at the end.

Exits 4 when a count or an output is not exact, and 6 when the audit could not decide.`,
		Example: `  tally demo
  tally demo --keep          # leaves all running, to try the other commands
  tally demo --brokers kafka-1:9092`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), t, opt) },
	}
	cmd.Flags().BoolVar(&opt.keep, "keep", false, "leave broker and nodes running")
	cmd.Flags().StringVar(&opt.dataDir, "data-dir", "", "`DIR` for the data (default: a temporary one, removed at the end)")
	cmd.Flags().StringSliceVar(&opt.brokers, "brokers", nil, "`HOST:PORT,...` of Kafka (default: an embedded broker)")
	cmd.Flags().StringVar(&opt.kafkaConfig, "kafka-config", "", "Java client.properties `FILE` with brokers and security settings")
	return cmd
}

func runDemo(ctx context.Context, t *tool, opt demoOptions) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file, to start it again: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Binary: binary, Dir: opt.dataDir, Brokers: opt.brokers, KafkaConfig: opt.kafkaConfig, Env: t.getenv,
		Keep: opt.keep, Out: t.out, Err: t.err, TTY: t.outTTY, Seam: t.seam,
	})
}
