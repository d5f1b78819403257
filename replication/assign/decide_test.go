package assign

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// A standby that follows is promoted above its share, but not far above it while another follows
// too, however late that one is.
func TestPromotionAboveTheShareIsBounded(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.start(ownership.Member{ID: id})
	}
	w.app("p", 42, 2)
	w.settle()
	w.catchUp()
	for ref := range w.s.Lanes() {
		w.setCopy("c", ref, Copy{Ready: true, Lag: 900_000})
	}
	w.kill("a")
	w.decide()
	owned, _ := w.loads()
	if owned["b"] != 27 || owned["c"] != 15 { // 21 and a quarter more, and the rest
		t.Errorf("b has %d lanes, c has %d", owned["b"], owned["c"])
	}
}

// No list of problems is endless, nor one of lanes.
func TestProblemsAreShown(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		id := fmt.Sprintf("n%02d", i)
		w.start(ownership.Member{ID: id})
		w.setBehind(id, 12*time.Second)
	}
	w.app("p", 60, 0)
	lines := Decide(w.input()).Problems
	if !strings.HasPrefix(lines[0], "the cluster's log has not reached node n00 for 12s") {
		t.Error(lines[0])
	}
	if len(lines) != 51 || lines[50] != "and 10 more" {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	for i := range 60 {
		w.setBehind(fmt.Sprintf("n%02d", i), 0)
	}
	w.settle()
	for i := range 59 {
		w.kill(fmt.Sprintf("n%02d", i))
	}
	w.decide()
	if d := Decide(w.input()); len(d.Ownerless) != 50 {
		t.Errorf("%d lanes without owner", len(d.Ownerless))
	}
}
