package assign

import (
	"cmp"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// Input is what a decision is made of.
type Input struct {
	State *ownership.State
	// Health is by node id. A member that is not in it has not reported to this leader yet.
	Health map[string]Health
	// Dead are the incarnations that the leader has found dead and the state does not know yet.
	Dead []ownership.Death
	// Paused: so many are gone at once that the leader suspects itself. Nothing is assigned.
	Paused bool
	// Fenced has the lanes that this leader's fence has ended for, with the epoch that each had
	// meanwhile: a fence of an earlier time says nothing.
	Fenced   map[ownership.LaneRef]uint64
	Settings Settings
}

// Health is what the leader knows of one member.
type Health struct {
	// Live: it has reported to this leader within its time, as this incarnation. Who is neither
	// Live nor Dead keeps what it has, and gets nothing.
	Live        bool
	Incarnation string
	Version     uint64        // of the state that it had applied when it reported
	KafkaAge    time.Duration // since it last reached Kafka
	// Disk says what is wrong with the member's disk, "" for nothing. While that lasts it gets
	// nothing, and what it has moves to others, if any are well.
	Disk string
	// Behind is for how long it has lacked what the log has. It does not hear of grants then, and
	// answers as nobody's owner: after a while it counts as one whose disk fails.
	Behind time.Duration
	Copies map[ownership.LaneRef]Copy
}

// Copy is what a member has of one lane.
type Copy struct {
	// Running: as the owner, under Epoch. It has taken the lane over and needs no word of the last
	// owner any more.
	Running bool
	// Stuck: it comes no further. It has stopped on an error of its own, cannot open the app or, as
	// the owner under Epoch, has failed for a while to run the lane. An owner says so only once it
	// needs no word of the last one any more: that one has given it, is fenced, or has had its
	// time.
	Stuck bool
	Epoch uint64 // of the grant that it acts on
	Ready bool   // as a standby: it has once been at the end of the changelog
	Lag   int64  // records behind the end
}

// KafkaAgeMax is for how long, with the defaults, a node may not have reached Kafka until it counts
// as cut off.
const KafkaAgeMax = 1500 * time.Millisecond

// Settings are the limits. The zero value has the defaults.
type Settings struct {
	MovesPerNode    int           // moves at a time that one node gives or takes (2)
	MovesMax        int           // moves at a time of all nodes (8)
	OverPercent     int           // above its share that a node is promoted to before others (25)
	ReadyLagMax     int64         // records that a copy may be behind to be caught up (5,000)
	KafkaAgeMax     time.Duration // then a node counts as cut off from Kafka (1.5 s)
	BehindMax       time.Duration // that a member may lack what the log has (5 s)
	ProblemLinesMax int           // of the problems, and as many ownerless lanes (50)
}

func (s Settings) withDefaults() Settings {
	return Settings{
		MovesPerNode:    cmp.Or(s.MovesPerNode, 2),
		MovesMax:        cmp.Or(s.MovesMax, 8),
		OverPercent:     cmp.Or(s.OverPercent, 25),
		ReadyLagMax:     cmp.Or(s.ReadyLagMax, 5000),
		KafkaAgeMax:     cmp.Or(s.KafkaAgeMax, KafkaAgeMax),
		BehindMax:       cmp.Or(s.BehindMax, 5*time.Second),
		ProblemLinesMax: cmp.Or(s.ProblemLinesMax, 50),
	}
}

// Decision is what the leader shall do now.
type Decision struct {
	// Plan is to be proposed, nil when there is nothing to change.
	Plan *ownership.Plan
	// Fence are the lanes that belong to nobody and may have an open transaction: the leader fences
	// each once, and says so in Input.Fenced when that call has ended.
	Fence []ownership.LaneRef
	// Problems are for people, a line each, worst first: of what the leader alone can see. What a
	// node says of itself, and what the log shows, whoever is asked knows without it.
	Problems []string
	// Ownerless says why lanes have nobody who runs them.
	Ownerless map[ownership.LaneRef]string
}
