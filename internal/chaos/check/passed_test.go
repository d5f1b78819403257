package check

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TestPassedMarkers: who answers may name a position behind barriers and markers long before a
// transaction commits it: nothing is counted between the two.
func TestPassedMarkers(t *testing.T) {
	f := newFake()
	two := f.apps["two"]
	for lane := range 2 {
		f.apps["one"].acquire(lane, 1, "a")
		two.acquire(lane, 1, "a")
	}
	for p := range int32(2) {
		get := history.Read{Reader: "r", Ask: "get", App: "two", Node: "a", Asked: `["nobody"]`, Began: f.now()}
		part := two.partOf(p, "a", roleOwner, 1)
		part.Position[fmt.Sprintf("two.repartition/%d", p)] = int64(len(f.mem[Place{"two.repartition", p}]))
		get.Parts, get.Ended = []history.Part{part}, f.now()
		f.add(history.Event{Read: &get})
	}
	f.clock += 10e9
	for lane := range 2 {
		two.countPartials(lane, 1, "a") // of which there are none
	}
	two.send(0, "", "red blue")
	two.sendOn(0, 1, "a", 9)
	for lane := range 2 {
		two.countPartials(lane, 1, "a")
	}
	f.finish()
	rep, err := f.judge()
	if err != nil {
		t.Fatal(err)
	}
	if rep.Failed() {
		var text strings.Builder
		_ = rep.WriteText(&text)
		t.Error(text.String())
	}
}
