package spec

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ParseGroupJSON encodes a group given as a JSON array of all its parts.
func (p *Program) ParseGroupJSON(b []byte) ([]byte, error) {
	group, n, err := p.parseParts(b)
	if err == nil && n < len(p.spec.Group) {
		err = fmt.Errorf("%d of %d parts are given: the group is %s", n, len(p.spec.Group), p.grouping())
	}
	if err != nil {
		return nil, err
	}
	return group, nil
}

// ParsePrefixJSON encodes the first parts of a group, given as a JSON array: a prefix of the
// encoding of each group that begins with them, and of no other group. [] is the prefix of all
// groups.
func (p *Program) ParsePrefixJSON(b []byte) ([]byte, error) {
	group, _, err := p.parseParts(b)
	return group, err
}

// grouping is the group's parts for a user, such as [key, item].
func (p *Program) grouping() string {
	names := make([]string, len(p.spec.Group))
	for i, def := range p.spec.Group {
		names[i] = def.Name()
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func (p *Program) parseParts(b []byte) (group []byte, n int, err error) {
	var s jsonScan
	root, reason := s.scan(b, &pathTrie{})
	if reason != "" {
		return nil, 0, fmt.Errorf("the group: %s", reason)
	}
	if root.kind != jsonArray {
		return nil, 0, fmt.Errorf("the group is %s, not an array of the parts %s", root.kind, p.grouping())
	}
	group = []byte{}
	for v, i, ok := s.next(root.start + 1); ok; v, i, ok = s.next(i) {
		if n == len(p.spec.Group) {
			return nil, 0, fmt.Errorf("more parts than the group has: it is %s", p.grouping())
		}
		def := p.spec.Group[n]
		n++
		if group, err = p.appendGiven(group, &s, v, def); err != nil {
			return nil, 0, fmt.Errorf("part %d (%s): %w", n, def.Name(), err)
		}
	}
	if len(group) > MaxGroupBytes {
		return nil, 0, fmt.Errorf("a group of more than %d bytes", MaxGroupBytes)
	}
	return group, n, nil
}

// appendGiven encodes one part that a user gave.
func (p *Program) appendGiven(dst []byte, s *jsonScan, v span, def Part) ([]byte, error) {
	start, reason := len(dst), ""
	if v.kind == jsonObject {
		text, err := parseBase64(v.in(s.data))
		if err != nil {
			return nil, err
		}
		dst = appendString(dst, text)
	} else if dst, reason = s.appendScalar(dst, v); reason != "" {
		return nil, errors.New(reason)
	}
	given, _, err := nextPart(dst[start:])
	if err != nil {
		panic(fmt.Sprintf("spec: an encoded part cannot be decoded: %x", dst[start:]))
	}
	return dst, p.checkPart(def, given)
}

// parseBase64 reads {"b64":"..."}.
func parseBase64(b []byte) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(b, &object); err != nil {
		return nil, err
	}
	text, ok := object["b64"].(string)
	if !ok || len(object) != 1 {
		return nil, errors.New(`an object other than {"b64":"..."}`)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("b64: %w", err)
	}
	return raw, nil
}

// checkPart refuses a part that no event can have, such as a number as a key.
func (p *Program) checkPart(def Part, v part) error {
	switch {
	case def.Kind == PartPartition:
		if v.kind != ScalarNumber || v.num.neg || v.num.exp < 0 || v.num.decimal().Cmp(DecimalOf(1<<31-1)) > 0 {
			return errors.New("not the number of a partition")
		}
	case p.anyScalar(def):
	case v.kind == ScalarString:
	case v.kind == ScalarNull && def.Kind == PartKey:
	case v.kind == ScalarNull && p.spec.Split.Kind == SplitNone:
	case def.Kind == PartKey:
		return errors.New(`neither a string, null nor {"b64":"..."}`)
	default:
		return errors.New(`neither a string nor {"b64":"..."}`)
	}
	return nil
}

// anyScalar reports whether the part can be a JSON scalar of any type.
func (p *Program) anyScalar(def Part) bool {
	if def.Kind != PartItem {
		return def.Kind == PartPath
	}
	return p.spec.Split.Kind == SplitEach || p.spec.Split.Kind == SplitNone && p.json
}
