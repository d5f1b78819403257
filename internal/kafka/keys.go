package kafka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// KeyFunc takes a line apart into a record's key and value; a nil key is null.
type KeyFunc func(line []byte) (key, value []byte, err error)

// KeyByDelimiter divides a line at the first delimiter. A line without one is an error, since a
// forgotten key would go to another partition without a word.
func KeyByDelimiter(delimiter string) KeyFunc {
	return func(line []byte) ([]byte, []byte, error) {
		key, value, ok := bytes.Cut(line, []byte(delimiter))
		if !ok {
			return nil, nil, fmt.Errorf("it has no %q between key and value", delimiter)
		}
		return key, value, nil
	}
}

// KeyByJSONPath takes the key from the JSON of a line, which stays the value as it is. The path is
// names joined by dots, a[0] an index, "a.b".c a quoted name. A string gives its text, a number or
// bool its JSON; null gives a null key.
func KeyByJSONPath(path string) (KeyFunc, error) {
	steps, err := parsePath(path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	return func(line []byte) ([]byte, []byte, error) {
		if !json.Valid(line) {
			return nil, nil, errors.New("it is not JSON")
		}
		at := json.RawMessage(line)
		for _, s := range steps {
			var ok bool
			if at, ok = s.into(at); !ok {
				return nil, nil, fmt.Errorf("it has no %s", path)
			}
		}
		key, err := keyOf(at)
		if err != nil {
			return nil, nil, fmt.Errorf("%s %w", path, err)
		}
		return key, line, nil
	}, nil
}

// keyOf is the key that a JSON scalar gives.
func keyOf(raw json.RawMessage) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '{', '[':
		return nil, errors.New("is an object or a list, not a key")
	case 'n':
		return nil, nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return []byte(s), err
	}
	return raw, nil
}

// pathStep is a name, or an index when name is nil.
type pathStep struct {
	name  *string
	index int
}

// into goes one step down valid JSON.
func (s pathStep) into(raw json.RawMessage) (json.RawMessage, bool) {
	if s.name != nil {
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) != nil {
			return nil, false
		}
		v, ok := object[*s.name]
		return v, ok
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || s.index >= len(list) {
		return nil, false
	}
	return list[s.index], true
}

func parsePath(path string) ([]pathStep, error) {
	var steps []pathStep
	rest := path
	for first := true; first || rest != ""; first = false {
		step, after, err := nextStep(rest, first)
		if err != nil {
			return nil, err
		}
		steps, rest = append(steps, step), after
	}
	return steps, nil
}

// nextStep takes one step off a path. Each but the first name stands after a dot.
func nextStep(rest string, first bool) (pathStep, string, error) {
	if strings.HasPrefix(rest, "[") {
		digits, after, ok := strings.Cut(rest[1:], "]")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 0 {
			return pathStep{}, "", errors.New("an index is a number in brackets, as in a[0]")
		}
		return pathStep{index: n}, after, nil
	}
	if !first {
		if !strings.HasPrefix(rest, ".") {
			return pathStep{}, "", errors.New("names are joined by dots")
		}
		rest = rest[1:]
	}
	if strings.HasPrefix(rest, `"`) {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return pathStep{}, "", errors.New("a quoted name does not end")
		}
		name, err := strconv.Unquote(quoted)
		return pathStep{name: &name}, rest[len(quoted):], err
	}
	end := strings.IndexAny(rest, `.["`)
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return pathStep{}, "", errors.New("a name is missing")
	}
	name := rest[:end]
	return pathStep{name: &name}, rest[end:], nil
}
