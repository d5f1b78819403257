package processor

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

const linesText = "app: b\ninput: {topic: input, format: json}\ngroup: [key]\naggregates: {n: count}\noutput: {topic: output}\n"

func linesLane(t *testing.T) (*Lane, *state.Store) {
	t.Helper()
	sp, err := spec.Parse([]byte(linesText), "test")
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open("lane", state.Identity{App: "b", AppID: "app", Generation: 1}, state.Options{Seam: seam.World(), FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Abandon() })
	l := New(Config{Spec: sp, Program: spec.Compile(sp), Partitions: 1, Changelog: "changelog", Dead: "dead", Seam: seam.World()}, []state.Task{{}})
	return l, store
}

// A store that has counted a partition which this process does not know is refused: it is of a node
// that was started after the topic grew.
func TestBeginRefusesAnUnknownTask(t *testing.T) {
	l, store := linesLane(t)
	task := state.Task{Partition: 99}
	rec := state.PositionRecord{AppID: "app", Generation: 1, Task: task, AtMs: time.Now().UnixMilli()}
	if err := store.Publish([]state.Position{{Changelog: 1, Record: rec}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context(), &nullSession{}, store, nil); err == nil {
		t.Error("it runs")
	}
}

// A dead letter has its own copy of the event, and weighs what is in it.
func TestDeadLettersAreCopies(t *testing.T) {
	l, store := linesLane(t)
	if err := l.begin(&nullSession{}, store); err != nil {
		t.Fatal(err)
	}
	header := bytes.Repeat([]byte("h"), 1<<20)
	value := []byte("not json")
	rec := &kgo.Record{Topic: "input", Value: value, Headers: []kgo.RecordHeader{{Key: "trace", Value: header}}}
	l.pending = append(l.pending, rec)
	if err := l.foldPending(); err != nil {
		t.Fatal(err)
	}
	if l.filling.bytes < 1<<20 {
		t.Errorf("the batch weighs %d bytes", l.filling.bytes)
	}
	kept := l.filling.dead[0].rec
	copy(value, "xxxxxxxx")
	copy(header, "xxxxxxxx")
	if string(kept.Value) != "not json" || kept.Key != nil || kept.Headers[0].Value[0] != 'h' {
		t.Errorf("the dead letter shares the event's memory: %q %q", kept.Value, kept.Headers[0].Value[:8])
	}
}

// A clock that Kafka refuses is no event's fault.
func TestRefusedClock(t *testing.T) {
	l, store := linesLane(t)
	if err := l.begin(&nullSession{}, store); err != nil {
		t.Fatal(err)
	}
	l.pending = append(l.pending, &kgo.Record{Topic: "input", Key: []byte("a"), Value: []byte("{}")})
	if err := l.foldPending(); err != nil {
		t.Fatal(err)
	}
	refused := &txn.ProduceError{Topic: "changelog", Err: kerr.InvalidTimestamp}
	if err := l.onEnding(ending{batch: l.filling, err: refused}); !errors.Is(err, kerr.InvalidTimestamp) {
		t.Errorf("it ends with %v", err)
	}
	if len(l.halving.verdicts) > 0 {
		t.Errorf("the event was found guilty: %+v", l.halving.verdicts)
	}
	refused.Topic = "output"
	for want := range 2 { // once may be the batch's fault
		_ = l.onEnding(ending{batch: l.filling, err: refused})
		if got := len(l.halving.verdicts); got != want {
			t.Errorf("%d verdicts after %d refusals of an output's time, not %d", got, want+1, want)
		}
	}
}

// While a Run begins and forgets what was folded and not committed, nothing above what is committed
// is shown as read.
func TestPositionWhileARunBegins(t *testing.T) {
	v := &taskView{}
	v.committed.Store(50)
	v.lastEvent.Store(-1)
	v.read.Store(50)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200_000 {
			v.folded(100)
			v.begin(50)
		}
	}()
	for {
		if at := v.position(); at > 50 {
			t.Fatalf("position %d", at)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// What the lane has been told of on its way, by who knows where a log ends, is not taken back when
// it comes to the records before it.
func TestPassDoesNotGoBack(t *testing.T) {
	l, store := linesLane(t)
	rec := state.PositionRecord{AppID: "app", Generation: 1, Input: 10}
	if err := store.Publish([]state.Position{{Changelog: 1, Record: rec}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.begin(&nullSession{}, store); err != nil {
		t.Fatal(err)
	}
	task := state.Task{}
	l.Pass(task, 10, 13)
	control := &kgo.Record{Topic: "input", Offset: 10}
	l.goTo(control).pass(control)
	if at := l.Position(task); at != 13 {
		t.Errorf("the read position is %d, behind 13", at)
	}
}

// What only markers of transactions have moved is committed a while later, or when the lane drains:
// behind a position that stays before them the input may seem to have lost events.
func TestPassedPositionsAreCommitted(t *testing.T) {
	l, store := linesLane(t)
	rec := state.PositionRecord{AppID: "app", Generation: 1, Input: 10, AtMs: time.Now().UnixMilli()}
	if err := store.Publish([]state.Position{{Changelog: 1, Record: rec}}, nil); err != nil {
		t.Fatal(err)
	}
	for name, draining := range map[string]bool{"at rest": false, "draining": true} {
		if err := l.begin(&nullSession{}, store); err != nil {
			t.Fatal(err)
		}
		l.draining = draining
		at := l.lastEnd.Add(passAfter)
		if draining {
			at = l.lastEnd
		}
		if l.takeDue(at.Add(time.Second)) != nil {
			t.Errorf("%s: there is a commit of nothing", name)
		}
		control := &kgo.Record{Topic: "input", Offset: 10}
		l.goTo(control).pass(control)
		if wake, ok := l.nextWake(); !ok || !wake.Equal(at) {
			t.Errorf("%s: it wakes %v after the last commit", name, wake.Sub(l.lastEnd))
		}
		if !draining && (l.takeDue(at.Add(-time.Millisecond)) != nil || !l.filling.empty()) {
			t.Errorf("%s: it commits early", name)
		}
		if b := l.takeDue(at.Add(time.Second)); b == nil {
			b = l.takeDue(at.Add(2 * time.Second))
			if b == nil || b.tasks[state.Task{}].next != 11 {
				t.Errorf("%s: it commits %+v", name, b)
			}
		}
	}
}
