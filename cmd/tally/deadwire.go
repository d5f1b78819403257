package main

import "github.com/tally-kafka/tally/internal/dead"

// deadLetter is a line of dead list --json, and with the value the answer of dead show --json.
type deadLetter struct {
	Partition       int32            `json:"partition"`
	Offset          int64            `json:"offset"`
	WrittenMs       int64            `json:"written_ms"`
	Error           string           `json:"error"`
	Topic           string           `json:"topic"` // of the event, as the next three
	SourcePartition int32            `json:"source_partition"`
	SourceOffset    int64            `json:"source_offset"`
	EventMs         int64            `json:"event_ms"`
	Generation      string           `json:"generation"`
	ReplayOf        string           `json:"replay_of,omitempty"`
	Foreign         bool             `json:"foreign,omitempty"` // another program wrote it
	Key             any              `json:"key"`
	ValueBytes      int              `json:"value_bytes"`
	Headers         []consumedHeader `json:"headers"`
}

type deadLetterWhole struct {
	deadLetter
	Value any `json:"value"`
}

func wireLetter(l dead.Letter, whole bool) any {
	w := deadLetter{
		Partition: l.Partition, Offset: l.Offset, WrittenMs: l.WrittenMs, Error: l.Error, Topic: l.Topic,
		SourcePartition: l.SourcePartition, SourceOffset: l.SourceOffset, EventMs: l.EventMs, Generation: l.Generation,
		ReplayOf: l.ReplayOf, Foreign: l.Foreign, Key: wireBytes(l.Key), ValueBytes: len(l.Value), Headers: []consumedHeader{},
	}
	for _, h := range l.Headers {
		w.Headers = append(w.Headers, consumedHeader{h.Key, wireBytes(h.Value)})
	}
	if !whole {
		return w
	}
	return deadLetterWhole{w, wireBytes(l.Value)}
}
