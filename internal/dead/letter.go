package dead

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tally-kafka/tally/internal/kafka"
)

// ReplayHeader is the header of a replayed event: TOPIC/PARTITION/OFFSET of its dead letter.
const ReplayHeader = "tally.replay"

// headers are those that tally puts behind the event's own, in this order.
var headers = [...]string{"error", "topic", "partition", "offset", "timestamp", "tally.generation"}

// Place is where a dead letter lies in the dead-letter topic.
type Place struct {
	Partition int32
	Offset    int64
}

func (p Place) String() string { return fmt.Sprintf("%d:%d", p.Partition, p.Offset) }

// ParsePlace reads PARTITION:OFFSET.
func ParsePlace(text string) (Place, error) {
	before, after, ok := strings.Cut(text, ":")
	partition, err := strconv.ParseInt(before, 10, 32)
	offset, err2 := strconv.ParseInt(after, 10, 64)
	if !ok || err != nil || err2 != nil || partition < 0 || offset < 0 {
		return Place{}, fmt.Errorf("%q is not PARTITION:OFFSET of a dead letter, for example 0:17", text)
	}
	return Place{int32(partition), offset}, nil
}

// Letter is a dead letter: the event as it was, and why and from where it came here.
type Letter struct {
	Place
	WrittenMs  int64 // when it became a dead letter
	Error      string
	Generation string

	Topic           string // the event's
	SourcePartition int32
	SourceOffset    int64
	EventMs         int64
	Key, Value      []byte
	Headers         []kafka.Header // the event's own, without a replay's
	ReplayOf        string         // the dead letter that the event had been before, "" for none
	Foreign         bool           // no dead letter of tally: another program wrote it, and nothing of it is known
}

// read takes a record of the dead-letter topic apart.
func read(r kafka.Record) Letter {
	l := Letter{Place: Place{r.Partition, r.Offset}, WrittenMs: r.TimestampMs, Key: r.Key, Value: r.Value}
	own := len(r.Headers) - len(headers)
	if own < 0 || !l.origin(r.Headers[own:]) {
		l.Foreign, l.Headers = true, r.Headers
		return l
	}
	for _, h := range r.Headers[:own] {
		if h.Key == ReplayHeader {
			l.ReplayOf = string(h.Value)
			continue
		}
		l.Headers = append(l.Headers, h)
	}
	return l
}

// origin reads tally's own headers.
func (l *Letter) origin(own []kafka.Header) bool {
	var values [len(headers)]string
	for i, h := range own {
		if h.Key != headers[i] {
			return false
		}
		values[i] = string(h.Value)
	}
	partition, err := strconv.ParseInt(values[2], 10, 32)
	offset, err2 := strconv.ParseInt(values[3], 10, 64)
	eventMs, err3 := strconv.ParseInt(values[4], 10, 64)
	if err != nil || err2 != nil || err3 != nil || partition < 0 || offset < 0 {
		return false
	}
	l.Error, l.Topic, l.Generation = values[0], values[1], values[5]
	l.SourcePartition, l.SourceOffset, l.EventMs = int32(partition), offset, eventMs
	return true
}

// marker is the value of the header of the letter's replay.
func marker(topic string, p Place) string {
	return fmt.Sprintf("%s/%d/%d", topic, p.Partition, p.Offset)
}
