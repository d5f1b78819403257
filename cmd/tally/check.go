package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
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

func runCheck(ctx context.Context, t *tool, opt checkOptions) error {
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
	defer out.Flush() // also of what was checked before an interruption
	if !opt.json {
		describeSpec(out, s)
	}
	if t.inTTY {
		return nil
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

// checker shows what becomes of lines.
type checker struct {
	program *spec.Program
	key     kafka.KeyFunc
	out     io.Writer
	json    bool
	scratch spec.Scratch
	n       int
}

// checkedLine is a line of check --json.
type checkedLine struct {
	Line    int         `json:"line"`
	Verdict string      `json:"verdict"` // counted, filtered, unreadable
	Error   string      `json:"error,omitempty"`
	Items   []api.Count `json:"items"`
}

func (c *checker) line(text []byte) error {
	c.n++
	checked := checkedLine{Line: c.n, Items: []api.Count{}}
	key, value, err := c.key(text)
	var items []spec.Item
	var verdict spec.Verdict
	if err == nil {
		items, verdict, err = c.program.Eval(spec.Event{Key: key, Value: value}, &c.scratch)
	}
	switch {
	case err != nil:
		checked.Verdict, checked.Error = "unreadable", err.Error()
	case verdict == spec.Filtered:
		checked.Verdict = "filtered"
	default:
		checked.Verdict = "counted"
	}
	for _, it := range items {
		checked.Items = append(checked.Items, api.Count{
			Group:  json.RawMessage(c.program.AppendGroupJSON(nil, it.Group)),
			Values: json.RawMessage(c.program.AppendValuesJSON(nil, it.Inc)),
		})
	}
	if c.json {
		return printJSON(c.out, checked)
	}
	return c.print(checked)
}

func (c *checker) print(l checkedLine) error {
	note := l.Error
	if l.Verdict == "counted" && len(l.Items) == 0 {
		note = "no items"
	}
	if _, err := fmt.Fprintln(c.out, strings.TrimRight(fmt.Sprintf("line %d  %s  %s", l.Line, l.Verdict, note), " ")); err != nil {
		return err
	}
	tw := table(c.out)
	for _, it := range l.Items {
		fmt.Fprintf(tw, "    %s\t%s\n", strings.Join(groupColumns(it.Group), "\t"), incrementText(it.Values))
	}
	return tw.Flush()
}

// incrementText names each value, since an increment of one aggregate alone looks like nothing.
func incrementText(values json.RawMessage) string {
	var texts []string
	for _, v := range valueList(values) {
		texts = append(texts, v.name+" "+v.text)
	}
	return strings.Join(texts, ", ")
}
