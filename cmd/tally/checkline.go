package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/processor/spec"
)

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
	Verdict string      `json:"verdict"` // counted, filtered, unreadable; refused: no event at all
	Error   string      `json:"error,omitempty"`
	Items   []api.Count `json:"items"`
}

func (c *checker) line(text []byte) error {
	c.n++
	checked := checkedLine{Line: c.n, Items: []api.Count{}}
	key, value, err := c.key(text)
	if err != nil {
		checked.Verdict, checked.Error = "refused", err.Error()
	} else {
		c.eval(&checked, spec.Event{Key: key, Value: value})
	}
	if c.json {
		return printJSON(c.out, checked)
	}
	return c.print(checked)
}

func (c *checker) eval(l *checkedLine, ev spec.Event) {
	items, verdict, err := c.program.Eval(ev, &c.scratch)
	switch verdict {
	case spec.Counted:
		l.Verdict = "counted"
	case spec.Filtered:
		l.Verdict = "filtered"
	case spec.Unreadable:
		l.Verdict, l.Error = "unreadable", err.Error()
	}
	for _, it := range items {
		l.Items = append(l.Items, api.Count{
			Group:  json.RawMessage(c.program.AppendGroupJSON(nil, it.Group)),
			Values: json.RawMessage(c.program.AppendValuesJSON(nil, it.Inc)),
		})
	}
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
		fmt.Fprintf(tw, "    %s\t%s\n", strings.Join(c.program.GroupArgs(it.Group), "\t"), incrementText(it.Values))
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
