package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Result is what a check came to.
type Result string

// The results, from good to bad; Skipped is what could not be found out.
const (
	OK      Result = "ok"
	Skipped Result = "skipped"
	Warning Result = "warning"
	Error   Result = "error"
)

// Check is one line of the report.
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Found  string `json:"found"`
	Why    string `json:"why"`  // it matters; empty when all is well
	Mend   string `json:"mend"` // the command or the change that mends it
}

// Report is all that was found.
type Report struct {
	Checks   []Check `json:"checks"`
	Errors   int     `json:"errors"`
	Warnings int     `json:"warnings"`
}

func newReport(checks []Check) Report {
	r := Report{Checks: checks}
	r.Errors, r.Warnings = r.count(Error), r.count(Warning)
	return r
}

func (r Report) count(which Result) (n int) {
	for _, c := range r.Checks {
		if c.Result == which {
			n++
		}
	}
	return n
}

// Healthy says that there is no error and, when strict, no warning either.
func (r Report) Healthy(strict bool) bool { return r.Errors == 0 && (!strict || r.Warnings == 0) }

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteText writes the report for people: a line a check and, where something is to be done, why
// and how below it. Commands are on lines of their own, whole, to be copied.
func (r Report) WriteText(w io.Writer) error {
	wide := 0
	for _, c := range r.Checks {
		wide = max(wide, len(c.Name))
	}
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-7s  %-*s  %s\n", c.Result, wide, c.Name, c.Found)
		below(&b, "why", wrap(c.Why))
		below(&b, "mend", c.Mend)
	}
	fmt.Fprintf(&b, "\n%s, %s, %d ok, %d skipped\n", plural(r.Errors, "error"), plural(r.Warnings, "warning"),
		r.count(OK), r.count(Skipped))
	_, err := io.WriteString(w, b.String())
	return err
}

func below(b *strings.Builder, label, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(b, "%-7s    %-4s  %s\n", "", label, line)
		label = ""
	}
}

// wrapCols is the width of a sentence on a page.
const wrapCols = 86

// wrap breaks a sentence into lines at its spaces.
func wrap(text string) string {
	var b strings.Builder
	col := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case col+1+len(word) > wrapCols:
			b.WriteByte('\n')
			col = 0
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
