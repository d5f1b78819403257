package spec

import (
	"fmt"
	"testing"
)

// Groups of changelogs that people have: a change here would count them in two places.
func TestPartitionNeverChanges(t *testing.T) {
	p := Compile(mustParse(t, "app: a\ninput: {topic: t}\ngroup: [item]\n"))
	var got []int32
	for _, text := range []string{`["spark"]`, `[""]`, `["kafka"]`, `["a"]`, `["b"]`, `[{"b64":"/w=="}]`} {
		group, err := p.ParseGroupJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, Partition(group, 7), Partition(group, 1024), Partition(group, 1))
	}
	if want := "[2 101 0 4 855 0 3 482 0 1 124 0 3 966 0 6 336 0]"; fmt.Sprint(got) != want {
		t.Errorf("got %v\nwant %s", got, want)
	}
}

// The partitions of few groups, whose bytes differ little, are even enough.
func TestPartitionSpreads(t *testing.T) {
	for _, n := range []int{2, 4, 7, 64} {
		counts := make([]int, n)
		for i := range 100 * n {
			counts[Partition(fmt.Appendf(nil, "\x40word-%d\x00\x01", i), n)]++
		}
		for q, c := range counts {
			if c < 50 || c > 150 {
				t.Errorf("partition %d of %d has %d of %d groups", q, n, c, 100*n)
			}
		}
	}
}
