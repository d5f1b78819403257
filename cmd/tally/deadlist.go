package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/dead"
)

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
	out := bufio.NewWriter(t.out)
	n, more, err := opt.print(out, func(fn func(dead.Letter) error) error { return box.Each(ctx, fn) })
	switch err := cmp.Or(err, out.Flush()); {
	case err != nil:
		return err
	case n == 0:
		fmt.Fprintf(t.err, "%s holds no dead letters\n", box.Topic())
	case more:
		fmt.Fprintf(t.err, "there are more: say --limit N, or --limit 0 for all\n")
	}
	return nil
}

// print lists the letters that each gives it, up to the limit. It holds no more of them than the
// rows that are aligned together.
func (o deadListOptions) print(out io.Writer, each func(func(dead.Letter) error) error) (n int, more bool, err error) {
	rows := &rowTable{out: out, header: "LETTER\tEVENT\tKEY\tERROR"}
	err = each(func(l dead.Letter) error {
		if more = o.limit > 0 && n == o.limit; more {
			return dead.ErrEnough
		}
		n++
		if o.json {
			return printJSON(out, wireLetter(l, false))
		}
		return rows.add(fmt.Sprintf("%s\t%s\t%s\t%s", l.Place, letterEvent(l), preview(l.Key, keyPreview), letterError(l)))
	})
	return n, more, cmp.Or(err, rows.flush())
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
