package check

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Difference is one failure of a check: what is not as it has to be.
type Difference struct {
	Says string `json:"says"`
	// At is when what shows it came: the end of its transaction, or the answer; zero for what is of
	// the whole run.
	At time.Time `json:"at,omitzero"`
	// Counter is the group that it is about, as a JSON array; "" where it is about something else.
	Counter string `json:"counter,omitempty"`
	// Expected and Found are what there had to be and what there is, of a counter its values in the
	// order of the spec's aggregates; "" where Says has no two sides.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
}

// versus is what a failure is about, with both sides.
type versus struct{ counter, expected, found string }

// versusOf is the same of a counter's values.
func versusOf(group string, expected, found []decimal) versus {
	return versus{show(group), showValues(expected), showValues(found)}
}

func (c *Check) fail(format string, args ...any) { c.differ(versus{}, format, args...) }

// differ notes a failure, of which it keeps the first ones in words.
func (c *Check) differ(v versus, format string, args ...any) {
	c.Failures++
	var at time.Time
	if c.nowMs != nil && *c.nowMs > 0 {
		at = time.UnixMilli(*c.nowMs).UTC()
	}
	if !at.IsZero() && (c.First.IsZero() || at.Before(c.First)) {
		c.First = at
	}
	if len(c.Examples) < examplesMax {
		c.Examples = append(c.Examples, Difference{fmt.Sprintf(format, args...), at, v.counter, v.expected, v.found})
	}
}

// by says when what is judged next came, in Unix time; 0: it is of the whole run.
func (r *Report) by(ms int64) { r.nowMs = ms }

// when is the end of a transaction, in Unix time, by the follower's clock where it has read it.
func (p *part) when() int64 {
	if p.seenMs > 0 {
		return p.seenMs
	}
	return p.endMs
}

// First is when the first failure came that has a time, not before began; zero: none has.
func (r *Report) First(began time.Time) (first time.Time) {
	for i := range r.Checks {
		for _, at := range append([]time.Time{r.Checks[i].First}, times(r.Checks[i].Examples)...) {
			if !at.Before(began) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	return first
}

func times(all []Difference) (at []time.Time) {
	for i := range all {
		at = append(at, all[i].At)
	}
	return at
}

// WriteDifferences writes, for people, what is not as it has to be: of each failure where and when
// it is, and of which counter, what there had to be and what there is.
func (r *Report) WriteDifferences(w io.Writer) error {
	var b strings.Builder
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Failures == 0 {
			continue
		}
		fmt.Fprintf(&b, "check %d, %s: %d failures\n\n", c.Number, c.Says, c.Failures)
		for j := range c.Examples {
			c.Examples[j].write(&b)
		}
		if more := c.Failures - len(c.Examples); more > 0 {
			fmt.Fprintf(&b, "  and %d more\n\n", more)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *Difference) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s\n", strings.ReplaceAll(strings.TrimSpace(d.Says), "\n", "\n  "))
	at := ""
	if !d.At.IsZero() {
		at = d.At.Format(timeFormat)
	}
	for _, line := range [][2]string{{"at", at}, {"counter", d.Counter}, {"expected", d.Expected}, {"found", d.Found}} {
		if line[1] != "" {
			fmt.Fprintf(b, "    %-9s %s\n", line[0], line[1])
		}
	}
	b.WriteByte('\n')
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"
