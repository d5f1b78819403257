package spec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// inList is a spec with one condition for each list of values.
func inList(lists ...string) string {
	text := "app: a\ninput: {topic: t, format: json}\ngroup: [key]\nwhere:\n"
	for i, values := range lists {
		text += fmt.Sprintf("  - {path: p%d, in: [%s]}\n", i, values)
	}
	return text
}

// A spec within the limits whose stored text is not: a node that had taken it could not start from
// it again.
func TestSpecThatCouldNotBeReadAgain(t *testing.T) {
	thousand := strings.TrimSuffix(strings.Repeat("1e18, ", MaxInValues), ", ")
	var mails []string
	for i := range MaxInValues {
		mails = append(mails, fmt.Sprintf("someone.%04d@mail.example.org", i))
	}
	brackets := `"` + strings.Repeat(`\x5b`, maxOpenBrackets) + `"`
	for what, c := range map[string]struct{ text, want string }{
		"numbers":  {inList(thousand, thousand), " bytes, more than 32768"},
		"mails":    {inList(strings.Join(mails, ", ")), " bytes, more than 32768"},
		"brackets": {inList(brackets), "nested too deep"},
	} {
		if len(c.text) > MaxSpecBytes {
			t.Errorf("%s: %d bytes are refused for themselves", what, len(c.text))
		}
		s, err := Parse([]byte(c.text), "f.yaml")
		if s != nil || err == nil || !strings.HasPrefix(err.Error(), "f.yaml:1:1: the spec is stored with its numbers written out") ||
			!strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(mails[0]) != 29 {
		t.Errorf("%q has %d characters", mails[0], len(mails[0]))
	}
	mustParse(t, inList(thousand))
	mustParse(t, inList(strings.Join(mails[:900], ", ")))
}

// Whatever Parse accepts, it accepts as it is stored, and that is stored as it is.
func TestWhatIsAcceptedIsReadAgain(t *testing.T) {
	values := []string{"1e18", "-5e-18", "123456789012345678e18", "1.50", "a@b", "'#'", `"\x5b"`, `"\x7b\x7b"`, `"\t\u2028"`, "'\"'", "null", "word"}
	grown, sizes := values[:2], []int{1, 10, 300, 600, 900, MaxInValues}
	late, accepted := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		values, sizes, least := values, sizes, 1
		// Half of the specs are of what grows most as it is written out, so that even the few
		// tries of a short run meet the limit.
		if rapid.Bool().Draw(t, "grown") {
			values, sizes, least = grown, sizes[3:], 2
		}
		var lists []string
		for range rapid.IntRange(least, 3).Draw(t, "conditions") {
			value := rapid.SampledFrom(values).Draw(t, "value")
			n := rapid.SampledFrom(sizes).Draw(t, "values")
			lists = append(lists, strings.TrimSuffix(strings.Repeat(value+", ", n), ", "))
		}
		text := inList(lists...)
		s, err := Parse([]byte(text), "f.yaml")
		if err != nil {
			if strings.Contains(err.Error(), "is stored with") {
				late++
			}
			return
		}
		accepted++
		stored := s.YAML()
		again, err := Parse(stored, "stored")
		if err != nil {
			t.Fatalf("%d bytes were accepted, but not the %d that are stored: %v", len(text), len(stored), err)
		}
		if !bytes.Equal(again.YAML(), stored) {
			t.Fatalf("%s\nis stored again as\n%s", stored, again.YAML())
		}
	})
	if late == 0 || accepted == 0 {
		t.Errorf("%d refused for what would be stored, and %d accepted: the limits were not met", late, accepted)
	}
}
