package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// decoder makes a record's key and value readable, by their topic's format; what is not of the
// format is quoted.
type decoder func(rec *Record) (key, value string)

func decodersOf(run history.Run) map[string]decoder {
	all := map[string]decoder{OffsetsTopic: decodeOffset}
	for _, a := range run.Apps {
		var names []string
		if s, err := parseSpec(a.Spec); err == nil {
			names = s.names
		}
		all[a.Changelog] = func(rec *Record) (key, value string) { return decodeOwn(rec, names) }
		if a.Repartition != "" {
			all[a.Repartition] = all[a.Changelog]
		}
	}
	return all
}

func plain(rec *Record) (key, value string) { return quoted(rec.Key), quoted(rec.Value) }

// quoted is the text itself where it is one, and else a Go string.
func quoted(b []byte) string {
	switch {
	case b == nil:
		return "(null)"
	case strconv.Quote(string(b)) == `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(b))+`"`:
		return string(b)
	}
	return strconv.Quote(string(b))
}

// decodeOwn reads what tally writes to a changelog or a repartition topic.
func decodeOwn(rec *Record, names []string) (key, value string) {
	k, err := parseKey(rec.Key)
	if err != nil {
		key, value = plain(rec)
		return key, value + " (the key is not of the format)"
	}
	key = fmt.Sprintf("%s of stage %d", map[byte]string{kindValue: "value", kindPosition: "position", kindBarrier: "barrier",
		kindPartial: "partial", kindSources: "sources"}[k.kind], k.stage)
	if k.group != nil {
		key += " " + show(string(k.group))
	}
	if rec.Value == nil {
		return key, "(null)"
	}
	if value, err = decodeValue(k.kind, rec.Value, names); err != nil {
		value = fmt.Sprintf("%s (%v)", quoted(rec.Value), err)
	}
	return key, value
}

func decodeValue(kind byte, b []byte, names []string) (string, error) {
	switch kind {
	case kindPartial:
		lane, values, err := parsePartial(b)
		if err != nil {
			return "", err
		}
		text, err := namedValues(values, names)
		return fmt.Sprintf("of lane %d: %s", lane, text), err
	case kindSources:
		lane, next, err := parseSources(b)
		var parts []string
		for _, p := range slices.Sorted(maps.Keys(next)) {
			parts = append(parts, fmt.Sprintf("partition %d up to %d", p, next[p]))
		}
		return fmt.Sprintf("of lane %d: %s", lane, strings.Join(parts, ", ")), err
	}
	b, err := valueOf(b, kind)
	if err != nil || kind != kindValue {
		if err == nil && len(b) > 0 && !json.Valid(b) {
			err = errFormat
		}
		return string(b), err
	}
	return namedValues(b, names)
}

// namedValues are values with the names of the spec's aggregates.
func namedValues(b []byte, names []string) (string, error) {
	values, err := decodeDecimals(b)
	if err != nil {
		return "", err
	}
	var all []string
	for i, v := range values {
		name := "?"
		if i < len(names) {
			name = names[i]
		}
		all = append(all, name+"="+v.String())
	}
	return strings.Join(all, " "), nil
}

// decodeOffset reads a commit of a consumer group's offset.
func decodeOffset(rec *Record) (key, value string) {
	o, ok, err := parseOffset(*rec)
	switch {
	case err != nil || !ok:
		return plain(rec)
	case o.at < 0:
		return fmt.Sprintf("offset of %s at %s", o.group, o.place), "(null)"
	}
	return fmt.Sprintf("offset of %s at %s", o.group, o.place), strconv.FormatInt(o.at, 10)
}
