package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/dead"
)

const (
	keyPreview   = 32 // characters
	errorPreview = 100
)

type deadShowOptions struct {
	deadFlags
	raw   bool
	json  bool
	place string
}

func newCmdDeadShow(t *tool) *cobra.Command {
	var opt deadShowOptions
	cmd := &cobra.Command{
		Use:   "show PARTITION:OFFSET",
		Short: "Print one dead letter",
		Long:  `Print one dead letter: why and from where it came, its headers, key and value.`,
		Example: `  tally dead show 0:17
  tally dead show 0:17 --json
  tally dead show 0:17 --raw > event.json`,
		Args: argsOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.place = args[0]
			return runDeadShow(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.raw, "raw", false, "print the event's value and nothing else, byte for byte")
	cmd.Flags().BoolVar(&opt.json, "json", false, "print JSON")
	return cmd
}

func runDeadShow(ctx context.Context, t *tool, opt deadShowOptions) error {
	at, err := dead.ParsePlace(opt.place)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if opt.raw && opt.json {
		return usagef("--raw and --json exclude each other: say one of them")
	}
	box, err := opt.open(ctx, t)
	if err != nil {
		return err
	}
	defer box.Close()
	l, err := box.Get(ctx, at)
	switch {
	case err != nil:
		return err
	case opt.raw:
		_, err = t.out.Write(l.Value)
		return err
	case opt.json:
		return printJSON(t.out, wireLetter(l, true))
	}
	return printLetter(t.out, l)
}

func printLetter(w io.Writer, l dead.Letter) error {
	tw := table(w)
	fmt.Fprintf(tw, "error\t%s\n", letterError(l))
	fmt.Fprintf(tw, "event\t%s\n", letterEvent(l))
	if !l.Foreign {
		fmt.Fprintf(tw, "event time\t%s\n", timeText(l.EventMs))
	}
	fmt.Fprintf(tw, "written\t%s\n", timeText(l.WrittenMs))
	fmt.Fprintf(tw, "key\t%s\n", preview(l.Key, len(l.Key)))
	for _, h := range l.Headers {
		fmt.Fprintf(tw, "header %s\t%s\n", preview([]byte(h.Key), len(h.Key)), preview(h.Value, len(h.Value)))
	}
	fmt.Fprintf(tw, "value\t%s\n", preview(l.Value, len(l.Value)))
	return tw.Flush()
}

func timeText(ms int64) string {
	if ms < 0 {
		return "none"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// preview is the beginning of bytes as a terminal may show it, quoted where it is not plain text.
func preview(b []byte, most int) string {
	if b == nil {
		return "null"
	}
	s, more := string(b), ""
	if len(s) > most {
		for most > 0 && !utf8.RuneStart(s[most]) {
			most--
		}
		s, more = s[:most], "..."
	}
	if s == "" || s == "null" || !plain(s) {
		s = strconv.Quote(s)
	}
	return s + more
}
