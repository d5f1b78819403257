package spec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func foldAll(p *Program, incs [][]Decimal) []Decimal {
	acc := slices.Clone(incs[0])
	for _, inc := range incs[1:] {
		p.Fold(acc, inc)
	}
	return acc
}

// However increments are ordered and combined, the values are the same bytes.
func TestFoldOrderDoesNotMatter(t *testing.T) {
	p := Compile(mustParse(t, everythingText))
	rapid.Check(t, func(t *rapid.T) {
		incs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []Decimal {
			n := drawDecimal(t)
			return []Decimal{DecimalOf(1), n, n, n}
		}), 1, 20).Draw(t, "increments")
		want := p.AppendValues(nil, foldAll(p, incs))

		shuffled := rapid.Permutation(incs).Draw(t, "shuffled")
		cut := rapid.IntRange(1, len(incs)).Draw(t, "cut")
		got := foldAll(p, shuffled[:cut])
		if cut < len(incs) { // two batches, combined
			p.Fold(got, foldAll(p, shuffled[cut:]))
		}
		if b := p.AppendValues(nil, got); string(b) != string(want) {
			t.Fatalf("%v and %x, want %x", got, b, want)
		}
	})
}

func TestFoldLeavesTheIncrement(t *testing.T) {
	p := Compile(mustParse(t, everythingText))
	inc := []Decimal{DecimalOf(1), num("1.5").Number, num("1.5").Number, num("1.5").Number}
	acc := []Decimal{DecimalOf(9), num("0.5").Number, num("7").Number, num("7").Number}
	p.Fold(acc, inc)
	if got := fmt.Sprint(acc); got != "[10 2 1.5 7]" {
		t.Errorf("folded: %s", got)
	}
	if got := fmt.Sprint(inc); got != "[1 1.5 1.5 1.5]" {
		t.Errorf("the increment became %s", got)
	}
}

func TestCompareIsLargerFirst(t *testing.T) {
	p := Compile(mustParse(t, wordcountText))
	list := [][]Decimal{{DecimalOf(3)}, {DecimalOf(12)}, {DecimalOf(-1)}, {num("99e18").Number}}
	slices.SortFunc(list, p.Compare)
	if got := fmt.Sprint(list); got != "[[99000000000000000000] [12] [3] [-1]]" {
		t.Error(got)
	}
}

