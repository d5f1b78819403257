package assign

import (
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

// An event that waits for long is a problem, and no list of problems is endless.
func TestProblemsAreShown(t *testing.T) {
	w := newWorld(t)
	w.start(ownership.Member{ID: "a"})
	w.app("p", 60, 1)
	w.settle()
	h := w.health["a"]
	h.OldestWaiting = 12 * time.Second
	w.health["a"] = h
	lines := Decide(w.input()).Problems
	if lines[0] != "node a has had an event waiting for 12s" {
		t.Error(lines[0])
	}
	if len(lines) != 51 || lines[50] != "and 11 more" {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}
