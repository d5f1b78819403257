package spec

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGroupFromArgs(t *testing.T) {
	words := "split: words\ngroup: [key, item]"
	path := "group: [key, {path: a, as: a}]"
	each := "split: {each: a}\ngroup: [item]"
	for _, c := range []struct {
		fields, args string // args are separated by |
		null         bool
		want         string
	}{
		{words, "user-1|spark", false, `["user-1","spark"]`},
		{words, "user-1", false, `["user-1"]`},
		{words, "", false, `[]`},
		{words, `7|"x"`, false, `["7","\"x\""]`},
		{words, "b64:/w==|b64:QQ==", false, `[{"b64":"/w=="},"A"]`},
		{words, "json:null|spark", false, `[null,"spark"]`},
		{"group: [key, item]", "k|json:null", false, `["k",null]`},
		{path, "json:null|json:null", false, `[null,null]`},
		// Text that stands in quotes is that text, unless scan would have put it there.
		{words, `"user-1"|"\"user-1\""`, false, `["\"user-1\"","\"user-1\""]`},
		{words, `"null"|"a\u001b"`, false, `["null","a\u001b"]`},
		{words, `"json:null"|"b64:QQ=="`, false, `["json:null","b64:QQ=="]`},
		{words, "\xff|a\"b", false, `[{"b64":"/w=="},"a\"b"]`},
		{words, "spark", true, `[null,"spark"]`},
		{"group: [item, key]", "spark", true, `["spark",null]`},
		{path, "7|7", false, `["7",7]`},
		{path, "k|true", false, `["k",true]`},
		{path, "k|null", false, `["k",null]`},
		{path, `k|"7"`, false, `["k","7"]`},
		{path, `k| 7`, false, `["k"," 7"]`},
		{path, `k|07`, false, `["k","07"]`},
		{path, `k|[1]`, false, `["k","[1]"]`},
		// No group holds such a number, but one may hold the string.
		{path, `k|12345678901234567890`, false, `["k","12345678901234567890"]`},
		{path, `k|b64:Nw==`, false, `["k","7"]`},
		{each, `1.50`, false, `[1.50]`},
		{"group: [partition, key]", "3|k", false, `[3,"k"]`},
		{"group: [partition, key]", "p3|k", false, `error: partition "p3": not the number of a partition`},
		{words, "a|b|c", false, `error: "c" is one PART too many: the group is [key, item]`},
		{words, "a|b", true, `error: "b" is one PART too many: the group is [key, item]`},
		{"group: [item, key]", "", true, `error: --null: the PARTs before the key are missing: the group is [item, key]`},
		{"group: [item]", "a", true, `error: --null: the group [item] has no key`},
		{words, "b64:?", false, `error: key "b64:?": illegal base64 data at input byte 0 (what follows b64: is base64)`},
	} {
		var args []string
		if c.args != "" {
			args = strings.Split(c.args, "|")
		}
		p := program(t, c.fields)
		got, err := p.GroupFromArgs(args, c.null)
		if err != nil {
			got = []byte("error: " + err.Error())
		} else if _, err := p.ParsePrefixJSON(got); err != nil {
			t.Errorf("%s %q: %s is refused: %v", c.fields, c.args, got, err)
		}
		if string(got) != c.want {
			t.Errorf("%s %q: %s, want %s", c.fields, c.args, got, c.want)
		}
	}
}

func TestGroupArgs(t *testing.T) {
	words := "split: words\ngroup: [key, item]"
	each := "split: {each: a}\ngroup: [key, item]"
	for _, c := range []struct{ fields, group, want string }{
		{words, `["user-1","größe"]`, `user-1|größe`},
		{words, `["7","007"]`, `7|007`},
		{words, `[null,"null"]`, `null|"null"`},
		{words, `["true","1.0"]`, `"true"|"1.0"`},
		{words, `["two words",""]`, `two words|""`},
		{words, `["\"x\"","a\u001b[2J"]`, `"\"x\""|"a\u001b[2J"`},
		{words, `["a\tb","a\u200bb"]`, `"a\u0009b"|"a\u200bb"`},
		{words, `["b64:AA","json:null"]`, `"b64:AA"|"json:null"`},
		{words, `[{"b64":"/w=="},"\udb40\udc41"]`, `b64:/w==|"\udb40\udc41"`},
		{each, `["7",7]`, `7|7`},
		{each, `["7","7"]`, `7|"7"`},
		{each, `["7","007"]`, `7|007`},
		{each, `["k",null]`, `k|null`},
		{each, `["k","null"]`, `k|"null"`},
		{"group: [partition, key]", `[3,"3"]`, `3|3`},
		{words, `{"not":"a group"}`, `{"not":"a group"}`},
		{words, `["k"]`, `["k"]`},
	} {
		if got := strings.Join(program(t, c.fields).GroupArgs([]byte(c.group)), "|"); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.fields, c.group, got, c.want)
		}
	}
}

// Every group can be asked for by what is shown of it; null of text is asked for by json:null.
func TestEveryShownGroupCanBeAskedFor(t *testing.T) {
	var programs []*Program
	for _, fields := range []string{
		"group: [key, item]", "split: words\ngroup: [key, item]", "group: [partition, key]",
		"group: [key, {path: a, as: a}, item]", "split: {each: a}\ngroup: [item, key, partition]",
	} {
		programs = append(programs, program(t, fields))
	}
	texts := []string{"", "null", "true", "7", "007", "-1.50", "1e99", "[1]", "{}", " 7", "7 ", `"`, `"x"`, `"null"`, `"\"x\""`, `"\ud800"`,
		"b64:", "b64:QQ==", "json:null", "json:7", "a\x00b", "a\x1b[2J", "\xff", "\u2028", "\U000e0041", `a\u0062`, `\`, "größe"}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(programs).Draw(t, "program")
		var tuple []Scalar
		for _, def := range p.spec.Group {
			v := drawScalar(t)
			if v.Kind == ScalarString && rapid.Bool().Draw(t, "odd") {
				v = str(rapid.SampledFrom(texts).Draw(t, "text"))
			}
			if def.Kind == PartPartition {
				v = Scalar{Kind: ScalarNumber, Number: DecimalOf(int64(rapid.Int32Min(0).Draw(t, "partition")))}
			}
			tuple = append(tuple, v)
		}
		group := encodeTuple(tuple)
		if p.CheckGroup(group) != nil {
			t.Skip() // no event can have it, such as a number as a key
		}
		shown := p.GroupArgs(p.AppendGroupJSON(nil, group))
		asked := slices.Clone(shown)
		for i, v := range tuple {
			if v.Kind == ScalarNull && !p.anyScalar(p.spec.Group[i]) {
				asked[i] = nullArg
			}
		}
		given, err := p.GroupFromArgs(asked, false)
		if err != nil {
			t.Fatalf("%q: %v", asked, err)
		}
		back, err := p.ParseGroupJSON(given)
		if err != nil || !bytes.Equal(back, group) {
			t.Fatalf("%s is shown as %q, which asks for %s, %v", p.AppendGroupJSON(nil, group), shown, given, err)
		}
	})
}
