package processor

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/state"
	"github.com/tally-kafka/tally/txn"
)

// StopError ends a lane at an event that cannot be read, where the spec says `on_error: stop`.
// Everything before it is committed.
type StopError struct {
	Topic     string
	Partition int32
	Offset    int64
	Reason    string
}

func (e *StopError) Error() string {
	return fmt.Sprintf("stopped at %s/%d offset %d: %s (on_error: stop); change on_error to dead or skip and restart to pass it",
		e.Topic, e.Partition, e.Offset, e.Reason)
}

// DeadLetterError says that a dead letter itself was refused: there is no place left to put the
// event, and passing it would lose it.
type DeadLetterError struct {
	Topic     string // that refused it
	Partition int32  // of the event
	Offset    int64
	Err       error
}

func (e *DeadLetterError) Error() string {
	return fmt.Sprintf("the dead letter of partition %d offset %d was refused by %s: %v; %s, or set on_error: skip",
		e.Partition, e.Offset, e.Topic, e.Err, remedy(e.Topic, e.Err))
}

// Unwrap gives the broker's refusal.
func (e *DeadLetterError) Unwrap() error { return e.Err }

// PartialError says that what a partial result makes of its group was refused. A partial stands for
// many events that are counted as processed already, so it has no dead letter: to pass it would
// lose them.
type PartialError struct {
	Partition int32 // of the repartition topic
	Offset    int64
	Err       error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("stopped at partition %d offset %d of the repartition topic, since what it makes of its group was refused: %v; mend the limit that the refusal names and restart",
		e.Partition, e.Offset, e.Err)
}

// Unwrap gives the broker's refusal.
func (e *PartialError) Unwrap() error { return e.Err }

// OwnRecordError says that a topic refuses what tally writes there of its own accord, whatever the
// events are: a position record, the sources of partials, or a barrier. No event is at fault, and
// to pass one would lose it. The lane can go on as soon as a person has changed the topic.
type OwnRecordError struct {
	Topic string
	Kind  state.Kind // KindPosition, KindSources or KindBarrier
	Err   error
}

func (e *OwnRecordError) Error() string {
	what := map[state.Kind]string{
		state.KindPosition: "position record", state.KindSources: "record of sources", state.KindBarrier: "barrier",
	}[e.Kind]
	return fmt.Sprintf("%s refuses a %s, which each lane must write there: %v; %s: then the lane goes on by itself, and nothing is lost meanwhile",
		e.Topic, what, e.Err, remedy(e.Topic, e.Err))
}

// Unwrap gives the broker's refusal.
func (e *OwnRecordError) Unwrap() error { return e.Err }

// remedy is what to change of a topic that refuses a record.
func remedy(topic string, err error) string {
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		return "raise max.message.bytes of " + topic
	case errors.Is(err, kerr.RecordListTooLarge):
		return "raise segment.bytes of " + topic
	}
	return "end what makes the brokers refuse it in " + topic
}

// Faultless gives the error that says of a refused record that no event is at fault for it: it has
// the time of this node, which Kafka refuses, or it is one that tally writes whatever the events
// are. nil for any other error.
func (l *Lane) Faultless(err error) error {
	var refused *txn.ProduceError
	if !txn.Refused(err) || !errors.As(err, &refused) {
		return nil
	}
	out := l.cfg.Spec.Output
	if errors.Is(err, kerr.InvalidTimestamp) && (out == nil || refused.Topic != out.Topic) { // all but outputs have the time of writing
		return &ClockError{err}
	}
	if refused.Topic != l.cfg.Changelog && (!l.twoStages() || refused.Topic != l.cfg.Repartition) {
		return nil
	}
	switch refused.Kind {
	case state.KindPosition, state.KindSources, state.KindBarrier:
		return &OwnRecordError{Topic: refused.Topic, Kind: refused.Kind, Err: err}
	}
	return nil
}

// ClockError says that Kafka refuses the time of this node.
type ClockError struct{ Err error }

func (e *ClockError) Error() string {
	return fmt.Sprintf("the clock of this node or of the brokers is off: %v", e.Err)
}

// Unwrap gives the broker's refusal.
func (e *ClockError) Unwrap() error { return e.Err }

