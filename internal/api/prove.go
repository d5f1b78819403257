package api

import "github.com/tally-kafka/tally/state"

// What the input held when a question came is known by a look at its end after that. A read keeps
// the first such end of each partition: once all below it is counted, its answer has all that there
// was, and that a group has no values is proved. To wait for a lag of 0 instead would be to wait
// for a moment in which nothing arrives, and on a busy topic there may be none.

// ends are by partition, and each is at or behind the partition's end at a moment after the
// question.
type ends map[int32]int64

// note keeps an end: any will do, and the lowest is passed first.
func (e *ends) note(partition int32, end int64) {
	if *e == nil {
		*e = ends{}
	}
	if before, ok := (*e)[partition]; !ok || end < before {
		(*e)[partition] = end
	}
}

// passed reports whether all that a partition held is below an offset.
func (e ends) passed(partition int32, at int64) bool {
	end, ok := e[partition]
	return ok && at >= end
}

// noteEnd notes the end of what a task reads, if it was looked at since the question came.
func (rd *read) noteEnd(v LaneView, t state.Task) {
	if rd.app.Repartitions > 0 && v.InputLag == nil && v.Lag(t.Partition) > 0 {
		return // of how far the source goes that lag does not tell
	}
	rd.noteEndOf(&rd.ends, v, t.Partition, v.Lag, func() int64 { return position(v, t) })
}

// noteEndOf notes an end that lies the lag behind a position. The age comes first: a look between
// the two may make the lag newer than it, never older. A lag is of the position that it was asked
// at, so the end is known only if the position has stood still meanwhile.
func (rd *read) noteEndOf(e *ends, v LaneView, partition int32, lag func(int32) int64, position func() int64) {
	if v.AsOfMs() <= rd.begun.UnixMilli() {
		return
	}
	at := position()
	if end := at + lag(partition); position() == at {
		e.note(partition, end)
	}
}

// proved reports whether a part has all that there was at the question, by what its node says of it
// or has said before.
func (rd *read) proved(p *getPart) bool {
	at := p.Position[sourceName(rd.app, p.Partition)]
	if rd.app.Repartitions > 0 {
		return rd.inputProved && at >= rd.soughtOf(p.Partition)
	}
	if p.End > 0 {
		rd.ends.note(p.Partition, p.End)
	}
	return p.Proved || rd.ends.passed(p.Partition, at)
}

// noteSent keeps what a lane had sent once it had read all that its partitions of the input held at
// the question.
func (rd *read) noteSent(l laneSent) {
	if rd.sent[l.Lane] != nil {
		return
	}
	for p, end := range l.Ends {
		rd.inputEnds.note(p, end)
	}
	all := len(l.Read) > 0
	for p, at := range l.Read {
		all = all && rd.inputEnds.passed(p, at)
	}
	if !l.Proved && !all {
		return
	}
	if rd.sent == nil {
		rd.sent = map[int]map[int32]int64{}
	}
	if rd.sent[l.Lane] = l.Sent; l.Sent == nil {
		rd.sent[l.Lane] = map[int32]int64{}
	}
}

// soughtOf is the offset of a partition of the source below which lies all that was sent of what
// the input held at the question, once inputProved.
func (rd *read) soughtOf(partition int32) (at int64) {
	for _, sent := range rd.sent {
		at = max(at, sent[partition])
	}
	return at
}
