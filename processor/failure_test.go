package processor

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// What tally writes of its own accord is told from what events make, by topic and kind: a key of an
// output or a dead letter is the user's, whatever its bytes are.
func TestFaultless(t *testing.T) {
	s, err := spec.Parse([]byte("app: wc\ninput: {topic: input}\nsplit: words\ngroup: [item]\noutput: {topic: output}\n"), "wc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{
		Spec: s, Program: spec.Compile(s), Partitions: 1, Changelog: "wc.changelog", Dead: "wc.dead",
		Repartition: "wc.repartition", Repartitions: 1,
	}, nil)
	for _, c := range []struct {
		topic string
		kind  state.Kind
		err   error
		says  string // "": nil
	}{
		{"wc.changelog", state.KindPosition, kerr.MessageTooLarge, "wc.changelog refuses a position record|raise max.message.bytes of wc.changelog"},
		{"wc.changelog", state.KindBarrier, kerr.RecordListTooLarge, "wc.changelog refuses a barrier|raise segment.bytes of wc.changelog"},
		{"wc.changelog", state.KindPosition, kerr.InvalidRecord, "wc.changelog refuses a position record|INVALID_RECORD|brokers refuse it"},
		{"wc.repartition", state.KindSources, kerr.MessageTooLarge, "wc.repartition refuses a record of sources|raise max.message.bytes of wc.repartition"},
		{"wc.repartition", state.KindBarrier, kerr.MessageTooLarge, "wc.repartition refuses a barrier"},
		{"wc.changelog", state.KindPosition, kerr.InvalidTimestamp, "the clock"},
		{"wc.dead", 0, kerr.InvalidTimestamp, "the clock"},
		{"output", state.KindPosition, kerr.InvalidTimestamp, ""},
		{"wc.changelog", state.KindValue, kerr.MessageTooLarge, ""},
		{"wc.repartition", state.KindPartial, kerr.MessageTooLarge, ""},
		{"output", state.KindPosition, kerr.MessageTooLarge, ""},
		{"wc.dead", state.KindBarrier, kerr.MessageTooLarge, ""},
		{"wc.changelog", state.KindPosition, kerr.TopicAuthorizationFailed, ""},
	} {
		err := l.Faultless(&txn.ProduceError{Topic: c.topic, Kind: c.kind, Err: c.err})
		if (err == nil) != (c.says == "") || err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s, kind %q, %v: %v", c.topic, c.kind, c.err, err)
			continue
		}
		for _, part := range strings.Split(c.says, "|") {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%s, kind %q: it does not say %q: %v", c.topic, c.kind, part, err)
			}
		}
	}
	if err := l.Faultless(errors.New("the connection was lost")); err != nil {
		t.Error(err)
	}
}

// In a lane of several partitions the halves do not grow by what comes of others, before what was
// refused has been tried again.
func TestHalvingWaitsForTheRefused(t *testing.T) {
	one, other := state.Task{Partition: 1}, state.Task{Partition: 2}
	batchOf := func(last map[state.Task]int64, events int) *batch {
		b := &batch{tasks: map[state.Task]*taskDelta{}, events: events}
		for task, at := range last {
			b.tasks[task] = &taskDelta{lastEvent: at}
		}
		return b
	}
	refused := errors.New("refused")
	var h halving
	if err := h.failed(batchOf(map[state.Task]int64{one: 3, other: 3}, 8), refused); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	h.succeeded(batchOf(map[state.Task]int64{other: 7}, 4), 100)
	if h.events != 4 {
		t.Errorf("with the refused event still to come the next batch has %d events", h.events)
	}
	h.succeeded(batchOf(map[state.Task]int64{one: 3}, 4), 100)
	if h.events != 8 {
		t.Errorf("behind the refused events the next batch has %d", h.events)
	}
	_ = h.failed(batchOf(map[state.Task]int64{one: 5, other: 9}, 8), refused)
	_ = h.failed(batchOf(map[state.Task]int64{one: 4}, 1), refused) // narrower: other's are no matter any more
	h.succeeded(batchOf(map[state.Task]int64{one: 4}, 1), 100)
	if h.events != 2 {
		t.Errorf("behind the one refused event the next batch has %d", h.events)
	}
}