// halving finds the event whose record a broker refuses. After a refusal the batch is repeated with
// half as many events, down to one; when that one is refused twice in a row, it gets its on_error.
// (Once may be the batch's fault: a topic's limit was lowered, and is read anew before the second.)
// What is beyond the events of the batch that was refused last doubles the size again.
//
// It outlives a Run: the batch is repeated only after a new acquire.
type halving struct {
	events int // size of the next batch; 0: not bounded
	// until has the last event of each task in the batch that was refused last, and leaves out what
	// was committed since. While it has any, the next batch is no larger: in a lane of several
	// partitions a stay may begin with those of others, and would else grow past the refused one's
	// size before it comes to it.
	until    map[state.Task]int64
	suspects map[state.Task]int64 // the events of a batch of one that was refused
	verdicts map[state.Task]verdict
}

// verdict is the last event of a task that was found to be refused.
type verdict struct {
	offset int64
	reason string
}

// limit is the bound on a batch's events, most when nothing was refused.
func (h *halving) limit(most int) int {
	if h.events == 0 {
		return most
	}
	return min(h.events, most)
}

// knows reports whether some event was found to be refused.
func (h *halving) knows() bool { return len(h.verdicts) > 0 }

// refused tells whether rec was found to be the one that the broker refuses.
func (h *halving) refused(task state.Task, rec *kgo.Record) (reason string, ok bool) {
	v, ok := h.verdicts[task]
	if !ok || v.offset != rec.Offset {
		return "", false
	}
	return v.reason, true
}

// faultless forgets which events are suspected: what was refused meanwhile was none of them.
func (h *halving) faultless() { clear(h.suspects) }

// failed takes note of a batch of which a record was refused. With one event left the refusal is
// that event's own, unless it already was a dead letter: then nothing is left to try.
func (h *halving) failed(b *batch, err error) error {
	h.until = map[state.Task]int64{}
	for task, t := range b.tasks {
		if t.lastEvent >= 0 {
			h.until[task] = t.lastEvent
		}
	}
	if b.events > 1 {
		h.events = b.events / 2
		return err
	}
	h.events = 1
	if !h.again(b) {
		return err
	}
	for task, t := range b.tasks {
		if t.lastEvent < 0 {
			continue
		}
		if task.Stage == state.SecondStage {
			return &PartialError{Partition: task.Partition, Offset: t.lastEvent, Err: err}
		}
		if t.dead > 0 {
			return &DeadLetterError{Topic: refusedBy(err), Partition: task.Partition, Offset: t.lastEvent, Err: err}
		}
		if h.verdicts == nil {
			h.verdicts = map[state.Task]verdict{}
		}
		h.verdicts[task] = verdict{t.lastEvent, "refused by the broker: " + err.Error()}
	}
	return err
}

// refusedBy is the topic that refused a record.
func refusedBy(err error) string {
	var refused *txn.ProduceError
	if !errors.As(err, &refused) {
		return ""
	}
	return refused.Topic
}

// again reports whether the event of a batch of one was refused before, too, and remembers that it
// was.
func (h *halving) again(b *batch) (again bool) {
	for task, t := range b.tasks {
		if t.lastEvent < 0 {
			continue
		}
		at, ok := h.suspects[task]
		again = ok && at == t.lastEvent
		if h.suspects == nil {
			h.suspects = map[state.Task]int64{}
		}
		h.suspects[task] = t.lastEvent
	}
	return again
}

// succeeded doubles the size of the next batch, until most is reached, once nothing is left of the
// one that was refused last.
func (h *halving) succeeded(b *batch, most int) {
	for task, t := range b.tasks {
		if t.lastEvent >= 0 { // it has come past the event
			delete(h.suspects, task)
		}
		if last, waits := h.until[task]; waits && t.lastEvent >= last {
			delete(h.until, task)
		}
	}
	if h.events == 0 || len(h.until) > 0 {
		return
	}
	if h.events *= 2; h.events >= most {
		h.events, h.verdicts = 0, nil
	}
}

func tooLarge(size, bound int) error {
	return &spec.EventError{
		Field:  "group",
		Reason: fmt.Sprintf("its record may need %d bytes, more than the %d that the app's topics take", size, bound),
	}
}
