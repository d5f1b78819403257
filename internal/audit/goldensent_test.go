package audit

import (
	"maps"
	"testing"
)

// Golden bytes of a repartition topic, as a node writes them: a partial of three words of lane 1,
// and the sources behind it.
const (
	goldenPartialKey = "01720000" + "40776f72640001"                  // ["word"]
	goldenPartial    = "0172" + "02" + "01" + "aef3f7a9fe67" + "0006" // generation 2, lane 1, a time, {"count":3}
	goldenSourcesKey = "017300"
	goldenSources    = "0173" + "02" + "01" + "0105" + "04ac02" // 1: 5, 4: 300
)

func TestGoldenSent(t *testing.T) {
	p := compiled(parsed(t, byWord))
	kind, group, err := parseSentKey(unhex(t, goldenPartialKey))
	if err != nil || kind != kindPartial || string(p.AppendGroupJSON(nil, group)) != `["word"]` {
		t.Errorf("the key of a partial: %c %x %v", kind, group, err)
	}
	generation, body, err := parsePartial(unhex(t, goldenPartial))
	if err != nil {
		t.Fatal(err)
	}
	values, err := p.DecodeValues(body, nil)
	if err != nil || generation != 2 || string(p.AppendValuesJSON(nil, values)) != `{"count":3}` {
		t.Errorf("a partial of generation %d: %v %v", generation, values, err)
	}
	for text, want := range map[string]byte{goldenSourcesKey: kindSources, goldenBarrier: kindBarrier} {
		if kind, group, err := parseSentKey(unhex(t, text)); err != nil || kind != want || group != nil {
			t.Errorf("the key %s: %c %x %v", text, kind, group, err)
		}
	}
	generation, next, err := parseSources(unhex(t, goldenSources))
	if err != nil || generation != 2 || !maps.Equal(next, map[int32]int64{1: 5, 4: 300}) {
		t.Errorf("sources of generation %d: %v %v", generation, next, err)
	}
	for _, value := range []string{"", "01", "0173", "017302", "01730201ff", "0173020104050105", "0173020105", "02730201"} {
		if _, next, err := parseSources(unhex(t, value)); err == nil {
			t.Errorf("%s is taken for %v", value, next)
		}
	}
}
