package chaos

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
)

// testEmitEvery: with emit: every, each increment is one output record, in order, over kills too.
func testEmitEvery(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{emit: "every", lanes: 1})
	j.killUnderLoad(wordEvents(j.rand), 3)
}

// testSumsOfJSON: exact decimal sums and a maximum per key.
func testSumsOfJSON(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{amounts: true, lanes: 3})
	j.killUnderLoad(amountEvents(j.rand), 3)
}

// killUnderLoad kills a node a few times under load and verifies.
func (j *job) killUnderLoad(events func(int) *kgo.Record, kills int) {
	j.t.Helper()
	m := j.machine("node")
	load := j.produce(1000, events)
	for range kills {
		j.killAt(m, step.EndTxnSent, 10+j.rand.IntN(20))
		j.killAt(m, step.ProduceOutput, 100+j.rand.IntN(1000))
	}
	load.stop()
	p := m.start()
	j.verify(p)
	p.kill()
	j.verifyFromNothing(m)
}

// testStartLatest: an app that starts at the end counts nothing from before its first start, and
// all from then on. The start offsets are committed before the first poll: what comes while the
// node is dead right behind that commit is counted, what comes before it is not.
func testStartLatest(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{start: "latest", lanes: 1})
	m := j.machine("node")
	j.send(2000, wordEvents(j.rand))
	j.killAt(m, step.ProducePosition, 1)
	j.send(500, wordEvents(j.rand))
	starts, err := s.admin.EndOffsets(j.ctx, j.input(), false)
	must(t, err)
	j.killAt(m, step.Publish, 1)
	j.send(1000, wordEvents(j.rand))
	j.killAt(m, step.ProduceOutput, 50)
	load := j.produce(2000, wordEvents(j.rand))
	load.awaitMore(500)
	p := m.start()
	load.awaitMore(500)
	load.stop()
	j.verifyFrom(p, starts)
	for _, n := range j.notes() {
		if !n.Barrier && n.Start != starts[n.Partition] {
			t.Fatalf("a position record of partition %d says start %d, the topic ended at %d", n.Partition, n.Start, starts[n.Partition])
		}
	}
}

// testStopAtUnreadable: on_error: stop ends a lane right before the event, all before it counted;
// with another on_error the next start passes it.
func testStopAtUnreadable(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{onError: "stop"})
	m := j.machine("node")
	j.send(1000, cleanEvents(j.rand))
	bad := &kgo.Record{Key: []byte("user-bad"), Value: []byte("good words, then \xff")}
	j.send(1, func(int) *kgo.Record { return bad })
	j.send(1000, cleanEvents(j.rand))
	p := m.start()
	st := p.awaitStatus(30*time.Second, "one lane has stopped and the others have counted all", func(st api.AppStatus) string {
		for _, l := range st.Lanes {
			if l.Lane != int(bad.Partition) && (l.State != api.LaneRunning || l.Lag > 0) {
				return fmt.Sprintf("lane %d is %s, lag %d", l.Lane, l.State, l.Lag)
			}
			if l.Lane == int(bad.Partition) && l.State != api.LaneStopped {
				return "the lane of the unreadable event is " + l.State
			}
		}
		return ""
	})
	lane := st.Lanes[bad.Partition]
	where := fmt.Sprintf("%s/%d", j.input(), bad.Partition)
	if !strings.Contains(lane.Reason, fmt.Sprintf("%s offset %d", where, bad.Offset)) || lane.Position[where] != bad.Offset {
		t.Errorf("the stopped lane says %q and stands at %v; the event is at %d", lane.Reason, lane.Position, bad.Offset)
	}
	p.stop()
	j.spec.onError = "skip"
	j.writeSpec()
	p = m.start()
	j.verify(p)
	if st, err := p.status(); err != nil || st.Skipped != 1 {
		t.Errorf("%d events are skipped, want 1 (%v)", st.Skipped, err)
	}
}

// testRefusedRecords: the limit of the output topic is lowered while the node runs, so that it
// believes in the old one. An event whose output is above it is found by halving and becomes a
// dead letter; all others are counted, though whole batches are refused with it. Some events come
// from the future.
func testRefusedRecords(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: 1})
	giant := make([]byte, 6000) // of letters that no compression makes small
	for i := range giant {
		giant[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[j.rand.IntN(36)]
	}
	j.poison = func(rec *kgo.Record) bool { return bytes.Contains(rec.Value, giant) }
	m := j.machine("node")
	p := m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	j.alterTopic(j.output(), "max.message.bytes", "3000")
	events := wordEvents(j.rand)
	j.send(1500, func(i int) *kgo.Record {
		rec := events(i)
		switch {
		case i%500 == 77:
			rec.Value = append([]byte("some words before "), giant...)
		case i%100 == 9:
			rec.Timestamp = time.Now().Add(2 * time.Hour)
		}
		return rec
	})
	j.verify(p)
}
