package api

import "bytes"

// plainCount takes a line apart that is just as nodes write a count: the two fields, without
// blanks. The count's parts are parts of the line. Any other line is left to encoding/json, which
// is ten times as slow: that matters to those who read millions of groups.
func plainCount(line []byte) (c Count, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"group":`))
	if !ok {
		return c, false
	}
	n := jsonEnd(rest, '[', ']')
	c.Group = rest[:n]
	if rest, ok = bytes.CutPrefix(rest[n:], []byte(`,"values":`)); !ok || n == 0 {
		return Count{}, false
	}
	n = jsonEnd(rest, '{', '}')
	c.Values = rest[:n]
	if n == 0 || string(rest[n:]) != "}" {
		return Count{}, false
	}
	return c, true
}

// jsonEnd is where the array or object ends that b begins with; 0 when it does not end in b.
func jsonEnd(b []byte, begins, ends byte) int {
	if len(b) == 0 || b[0] != begins {
		return 0
	}
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 && c == ends {
				return i + 1
			} else if depth == 0 {
				return 0
			}
		}
	}
	return 0
}
