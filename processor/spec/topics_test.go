package spec

import (
	"slices"
	"strings"
	"testing"
)

// The names are in people's Kafka: another one would be another topic, and none of them may be read
// or written by its own app.
func TestOwnTopics(t *testing.T) {
	own := OwnTopics("wc")
	if want := []string{"wc.dead", "wc.repartition", "wc.changelog"}; !slices.Equal(own, want) {
		t.Errorf("%v, not %v", own, want)
	}
	for _, name := range own {
		for _, text := range []string{
			"app: wc\ninput: {topic: " + name + "}\ngroup: [key]\n",
			"app: wc\ninput: {topic: in}\ngroup: [key]\noutput: {topic: " + name + "}\n",
		} {
			if _, err := Parse([]byte(text), "f"); err == nil || !strings.Contains(err.Error(), name+" is one of the app's own topics") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}
