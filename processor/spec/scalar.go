package spec

// ScalarKind is the type of a JSON scalar.
type ScalarKind uint8

// The kinds, in the order of groups.
const (
	ScalarNull ScalarKind = iota
	ScalarBool
	ScalarNumber
	ScalarString
)

// A Scalar is a JSON scalar. Two are equal when type and value are: 1 equals 1.0, and not "1".
type Scalar struct {
	Kind   ScalarKind
	Bool   bool
	Number Decimal
	Text   string
}

// append appends the encoding of a part of a group.
func (s Scalar) append(dst []byte) []byte {
	switch s.Kind {
	case ScalarNull:
		return append(dst, tagNull)
	case ScalarBool:
		return appendBool(dst, s.Bool)
	case ScalarNumber:
		n, ok := readNumber(s.Number.Append(nil))
		if !ok {
			panic("spec: " + s.Number.String() + " in a spec is beyond the limits of a number")
		}
		return appendNumber(dst, n)
	}
	return appendString(dst, []byte(s.Text))
}

// appendScalar appends the encoding of v as a part of a group. A reason says why it cannot be one.
func (s *jsonScan) appendScalar(dst []byte, v span) (_ []byte, reason string) {
	switch v.kind {
	case jsonNull:
		return append(dst, tagNull), ""
	case jsonFalse, jsonTrue:
		return appendBool(dst, v.kind == jsonTrue), ""
	case jsonNumber:
		n, ok := readNumber(v.in(s.data))
		if !ok {
			return dst, tooWide
		}
		return appendNumber(dst, n), ""
	case jsonString:
		text, reason := s.text(v)
		if reason != "" {
			return dst, reason
		}
		return appendString(dst, text), ""
	}
	return dst, wrongKind(v.kind, "a string, number, true, false or null")
}

func wrongKind(got jsonKind, want string) string {
	if got == jsonMissing {
		return "missing"
	}
	return got.String() + ", not " + want
}

// text is the text of a string. It is valid until the next call.
func (s *jsonScan) text(v span) (_ []byte, reason string) {
	if v.kind != jsonString {
		return nil, wrongKind(v.kind, "a string")
	}
	if !v.escaped {
		return v.in(s.data), ""
	}
	ok := false
	if s.name, ok = appendUnescaped(s.name[:0], v.in(s.data)); !ok {
		return nil, "a string with half a surrogate pair"
	}
	return s.name, ""
}
