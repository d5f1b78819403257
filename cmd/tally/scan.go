package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
)

type scanOptions struct {
	readFlags
	null  bool
	parts []string
}

func newCmdScan(t *tool) *cobra.Command {
	var opt scanOptions
	cmd := &cobra.Command{
		Use:   "scan [PART...]",
		Short: "Print all groups, or those that begin with the PARTs, in order",
		Long: `Print all groups, or those that begin with the PARTs, in order. The answer is of one cut: one
commit boundary of each lane. With --json: a line {"group","values"} a group, and at last
{"end":true,"parts","token"}; without that line the answer is not complete (and the exit code 1).`,
		Example: `  tally scan
  tally scan user-1
  tally scan --json > counts.jsonl`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.parts = args
			return runScan(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.null, "null", false, "the event key is null and takes no PART")
	return cmd
}

func runScan(ctx context.Context, t *tool, opt scanOptions) (err error) {
	a, err := opt.resolve(ctx, t)
	if err != nil {
		return err
	}
	prefix, err := a.prefix(opt.parts, opt.null)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(t.out)
	defer func() { // also of an answer that broke off
		err = cmp.Or(err, out.Flush())
	}()
	if opt.json {
		end, err := a.client.Scan(ctx, a.name, prefix, a.opt, func(c api.Count) error { return printJSON(out, c) })
		if err != nil {
			return err
		}
		return printJSON(out, end)
	}
	rows := &rowTable{out: out, header: a.countHeader()}
	end, err := a.client.Scan(ctx, a.name, prefix, a.opt, func(c api.Count) error { return rows.add(a.countRow(c)) })
	t.noteParts(end.Parts)
	if err == nil && rows.n == 0 {
		fmt.Fprintf(t.err, "app %s has no such groups\n", a.name)
	}
	if flushErr := rows.flush(); err == nil {
		err = flushErr
	}
	return err
}
