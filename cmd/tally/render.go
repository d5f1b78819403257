package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/tally-kafka/tally/internal/api"
)

// printJSON writes one line of JSON. Groups are canonical JSON, so nothing is escaped as for HTML.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table aligns columns that are separated by tabs.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// value is one of a group's values, by name.
type value struct{ name, text string }

// valueList takes an object of values apart and keeps its order.
func valueList(values json.RawMessage) []value {
	dec := json.NewDecoder(bytes.NewReader(values))
	dec.UseNumber()
	var list []value
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return list
		}
		var v any
		if dec.Decode(&v) != nil {
			return list
		}
		list = append(list, value{fmt.Sprint(name), fmt.Sprint(v)})
	}
	return list
}

// valuesText is just the value when there is one, else name=value for each.
func valuesText(values json.RawMessage) string {
	list := valueList(values)
	if len(list) == 1 {
		return list[0].text
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, v.name+"="+v.text)
	}
	return strings.Join(texts, " ")
}

// countRow is a row of a table: the parts, then the values.
func (a *asked) countRow(c api.Count) string {
	columns := a.program.GroupArgs(c.Group)
	for _, v := range valueList(c.Values) {
		columns = append(columns, v.text)
	}
	return strings.Join(columns, "\t")
}

func (a *asked) countHeader() string {
	return strings.ToUpper(strings.Join(append(a.partNames(), a.valueNames()...), "\t"))
}

// plain reports whether a text is visible, and nothing in it what a terminal obeys.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// shown is a text of a node's as a terminal may show it in a column: quoted where it is not plain.
func shown(s string) string {
	if plain(s) {
		return s
	}
	return strconv.Quote(s)
}

// shownLines is shown for a text that may have several lines.
func shownLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = shown(line)
	}
	return strings.Join(lines, "\n")
}
