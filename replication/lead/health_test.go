package lead

import (
	"math"
	"testing"
	"time"

	"github.com/tally-kafka/tally/replication/session"
)

// A member that has never reached Kafka says so by the largest age that there is: it must not look
// as one that reached it just now.
func TestHealthOfAMemberWithoutKafka(t *testing.T) {
	for _, ms := range []int64{math.MaxInt64 / 1_000_000, math.MaxInt64, time.Hour.Milliseconds()} {
		v := session.View{Sessions: map[string]session.Session{
			"c": {Live: true, Age: 200 * time.Millisecond, Report: session.Report{KafkaAgeMs: ms}},
		}}
		if age := health(v)["c"].KafkaAge; age < session.KafkaAgeMax {
			t.Errorf("%d ms: the leader takes it for %v", ms, age)
		}
	}
}

// What a member that has fallen silent does not say is no sign that it lacks Kafka: its lanes would
// be handed over by it, and it may be dead.
func TestHealthOfASilentMember(t *testing.T) {
	v := session.View{Sessions: map[string]session.Session{
		"c": {Live: true, Age: 1200 * time.Millisecond, Report: session.Report{KafkaAgeMs: 400}},
	}}
	if age := health(v)["c"].KafkaAge; age != 400*time.Millisecond {
		t.Errorf("it has not reached Kafka for %v", age)
	}
}
