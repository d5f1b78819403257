package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/demo"
)

type demoOptions struct {
	keep    bool
	dataDir string
}

func newCmdDemo(t *tool) *cobra.Command {
	var opt demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all: count, kill -9 in the middle, restart, compare",
		Long: `Start a broker, a node and a producer as three processes, kill the node in the middle of a
transaction, start it again, and compare every count and every output with what was sent.`,
		Example: `  tally demo
  tally demo --keep          # leaves all running, to try the other commands`,
		Args: argsOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), t, opt) },
	}
	cmd.Flags().BoolVar(&opt.keep, "keep", false, "leave broker and node running")
	cmd.Flags().StringVar(&opt.dataDir, "data-dir", "", "`DIR` for the data (default: a temporary one, removed at the end)")
	return cmd
}

func runDemo(ctx context.Context, t *tool, opt demoOptions) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file, to start it again: %w", err)
	}
	return demo.Run(ctx, demo.Options{
		Binary: binary, Dir: opt.dataDir, Keep: opt.keep, Out: t.out, Err: t.err, TTY: t.outTTY, Seam: t.seam,
	})
}
