package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/processor/spec"
)

// checkLineBytesMax bounds a line of check's input; Kafka's own default limit of a record is 1 MiB.
const checkLineBytesMax = 16 << 20

type checkOptions struct {
	keyFlags
	json bool
	file string
}

func newCmdCheck(t *tool) *cobra.Command {
	var opt checkOptions
	cmd := &cobra.Command{
		Use:   "check FILE [< lines]",
		Short: "Check a spec, and try it on lines of stdin",
		Long: `Check a spec and print what it will do. With lines on stdin, print for each line what would become
of it as an event of partition 0: its groups and increments, or why it is filtered or cannot be read.
Needs no Kafka and no node. Exits 2 when the spec is not right.`,
		Example: `  tally check wordcount.yaml
  echo 'user-1:Spark and Kafka' | tally check wordcount.yaml --key-delimiter :`,
		Args: argsOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.file = args[0]
			return runCheck(cmd.Context(), t, opt)
		},
	}
	opt.add(cmd)
	cmd.Flags().BoolVar(&opt.json, "json", false, "print only the lines, as JSON Lines")
	return cmd
}

func runCheck(ctx context.Context, t *tool, opt checkOptions) (err error) {
	s, err := readSpec(opt.file)
	if err != nil {
		return err
	}
	key, err := opt.keyFunc()
	if err != nil {
		return err
	}
	if key == nil {
		key = func(line []byte) ([]byte, []byte, error) { return nil, line, nil }
	}
	out := bufio.NewWriter(t.out)
	defer func() { // also of what was checked before an interruption
		err = cmp.Or(err, out.Flush())
	}()
	if !opt.json {
		describeSpec(out, s)
	}
	if t.inTTY {
		return nil
	}
	if err := out.Flush(); err != nil { // the lines may be long in coming
		return err
	}
	c := &checker{program: spec.Compile(s), key: key, out: out, json: opt.json}
	lines := bufio.NewScanner(t.in)
	lines.Buffer(nil, checkLineBytesMax)
	for lines.Scan() {
		if err := errors.Join(ctx.Err(), c.line(lines.Bytes())); err != nil {
			return err
		}
	}
	return lines.Err()
}
