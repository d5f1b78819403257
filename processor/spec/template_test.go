package spec

import (
	"bytes"
	"strings"
	"testing"
)

func TestTemplatesParse(t *testing.T) {
	for _, name := range TemplateNames() {
		text, err := Template(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(text, name+".yaml")
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if two, err := s.TwoStages(4); err != nil || two {
			t.Errorf("%s needs a second stage: %v", name, err)
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if len([]rune(string(line))) > 110 {
				t.Errorf("%s:%d is a long line", name, i+1)
			}
		}
	}
	if s, err := Template("nothing"); err == nil || err.Error() != `no starter spec "nothing": there are wordcount, sum, json` {
		t.Errorf("%s, %v", s, err)
	}
}

// The wordcount starter is the example of the documentation; only lanes is left to the default, so
// that it runs on a topic of any size.
func TestTemplateWordcount(t *testing.T) {
	text, err := Template("wordcount")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(canonicalWordcount, "lanes: 4\n", "", 1)
	if got := string(mustParse(t, string(text)).YAML()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The event that a starter's comment shows counts as it says.
func TestTemplateExamples(t *testing.T) {
	for name, want := range map[string]string{
		"wordcount": `["user-1","spark"] 1; ["user-1","and"] 1; ["user-1","kafka"] 1`,
		"sum":       `["c-17","EUR"] 12.5 1 12.5`,
		"json":      `["7","free","go"] 1; ["7","free","kafka"] 1`,
	} {
		text, err := Template(name)
		if err != nil {
			t.Fatal(err)
		}
		p := Compile(mustParse(t, string(text)))
		ev := Event{Key: []byte("user-1"), Value: []byte("Spark and Kafka")}
		for _, line := range strings.Split(string(text), "\n") {
			if value, ok := strings.CutPrefix(line, "#   {"); ok {
				ev = Event{Value: []byte("{" + value)}
				ev.Key = []byte(map[string]string{"sum": "c-17", "json": "7"}[name])
			}
		}
		if got := show(p, ev); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
