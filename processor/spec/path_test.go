package spec

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePath(t *testing.T) {
	name := func(s string) pathStep { return pathStep{name: s, index: -1} }
	index := func(i int) pathStep { return pathStep{index: i} }
	for _, c := range []struct {
		text, canonical string
		steps           []pathStep
	}{
		{"a", "a", []pathStep{name("a")}},
		{"user.id", "user.id", []pathStep{name("user"), name("id")}},
		{"a[0]", "a[0]", []pathStep{name("a"), index(0)}},
		{"a[0][12].b", "a[0][12].b", []pathStep{name("a"), index(0), index(12), name("b")}},
		{"a.0", "a.0", []pathStep{name("a"), name("0")}},
		{`"a.b".c`, `"a.b".c`, []pathStep{name("a.b"), name("c")}},
		{`"a"."b"[1]`, `a.b[1]`, []pathStep{name("a"), name("b"), index(1)}},
		{`"\"\\".""`, `"\"\\".""`, []pathStep{name(`"\`), name("")}},
		{"größe.@type-1$", "größe.@type-1$", []pathStep{name("größe"), name("@type-1$")}},
		{"a.*.#", "a.*.#", []pathStep{name("a"), name("*"), name("#")}},
	} {
		p, err := ParsePath(c.text)
		if err != nil || !reflect.DeepEqual(p.steps, c.steps) || p.String() != c.canonical {
			t.Errorf("%s: %v, %q, %v", c.text, p.steps, p.String(), err)
		}
	}
}

func TestParsePathRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "a name is missing at the end",
		".a":                           `a name is missing before ".a"`,
		"a.":                           "a name is missing at the end",
		"a..b":                         `a name is missing before ".b"`,
		"[0]":                          `a name is missing before "[0]"`,
		"a b":                          "' ' where a dot or [ should be",
		`a"b"`:                         "'\"' where a dot or [ should be",
		"a]":                           "']' where a dot or [ should be",
		"a[0]b":                        "'b' where a dot or [ should be",
		"a[":                           "[ without ]",
		"a[]":                          "[] is not an index (0 to 1048575)",
		"a[-1]":                        "[-1] is not an index (0 to 1048575)",
		"a[+1]":                        "[+1] is not an index (0 to 1048575)",
		"a[01]":                        "[01] is not an index (0 to 1048575)",
		"a[1048576]":                   "[1048576] is not an index (0 to 1048575)",
		`"a`:                           `the quoted name "a has no end`,
		`"a\n"`:                        `a backslash stands only before " and \ in a quoted name`,
		`"a\`:                          `a backslash stands only before " and \ in a quoted name`,
		"a\xff":                        "not UTF-8",
		strings.Repeat("a.", 32) + "a": "more than 32 names and indexes",
		strings.Repeat("a", 1025):      "longer than 1024 bytes",
	} {
		if p, err := ParsePath(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v; want %s", text, p.steps, err, want)
		}
	}
}

func drawPath(t *rapid.T) Path {
	steps := []pathStep{{name: rapid.String().Draw(t, "name"), index: -1}}
	for range rapid.IntRange(0, 6).Draw(t, "more") {
		if rapid.Bool().Draw(t, "named") {
			steps = append(steps, pathStep{name: rapid.StringN(0, 5, 20).Draw(t, "name"), index: -1})
		} else {
			steps = append(steps, pathStep{index: rapid.IntRange(0, MaxPathIndex).Draw(t, "index")})
		}
	}
	return Path{steps: steps}
}

func TestPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPath(t)
		if len(p.String()) > MaxPathBytes {
			t.Skip()
		}
		got, err := ParsePath(p.String())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("%q: %v, %v; want %v", p.String(), got.steps, err, p.steps)
		}
	})
}
