package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// KafkaAgeMax is the most that a member's word is taken for, of how long it has not reached Kafka:
// one of an earlier release that never has says the largest number that there is.
const KafkaAgeMax = time.Hour

// Report is what a member says of itself with each ping.
type Report struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
	// KafkaAgeMs is the time since the node last reached Kafka, or since its start.
	KafkaAgeMs int64 `json:"kafka_age_ms"`
	// Disk says what is wrong with the node's disk, "" for nothing.
	Disk string `json:"disk,omitempty"`
	// Version is of the ownership state that Copies are not older than: it is read before they are.
	Version uint64 `json:"version"`
	Copies  []Copy `json:"copies,omitempty"`
}

// The roles of a copy.
const (
	Owner   = "owner"
	Standby = "standby"
)

// Copy is what a member has of one lane.
type Copy struct {
	ownership.LaneRef
	Role    string `json:"role"`
	State   string `json:"state"` // of the lane at this node, to be shown
	Running bool   `json:"running,omitempty"`
	Stuck   bool   `json:"stuck,omitempty"` // it comes no further: see assign.Copy
	Ready   bool   `json:"ready,omitempty"` // loaded, and once at the end of the changelog
	Epoch   uint64 `json:"epoch"`           // of the grant that the node acts on
	Lag     int64  `json:"lag"`
}

// Answer is the leader's to one ping.
type Answer struct {
	Seq    uint64 `json:"seq"`
	Leader string `json:"leader,omitempty"` // node id; "" when the answerer knows none
	// LeaderAddr is set with NotLeader, where it is known.
	LeaderAddr string `json:"leader_addr,omitempty"`
	Term       uint64 `json:"term"`
	Known      bool   `json:"known"` // this incarnation is registered and alive
	NotLeader  bool   `json:"not_leader,omitempty"`
	// Behind: the member lacks what the log has had for a while, so the leader does not vouch for
	// it. What it lacks may be that a lane of its has gone to somebody else.
	// Or the leader itself has stood still, and may be none any more.
	Behind bool  `json:"behind,omitempty"`
	TTLMs  int64 `json:"ttl_ms"`
}

// ping is one line from a member. The first of a connection, and one after a leader did not know
// the member, begins a whole report; those after it have what has changed since.
type ping struct {
	Seq uint64 `json:"seq"`
	Report
	Full bool                `json:"full,omitempty"` // what was said before is no more
	Gone []ownership.LaneRef `json:"gone,omitempty"` // lanes that the member has no copy of any more
	More bool                `json:"more,omitempty"` // the report goes on in the next line
}

// stateCharsMax bounds the text of a copy's state, and so a line; diskCharsMax that of a disk's.
const (
	stateCharsMax = 64
	diskCharsMax  = 256
)

// changes turns the reports of one connection into pings that carry what is new. A lag is new when
// it is twice or half of what was said: 10,000 lanes that run would otherwise be said four times a
// second.
type changes struct {
	said    map[ownership.LaneRef]Copy // nil: nothing yet
	seq     uint64
	perLine int
	cursor  int // where the lags that there was no room for begin
}

// again lets the next report be a whole one.
func (c *changes) again() { c.said = nil }

// pings has at least one.
func (c *changes) pings(r Report) []ping {
	full := c.said == nil
	if full {
		c.said = make(map[ownership.LaneRef]Copy, len(r.Copies))
	}
	fresh, gone := c.fresh(r.Copies), c.gone(r.Copies)
	r.Copies = nil
	r.Disk = r.Disk[:min(len(r.Disk), diskCharsMax)]
	var pings []ping
	for first := true; first || len(fresh) > 0 || len(gone) > 0; first = false {
		c.seq++
		p := ping{Seq: c.seq, Report: r, Full: full && first}
		n := min(len(fresh), c.perLine)
		p.Copies, fresh = fresh[:n], fresh[n:]
		n = min(len(gone), c.perLine-n)
		p.Gone, gone = gone[:n], gone[n:]
		p.More = len(fresh) > 0 || len(gone) > 0
		pings = append(pings, p)
	}
	return pings
}

// fresh are the copies to be said. Lags alone fill no more than a line; the others follow with
// later pings.
func (c *changes) fresh(copies []Copy) (fresh []Copy) {
	say := func(i int) {
		cp := copies[i]
		cp.State = cp.State[:min(len(cp.State), stateCharsMax)]
		c.said[cp.LaneRef] = cp
		fresh = append(fresh, cp)
	}
	lags := 0
	for n := range copies {
		i := (c.cursor + n) % len(copies)
		said, ok := c.said[copies[i].LaneRef]
		switch {
		case !ok || !sameButLag(said, copies[i]):
			say(i)
		case bits.Len64(uint64(said.Lag)) == bits.Len64(uint64(copies[i].Lag)):
		case lags < c.perLine:
			lags++
			say(i)
			if lags == c.perLine {
				c.cursor = i + 1
			}
		}
	}
	return fresh
}

func sameButLag(said, now Copy) bool {
	now.State = now.State[:min(len(now.State), stateCharsMax)]
	said.Lag = now.Lag
	return said == now
}

func (c *changes) gone(copies []Copy) (gone []ownership.LaneRef) {
	if len(c.said) == len(copies) { // each that is there was said just now or before
		return nil
	}
	there := make(map[ownership.LaneRef]bool, len(copies))
	for i := range copies {
		there[copies[i].LaneRef] = true
	}
	for ref := range c.said {
		if !there[ref] {
			gone = append(gone, ref)
			delete(c.said, ref)
		}
	}
	return gone
}

// line encodes a ping or an answer.
func line(v any) []byte {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		panic(fmt.Sprintf("session: %T does not encode: %v", v, err))
	}
	return b.Bytes()
}
