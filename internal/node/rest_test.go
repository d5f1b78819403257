package node

import (
	"errors"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// TestRestIsNoSilence: the leader is not told of a node that rests that Kafka is away from it; but
// from a question on that has no answer the whole age counts.
func TestRestIsNoSilence(t *testing.T) {
	now := time.Now()
	s := seam.World()
	s.Now = func() time.Time { return now }
	n := &Node{cfg: Config{Seam: s}.withDefaults(), contactAt: now, resting: (restTimes - 1) * contactInterval}
	now = now.Add(restTimes * contactInterval)
	if age := n.kafkaAge(); age != contactInterval {
		t.Errorf("at the end of a rest the age is %v, not that of one interval", age)
	}
	if restTimes*contactInterval >= contactTTL {
		t.Error("who rests does not count as an owner any more")
	}
	n.reached(errors.New("no answer"))
	if age := n.kafkaAge(); age != restTimes*contactInterval {
		t.Errorf("without an answer the age is %v", age)
	}
	n.reached(nil)
	if age := n.kafkaAge(); age != 0 {
		t.Errorf("after an answer the age is %v", age)
	}
}