func TestAppendOutput(t *testing.T) {
	for _, c := range []struct{ fields, group, want string }{
		{"group: [key, item]", `["user-1","spark"]`, `{"item":"spark","count":3}`},
		{"group: [key]", `["user-1"]`, `{"count":3}`},
		{"group: [partition, key]", `[7,null]`, `{"partition":7,"count":3}`},
		{"group: [{path: a, as: größe}, key]", `["<&>\"\\\u2028\u0001",null]`, "{\"größe\":\"<&>\\\"\\\\\u2028\\u0001\",\"count\":3}"},
		{"group: [{path: a, as: a}]", `[1.50]`, `{"a":1.5,"count":3}`},
		{"group: [{path: a, as: a}]", `[true]`, `{"a":true,"count":3}`},
		{"group: [{path: a, as: a}]", `[null]`, `{"a":null,"count":3}`},
		{"group: [item]", `[{"b64":"/w=="}]`, `{"item":{"b64":"/w=="},"count":3}`},
	} {
		p := program(t, c.fields)
		group, err := p.ParseGroupJSON([]byte(c.group))
		if err != nil {
			t.Fatalf("%s %s: %v", c.fields, c.group, err)
		}
		if got := p.AppendOutput([]byte("x"), group, []Decimal{DecimalOf(3)}); string(got) != "x"+c.want {
			t.Errorf("%s %s: %s, want %s", c.fields, c.group, got, c.want)
		}
	}
	p := Compile(mustParse(t, everythingText))
	v := []Decimal{DecimalOf(2), num("1.50").Number, num("-1e18").Number, num("0.05").Number}
	want := `{"n":2,"total":1.5,"low":-1000000000000000000,"high":0.05}`
	if got := p.AppendValuesJSON(nil, v); string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestMaxRecordSize(t *testing.T) {
	s := mustParse(t, everythingText)
	s.Group = []Part{{Kind: PartKey}, {PartPath, mustPath(t, "a"), "a"}, {PartPath, mustPath(t, "b"), strings.Repeat("b", MaxName)}}
	for len(s.Aggregates) < MaxAggregates {
		s.Aggregates = append(s.Aggregates, Aggregate{fmt.Sprint("sum", len(s.Aggregates)), Sum, mustPath(t, "a")})
	}
	p := Compile(s)
	huge := slices.Repeat([]Decimal{widestSum()}, MaxAggregates)
	check := func(key, a, b Scalar) {
		group := encodeTuple([]Scalar{key, a, b})
		output := len(p.AppendGroupJSON(nil, group)) + len(p.AppendOutput(nil, group, huge))
		changelog := len(group) + len(p.AppendValues(nil, huge))
		if got := p.MaxRecordSize(len(group)); got < output+200 || got < changelog+200 {
			t.Errorf("%d for %d and %d of %.40q", got, output, changelog, group)
		}
	}
	numbers := []string{"-999999999999999999e-18", "-1e-18", "-1e18", "999999999999999999e18", "0"}
	for _, text := range []string{"a", "\x00", "\x01", "\xff", "\""} {
		for _, n := range []int{0, 300, 9000} {
			long := str(strings.Repeat(text, n))
			for _, number := range numbers {
				check(long, num(number), num(number))
				check(Scalar{}, long, num(number))
				check(Scalar{}, long, long)
			}
		}
	}
}

func TestGroupJSONIsCanonical(t *testing.T) {
	p := program(t, "split: {each: e}\ngroup: [key, item, {path: a, as: a}, partition]")
	for in, want := range map[string]string{
		`["k","i","a",0]`:                            `["k","i","a",0]`,
		` [ null , 1.0 , 10e-1 , 2147483647 ] `:      `[null,1,1,2147483647]`,
		`["\u0041\/",true,null,3]`:                   `["A/",true,null,3]`,
		`[{"b64":"/w=="},{"b64":"QQ=="},-0,3.00]`:    `[{"b64":"/w=="},"A",0,3]`,
		`["\u0000",false,-12.50,100]`:                `["\u0000",false,-12.5,100]`,
		`["` + strings.Repeat("k", 999) + `",1,1,1]`: `["` + strings.Repeat("k", 999) + `",1,1,1]`,
	} {
		group, err := p.ParseGroupJSON([]byte(in))
		if err != nil {
			t.Errorf("%.40s: %v", in, err)
			continue
		}
		if got := p.AppendGroupJSON(nil, group); string(got) != want {
			t.Errorf("%.40s: %s, want %s", in, got, want)
		}
		if err := p.CheckGroup(group); err != nil {
			t.Errorf("%.40s: %v", in, err)
		}
	}
}

func TestGroupJSONRefusals(t *testing.T) {
	p := program(t, "split: {words: e}\ngroup: [key, item, {path: a, as: a}, partition]")
	for in, want := range map[string]string{
		``:                                       "the group: an empty value is not JSON",
		`["k"`:                                   "the group: broken JSON at byte 4",
		`"k"`:                                    "the group is a string, not an array of the parts [key, item, a, partition]",
		`[]`:                                     "0 of 4 parts are given: the group is [key, item, a, partition]",
		`["k","i"]`:                              "2 of 4 parts are given: the group is [key, item, a, partition]",
		`["k","i",1,2,3]`:                        "more parts than the group has: it is [key, item, a, partition]",
		`[1,"i",1,2]`:                            `part 1 (key): neither a string, null nor {"b64":"..."}`,
		`["k",1,1,2]`:                            `part 2 (item): neither a string nor {"b64":"..."}`,
		`["k",null,1,2]`:                         `part 2 (item): neither a string nor {"b64":"..."}`,
		`["k","i",[],2]`:                         "part 3 (a): an array, not a string, number, true, false or null",
		`["k","i",1e19,2]`:                       "part 3 (a): " + tooWide,
		`["k","i",{"b":1},2]`:                    `part 3 (a): an object other than {"b64":"..."}`,
		`["k","i",{"b64":"","c":1},2]`:           `part 3 (a): an object other than {"b64":"..."}`,
		`["k","i",{"b64":"?"},2]`:                "part 3 (a): b64: illegal base64 data at input byte 0",
		`["k","i",1,"2"]`:                        "part 4 (partition): not the number of a partition",
		`["k","i",1,-2]`:                         "part 4 (partition): not the number of a partition",
		`["k","i",1,0.5]`:                        "part 4 (partition): not the number of a partition",
		`["k","i",1,2147483648]`:                 "part 4 (partition): not the number of a partition",
		`["\ud800","i",1,2]`:                     "part 1 (key): a string with half a surrogate pair",
		`["` + strings.Repeat("k", 33000) + `"]`: "a group of more than 32768 bytes",
	} {
		if got, err := p.ParseGroupJSON([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("%.60s: %x, %v; want %s", in, got, err, want)
		}
	}
}

func TestPrefixJSON(t *testing.T) {
	p := program(t, "group: [key, {path: a, as: a}]")
	whole, err := p.ParseGroupJSON([]byte(`["k",1]`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]bool{`[]`: true, `["k"]`: true, `["k",1]`: true, `["k",12]`: false, `["kk"]`: false, `[""]`: false} {
		prefix, err := p.ParsePrefixJSON([]byte(in))
		if err != nil || strings.HasPrefix(string(whole), string(prefix)) != want {
			t.Errorf("%s: %x of %x, %v; want %v", in, prefix, whole, err, want)
		}
	}
}

func TestGroupKey(t *testing.T) {
	for _, c := range []struct {
		fields, group, key string
		null               bool
	}{
		{"group: [key, item]", `["k","i"]`, "k", false},
		{"group: [item, key]", `["i",""]`, "", false},
		{"group: [item, partition, key]", `["i",3,"a\u0000b"]`, "a\x00b", false},
		{"group: [item, key]", `["i",null]`, "", true},
		{"group: [item]", `["i"]`, "", true},
	} {
		p := program(t, c.fields)
		group, err := p.ParseGroupJSON([]byte(c.group))
		if err != nil {
			t.Fatal(err)
		}
		if key, null := p.GroupKey(group); string(key) != c.key || null != c.null {
			t.Errorf("%s: %q %v", c.group, key, null)
		}
	}
}

func TestCheckGroup(t *testing.T) {
	p := Compile(mustParse(t, wordcountText))
	for text, want := range map[string]string{
		string(encodeTuple([]Scalar{str("k"), str("i")})):           "",
		string(encodeTuple([]Scalar{{}, str("i")})):                 "",
		string(encodeTuple([]Scalar{str("k")})):                     "part 2 (item): not an encoded group",
		string(encodeTuple([]Scalar{num("1"), str("i")})):           `part 1 (key): neither a string, null nor {"b64":"..."}`,
		string(encodeTuple([]Scalar{str("k"), str("i"), str("i")})): "4 bytes after the last part: not an encoded group",
		"junk": "part 1 (key): not an encoded group",
	} {
		got := ""
		if err := p.CheckGroup([]byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%x: %s, want %s", text, got, want)
		}
	}
}

func drawName(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b-1", "true", "null", "1", "1e3", "größe", "x.y", "_", "no"}).Draw(t, "name")
}

// drawSpec draws a spec that Parse accepts.
func drawSpec(t *rapid.T) *Spec {
	s := &Spec{
		App:     rapid.StringMatching(`[a-z0-9-]{1,12}`).Draw(t, "app"),
		Input:   Input{"in", rapid.SampledFrom([]Start{StartEarliest, StartLatest}).Draw(t, "start"), FormatJSON},
		Split:   Split{Kind: SplitNone},
		Group:   []Part{{Kind: PartKey}},
		OnError: rapid.SampledFrom([]OnError{Dead, Skip, Stop}).Draw(t, "on_error"),
		Lanes:   rapid.IntRange(0, MaxLanes).Draw(t, "lanes"),
	}
	s.Input.Topic = rapid.StringMatching(`[a-zA-Z0-9_-]{1,12}`).Draw(t, "topic")
	s.Repartition.Mode = rapid.SampledFrom([]RepartitionMode{RepartitionAuto, RepartitionAlways, RepartitionNever}).Draw(t, "mode")
	if s.Repartition.Mode != RepartitionNever {
		s.Repartition.Partitions = rapid.IntRange(0, MaxRepartitions).Draw(t, "partitions")
	}
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		c := Condition{Path: drawPath(t), Not: rapid.Bool().Draw(t, "not")}
		for range rapid.IntRange(0, 4).Draw(t, "in") {
			v := drawScalar(t)
			v.Text = strings.ToValidUTF8(v.Text, "") + rapid.SampledFrom([]string{"", "1", "true", ": #", "\u2028\u0085"}).Draw(t, "more")
			if v.Kind != ScalarString {
				v.Text = ""
			}
			c.In = append(c.In, v)
		}
		s.Where = append(s.Where, c)
	}
	if rapid.Bool().Draw(t, "split") {
		s.Split = Split{rapid.SampledFrom([]SplitKind{SplitWords, SplitLines, SplitEach}).Draw(t, "kind"), drawPath(t)}
		s.Group = append(s.Group, Part{Kind: PartItem})
	}
	if rapid.Bool().Draw(t, "part") {
		s.Group = append(s.Group, Part{PartPath, drawPath(t), "part-" + drawName(t)})
	}
	names := rapid.SliceOfNDistinct(rapid.Custom(drawName), 1, 4, rapid.ID).Draw(t, "names")
	for _, name := range names {
		a := Aggregate{Name: name, Kind: rapid.SampledFrom([]AggregateKind{Count, Sum, Min, Max}).Draw(t, "aggregate")}
		if a.Kind != Count {
			a.Path = drawPath(t)
		}
		s.Aggregates = append(s.Aggregates, a)
	}
	if rapid.Bool().Draw(t, "output") {
		s.Output = &Output{
			s.Input.Topic + ".out", rapid.SampledFrom([]Emit{EmitLatest, EmitEvery}).Draw(t, "emit"),
			rapid.SampledFrom([]OutputKey{KeyEvent, KeyGroup}).Draw(t, "key"),
		}
	}
	return s
}

func TestYAMLRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		got, err := Parse(s.YAML(), "canonical")
		if err != nil {
			if strings.Contains(err.Error(), "longer than") || strings.Contains(err.Error(), "own topics") {
				t.Skip()
			}
			t.Fatalf("%v\n%s", err, s.YAML())
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("%s\nbecame\n%s", s.YAML(), got.YAML())
		}
		if string(got.YAML()) != string(s.YAML()) || got.Fingerprint() != s.Fingerprint() {
			t.Fatalf("not canonical:\n%s", s.YAML())
		}
	})
}
