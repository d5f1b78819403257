package check

import (
	"cmp"
	"slices"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// ack says below which offset all was known to be in the input, and when.
type ack struct{ atMs, next int64 }

// sent takes what Kafka has acknowledged.
func (r *reads) sent(at time.Time, h *history.Sent) {
	for _, e := range h.Events {
		all := r.acks[e.Partition]
		next := e.Offset + 1
		if n := len(all); n > 0 {
			if next = max(next, all[n-1].next); all[n-1].atMs == at.UnixMilli() {
				all[n-1].next = next
				continue
			}
		}
		r.acks[e.Partition] = append(all, ack{at.UnixMilli(), next})
	}
}

// known is up to where a partition of the input was known to go before a moment; 0: nothing was.
func (r *reads) known(p int32, beforeMs int64) int64 {
	all := r.acks[p]
	n, _ := slices.BinarySearchFunc(all, beforeMs, func(x ack, at int64) int { return cmp.Compare(x.atMs, at) })
	if n == 0 {
		return 0
	}
	return all[n-1].next
}

// ageSlack is by how much an answer may be wrong about its age. No leader names an end below what
// has been acknowledged, also a new one (KIP-207), a node takes the time before it asks, and all
// clocks but those that a fault sets are one. So it is for what is rounded, and for a clock that is
// being set right.
const ageSlack = time.Second

// step is where a task has come to, and when a broker first wrote that down.
type step struct{ ms, input int64 }

// come notes which transaction has come to a position, and when. One that is not known may have
// come there before where records are missing. One that has passed markers and barriers alone, or
// is the first and has read nothing, has changed nothing: who answers may name the position behind
// them before anybody commits it.
func (c *column) come(t *taken) {
	if c.begun && t.pos.Input == c.last.Input { // it says once more what is known
		return
	}
	switch {
	case c.holed() || c.adopt:
		c.lastID = txnID{}
	case t.read > 0 || len(t.bad) > 0:
		c.lastID = t.part.id
	}
	ms := c.books.ends[t.part.id].firstMs
	if n := len(c.steps); n > 0 {
		ms = max(ms, c.steps[n-1].ms)
	}
	c.steps = append(c.steps, step{ms, t.pos.Input})
}

// progress is by how much the position has grown around the time of a question.
func (c *column) progress(n *ask) int64 {
	at := func(ms int64) int64 {
		i, _ := slices.BinarySearchFunc(c.steps, ms, func(s step, ms int64) int { return cmp.Compare(s.ms, ms) })
		if i == 0 {
			return 0
		}
		return c.steps[i-1].input
	}
	const around = 1000
	return at(n.of.endedMs+around) - at(n.of.beganMs-around)
}

// judgeAge: an answer says when it was proved that no more than its lag was missing; what the input
// had been known to hold before that is in it, or in the lag. Where a clock was off that the age is
// of, nothing is held against the answer; and where a broker has perhaps named an old end, nothing
// is judged.
//
// The lag is looked up behind the position, and may be that of a later one: by as much as an owner
// commits meanwhile. By how much a copy moves on nobody sees; of a standby's only gets are judged,
// which take no time between the two, and who is unsure may just be catching up. Between two stages
// a copy does not know what was sent there since it has looked how far the topic goes, and what was
// sent is no lag of the input any more.
func (c *column) judgeAge(n *ask) {
	before := n.asOfMs - ageSlack.Milliseconds()
	rep, what := c.rep.Of(Reads), "ages"
	if c.stages() == 2 {
		what = "ages through two stages"
	}
	known, missing := c.missing(n, before, 0)
	future := n.asOfMs-n.of.endedMs > time.Second.Milliseconds()
	switch {
	case known == 0 && !future:
	case c.troubles.oldEnd(n.asOfMs) && !future:
		rep.excusedOf(1, what, "beside a broker that may name an old end")
	case missing <= 0 && !future:
		rep.saw(1, what)
	case c.troubles.clock(n.node, n.asOfMs), c.stages() == 2 && c.anothersAge(n, future):
		rep.excusedOf(1, what, "by a clock that was off")
	case future:
		rep.fail("%s: %s says what it is as of %s, which was not yet", n.of.where, n.node, moment(n.asOfMs))
	case n.role != roleOwner && c.stages() == 2:
		rep.excusedOf(1, what, "by a copy that cannot know what its owner has sent since it looked")
	case n.role != roleOwner && (n.of.what != "get" || n.role != roleStandby):
		rep.excusedOf(1, what, "of many groups, by a copy that may have moved on")
	default:
		rep.saw(1, what)
		if _, still := c.missing(n, before, c.progress(n)); n.role == roleOwner && still <= 0 {
			rep.saw(1, "of them by the lag of a later position")
			return
		}
		rep.fail("%s: %s says as %s that it has %s up to %d, lag %d, as of %s; %v before that, %d events more were known",
			n.of.where, n.node, n.role, c.source, n.at, n.lag, moment(n.asOfMs), ageSlack, missing)
	}
}

// anothersAge reports whether the age of an answer through two stages may be of a node whose clock
// was off: it is the older of what several say. One of the future is, where that node has it from
// such a clock, and the clock of the node that answers was ahead, too.
func (c *column) anothersAge(n *ask, future bool) bool {
	if !future {
		return c.troubles.clockAhead(n.asOfMs)
	}
	return c.troubles.ahead(n.node, n.of.endedMs) && c.troubles.anyClock(n.asOfMs)
}

// missing is how many events of the input were known before a moment, and how many of them are
// neither in an answer nor in its lag, which is that of a position so much later.
//
// What the second of two stages lacks of the events that the first has sent lies in the repartition
// topic behind the answer's position and the lag there; the rest is the lag of the first.
func (c *column) missing(n *ask, beforeMs, later int64) (known, missing int64) {
	if c.stages() == 1 {
		known = c.reads.known(c.partition, beforeMs)
		return known, known - n.at - n.lag - later
	}
	there, input := n.lag, n.lag // how much of it is of which, a get does not say
	if n.inputLag > 0 {
		there, input = n.lag-n.inputLag, n.inputLag
	}
	for p := range c.Partitions {
		of := c.reads.known(p, beforeMs)
		known += of
		if next, ok := c.told.behind(toldOf{c.partition, p}, n.at+there+later); ok {
			missing += max(of-next+1, 0)
		}
	}
	return known, missing - input
}

// judgeToldAfter: in an app of two stages an answer that had to be after an event has all that the
// transaction has sent to its partition that has counted the event.
func (c *column) judgeToldAfter(n *ask) {
	after := n.of.after
	if after == nil {
		return
	}
	rep := c.rep.Of(Reads)
	rep.saw(1, "answers after an event, through two stages")
	next, ok := c.told.behind(toldOf{c.partition, after.partition}, n.at)
	if ok && c.began(after.partition, next) <= after.offset {
		rep.fail("%s: position %d of %s, behind which are counts of the events up to %d of %s/%d; it was asked for after %d", n.of.where,
			n.at, c.source, next-1, c.Input, after.partition, after.offset)
	}
}

// commitSlack is by how much the broker's marker may come behind the answer of who knew of the
// commit, where nobody has seen the request: the coordinator tells its producer first.
const commitSlack = 2 * time.Second

const (
	behindCommit  = "answers behind their commit"
	behindRequest = "of them by the request to commit"
)

// judgeCommitted: what an answer has was committed when it came. Nobody can know of a commit that
// has not reached a broker, whatever else is broken; when it was on its way there is known by the
// readers' own clock. The brokers' clocks are the same, and never off.
func (c *column) judgeCommitted(n *ask) {
	how, known := c.books.ends[c.lastID]
	if !known || how.firstMs <= 0 || n.of.endedMs <= 0 {
		return
	}
	rep := c.rep.Of(Reads)
	if sent, seen := c.books.commits[c.lastID]; seen {
		if rep.saw(1, behindCommit); n.of.endedMs < sent {
			rep.fail("%s: %s says position %d of %s as %s, and no broker had been asked to commit %v, which has come there, until %v after the answer",
				n.of.where, n.node, n.at, c.source, n.role, c.lastID, time.Duration(sent-n.of.endedMs)*time.Millisecond)
		}
		rep.saw(1, behindRequest)
		return
	}
	switch early := how.firstMs - n.of.endedMs; {
	case early <= commitSlack.Milliseconds():
		rep.saw(1, behindCommit)
	case c.troubles.broker(n.of.endedMs, how.firstMs):
		rep.excusedOf(1, behindCommit, "before it, beside a fault of a broker")
	default:
		rep.fail("%s: %s says position %d of %s as %s, and %v, which has come there, was committed %v after the answer", n.of.where,
			n.node, n.at, c.source, n.role, c.lastID, time.Duration(early)*time.Millisecond)
	}
}

func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }
