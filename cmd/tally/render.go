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

// groupColumns are the parts of a group for people: strings as they are; null, numbers and what
// would look like them quoted as in JSON.
func groupColumns(group json.RawMessage) []string {
	var parts []json.RawMessage
	if json.Unmarshal(group, &parts) != nil {
		return []string{string(group)}
	}
	columns := make([]string, len(parts))
	for i, p := range parts {
		columns[i] = scalarText(p)
	}
	return columns
}

func scalarText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && raw[0] == '"' {
		if plain(s) {
			return s
		}
		return strconv.Quote(s)
	}
	var bytesPart struct{ B64 *string }
	if json.Unmarshal(raw, &bytesPart) == nil && bytesPart.B64 != nil {
		return "b64:" + *bytesPart.B64
	}
	return string(raw)
}

// plain says whether a string can be shown as it is: visible, nothing that a terminal obeys, and
// not to be mistaken for another JSON scalar.
func plain(s string) bool {
	if s == "" || json.Valid([]byte(s)) && !isDigits(s) {
		return false
	}
	if !utf8.ValidString(s) || strings.HasPrefix(s, "b64:") {
		return false
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}

func isDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}

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
func countRow(c api.Count) string {
	columns := groupColumns(c.Group)
	for _, v := range valueList(c.Values) {
		columns = append(columns, v.text)
	}
	return strings.Join(columns, "\t")
}

func countHeader(a *asked) string {
	names := append(a.partNames(), a.valueNames()...)
	for i, n := range names {
		if !plain(n) {
			n = strconv.Quote(n)
		}
		names[i] = strings.ToUpper(n)
	}
	return strings.Join(names, "\t")
}
