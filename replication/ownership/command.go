package ownership

import "encoding/json"

// Command is one entry of the log: exactly one field is set.
type Command struct {
	Found      *Found      `json:"found,omitempty"`
	Register   *Register   `json:"register,omitempty"`
	Forget     *Forget     `json:"forget,omitempty"`
	Drain      *Drain      `json:"drain,omitempty"`
	PutApp     *PutApp     `json:"put_app,omitempty"`
	DropApp    *DropApp    `json:"drop_app,omitempty"`
	HaltApp    *HaltApp    `json:"halt_app,omitempty"`
	Plan       *Plan       `json:"plan,omitempty"`
	RaiseEpoch *RaiseEpoch `json:"raise_epoch,omitempty"`
	MoveLane   *MoveLane   `json:"move_lane,omitempty"`
}

// Found names the cluster. It is refused once there is another name.
type Found struct {
	ClusterID string `json:"cluster_id"`
}

// Register makes a node's incarnation alive: at its first join, at each start, and after it was
// declared dead although it lives. It is refused when another member has its name, alive or not, as
// long as that one is not forgotten; and when the node does not know a format that the log has.
// Member.Alive and Draining are not used.
type Register struct {
	Member Member `json:"member"`
}

// Forget removes a member that owns nothing and stands by for nothing.
type Forget struct {
	ID string `json:"id"`
}

// Drain says whether a member shall keep no lane. The last that can own lanes cannot be drained.
type Drain struct {
	ID       string `json:"id"`
	Draining bool   `json:"draining"`
}

// PutApp adds an app, or gives an app a new spec or a new generation. Expect is the generation that
// the app has, 0 for an app that is new: anything else is refused. App.Lanes has the lanes with the
// least epoch that each may be granted under, and nothing else; those of a later one are kept. The
// number of lanes changes only while no lane has an owner (HaltApp).
type PutApp struct {
	App    App `json:"app"`
	Expect int `json:"expect"`
}

// DropApp removes an app: every node stops its lanes.
type DropApp struct {
	Name string `json:"name"`
}

// HaltApp takes all lanes of an app from their owners, and says why. With Halted "" they may be
// granted again.
type HaltApp struct {
	Name   string          `json:"name"`
	Halted string          `json:"halted"`
	Intent json.RawMessage `json:"intent,omitempty"`
}

// Plan is what the leader has decided of lanes and of dead members, or what a person has asked for
// of a lane that is to stay where it is (assign.Keep). It is refused as a whole unless
// Base is the present version.
type Plan struct {
	Base  uint64       `json:"base"`
	Dead  []Death      `json:"dead,omitempty"`
	Lanes []LaneChange `json:"lanes,omitempty"`
}

// Death declares an incarnation of a member dead.
type Death struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
}

// LaneChange gives a lane a new value. The epoch in it is not used: Apply raises it where the owner
// changes.
type LaneChange struct {
	LaneRef
	To Lane `json:"to"`
}

// RaiseEpoch makes a lane's epoch at least Floor + 1, under the same owner: its position records
// know an epoch that the log does not, since the log was restored from older data or formed anew.
type RaiseEpoch struct {
	LaneRef
	Floor uint64 `json:"floor"`
}

// MoveLane asks for a lane to be moved to a member, which is then the one Wanted; Target "" gives
// the move up.
type MoveLane struct {
	LaneRef
	Target string `json:"target"`
}

// Result is what a command came to: the same on every node.
type Result struct {
	Version uint64 `json:"version"` // of the state after it
	// Refused says in one sentence, fit for a person, why the command has changed nothing; "" when
	// it was taken. Code is for programs.
	Refused string `json:"refused,omitempty"`
	Code    Code   `json:"code,omitempty"`
}

// Code says why a command was refused.
type Code string

// The codes of refusals.
const (
	Stale    Code = "stale"     // of another version, generation or incarnation: look again
	NotFound Code = "not_found" // no such member, app or lane
	Taken    Code = "taken"     // a name that another has
	NotEmpty Code = "not_empty" // a member that still has lanes
	Unfit    Code = "unfit"     // not as the members and lanes are now: the sentence says what would do
	Bad      Code = "bad"       // a value that can never be taken
)
