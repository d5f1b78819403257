package api

import (
	"encoding/json"
	"strings"
)

// This file is the JSON contract. People's scripts depend on the names: add fields, never rename or
// remove one. Times end in _ms (Unix milliseconds, or a duration where the name says so).

// Count is a group with its values: a line of a scan or a watch, an entry of a top.
type Count struct {
	Group  json.RawMessage `json:"group"`  // array of the parts
	Values json.RawMessage `json:"values"` // object, in the order of the spec's aggregates
	// Silent, in a watch of one group, are the lanes for which nobody answers: the values are
	// unsure, without what those may have of the group. Once one answers, the values come anew.
	Silent []int `json:"silent,omitempty"`
	// Parts, in a watch with stale=true, say from where the values come since these were sent anew,
	// and how old they were then: in the last line of the present values, or else in the next line.
	Parts []Part `json:"parts,omitempty"`
}

// Part says from where a part of an answer comes and how new it is.
type Part struct {
	Partition int32            `json:"partition"`
	Lane      int              `json:"lane"`
	Node      string           `json:"node"`
	Role      Role             `json:"role"`
	Epoch     uint64           `json:"epoch"`
	Position  map[string]int64 `json:"position"` // "TOPIC/PARTITION": next offset to read
	Lag       int64            `json:"lag"`
	// InputLag is what Lag has of the input of an app of two stages: the same in each part, since
	// any of them may be concerned.
	InputLag int64 `json:"input_lag,omitempty"`
	// AsOfMs is when the lag was proved, in an app of two stages the older of both; 0 where a node
	// of an older release does not say, or one that is asked does not answer.
	AsOfMs int64 `json:"as_of_ms"`
	// Values are the group's values in this partition; absent when the partition has none, and in
	// answers about many groups.
	Values json.RawMessage `json:"values,omitempty"`
}

// GetAnswer is the answer to get. Values is absent when Found is false. Parts has every partition
// that was asked.
type GetAnswer struct {
	App   string          `json:"app"`
	Group json.RawMessage `json:"group"`
	Found bool            `json:"found"`
	// Proved, of an answer without values: all is counted that the input held when the question
	// came. Without it the group may have values among the events that are behind (lag).
	Proved bool            `json:"proved,omitempty"`
	Values json.RawMessage `json:"values,omitempty"`
	Parts  []Part          `json:"parts"`
	// Silent are the lanes for which nobody answered within the wait. What they may have of the
	// group, or have not read yet of the input of an app of two stages, is not in the values; the
	// token says nothing of them that the question's own did not say.
	Silent []int  `json:"silent,omitempty"`
	Token  string `json:"token"`
}

// TopAnswer is the answer to top: the largest groups, in order.
type TopAnswer struct {
	App    string  `json:"app"`
	Counts []Count `json:"counts"`
	Parts  []Part  `json:"parts"`
	Token  string  `json:"token"`
}

// End is the last line of a scan. A stream without it is not complete.
type End struct {
	End   bool   `json:"end"` // always true
	Parts []Part `json:"parts"`
	Token string `json:"token"`
}

// AppInfo describes an app to those who ask about it.
type AppInfo struct {
	App        string  `json:"app"`
	AppID      string  `json:"app_id"`
	Generation int     `json:"generation"`
	Spec       string  `json:"spec"`       // canonical YAML
	Lanes      int     `json:"lanes"`      // that the cluster can answer for
	Source     string  `json:"source"`     // the topic that positions count in
	Partitions []int32 `json:"partitions"` // of Source, that the cluster can answer for
}

// AppsAnswer is GET /v1/apps.
type AppsAnswer struct {
	Apps []AppInfo `json:"apps"`
}

// ResetRequest is the body of POST /v1/apps/{app}/reset.
type ResetRequest struct {
	From   string `json:"from,omitempty"`    // as ParseFrom reads it; "": as the spec's input.start says
	Spec   string `json:"spec,omitempty"`    // YAML of the new generation's spec; "": the one that runs
	DryRun bool   `json:"dry_run,omitempty"` // answer what would be done, and do nothing
}

// ResetAnswer says what a reset deletes and where it starts. With Done it has happened: the new
// generation has its first positions.
type ResetAnswer struct {
	App        string           `json:"app"`
	Generation int              `json:"generation"` // the new one
	Done       bool             `json:"done"`
	From       string           `json:"from"`
	Topics     []ResetTopic     `json:"topics"`     // that are deleted and made anew
	Group      string           `json:"group"`      // the consumer group whose offsets are deleted
	StateDirs  []string         `json:"state_dirs"` // that are removed
	Output     string           `json:"output,omitempty"`
	Start      map[string]int64 `json:"start"` // "TOPIC/PARTITION": first offset to be counted
}

// ResetTopic is a topic that a reset deletes.
type ResetTopic struct {
	Topic   string `json:"topic"`
	Records int64  `json:"records"` // about: control records and gaps are among them
}

// Status is GET /v1/status.
type Status struct {
	Cluster string       `json:"cluster"`
	Leader  string       `json:"leader"`
	Node    string       `json:"node"` // the one that answers
	Version string       `json:"version"`
	Kafka   KafkaStatus  `json:"kafka"`
	Nodes   []NodeStatus `json:"nodes"`
	Voters  int          `json:"voters,omitempty"` // also those that have never registered
	// Unregistered are the addresses of voters that have never registered, and so have no name.
	Unregistered []string    `json:"unregistered,omitempty"`
	Apps         []AppStatus `json:"apps"`
	// Problems are what people should know or do, a line each.
	Problems []string `json:"problems"`
	// AtMs is the clock of the node that answers for itself alone.
	AtMs int64 `json:"at_ms,omitempty"`
}

// KafkaStatus is the Kafka that the node counts on.
type KafkaStatus struct {
	ClusterID string   `json:"cluster_id"`
	Brokers   []string `json:"brokers"`  // bootstrap addresses
	Embedded  bool     `json:"embedded"` // tally's own broker, for trying out
	Error     string   `json:"error,omitempty"`
}

// NodeStatus is one node of the cluster.
type NodeStatus struct {
	Name        string `json:"name"`
	ID          string `json:"id"`
	Addr        string `json:"addr"`
	Alive       bool   `json:"alive"`
	Pid         int    `json:"pid,omitempty"`
	Incarnation string `json:"incarnation,omitempty"` // new at each start
	StartedMs   int64  `json:"started_ms,omitempty"`
	Zone        string `json:"zone,omitempty"`
	Release     string `json:"release,omitempty"` // of the program
	Draining    bool   `json:"draining,omitempty"`
	Voter       bool   `json:"voter,omitempty"`   // most of them must be alive for anything to be decided
	Lanes       int    `json:"lanes"`             // that it owns
	Standbys    int    `json:"standbys"`          // lanes that it has a copy of beside its owner's
	Lag         int64  `json:"lag"`               // of the lanes that it owns
	Problem     string `json:"problem,omitempty"` // why it gets no lanes, as far as it knows itself
	Error       string `json:"error,omitempty"`   // why it does not say more of itself
}

// AppStatus is one app. The counters are those of the position records, so they survive restarts.
type AppStatus struct {
	App        string `json:"app"`
	AppID      string `json:"app_id"`
	Generation int    `json:"generation"`
	Input      string `json:"input"`
	Output     string `json:"output,omitempty"`
	Stages     int    `json:"stages"` // 1, or 2 with a repartition topic between them
	Lag        int64  `json:"lag"`    // of the input
	// RepartitionLag is how many records of the repartition topic are not counted yet; 0 in an app
	// of one stage.
	RepartitionLag int64        `json:"repartition_lag"`
	Processed      int64        `json:"processed"`
	Filtered       int64        `json:"filtered"`
	Skipped        int64        `json:"skipped"`
	Dead           int64        `json:"dead"`
	Gaps           int64        `json:"gaps,omitempty"` // offsets that the input lost unread, passed by --on-gap skip
	Groups         int64        `json:"groups"`
	Strays         int64        `json:"strays"`
	StrayExample   string       `json:"stray_example,omitempty"` // one such event, in words
	Lanes          []LaneStatus `json:"lanes"`
}

// The states of a lane.
const (
	LaneAcquiring = "acquiring" // fencing, and finding the position
	LaneRestoring = "restoring" // reading the changelog
	LaneRunning   = "running"
	LaneStopped   = "stopped" // by an error that needs a person: see the reason
	LaneLost      = "lost"    // fenced by a stranger
	LaneStandby   = "standby" // a copy that follows the owner's
	LaneIdle      = "idle"    // nobody owns it
	LaneUnknown   = "unknown" // its node does not answer
)

// LaneStatus is one lane.
type LaneStatus struct {
	Lane           int              `json:"lane"`
	Owner          string           `json:"owner"`
	Epoch          uint64           `json:"epoch"`
	State          string           `json:"state"`            // one of the Lane constants
	Reason         string           `json:"reason,omitempty"` // why it is not running, with the next step
	FenceMs        int64            `json:"fence_ms"`         // how long InitProducerID took at this acquire
	Standbys       []string         `json:"standbys"`
	Position       map[string]int64 `json:"position"` // "TOPIC/PARTITION": next offset to read
	Lag            int64            `json:"lag"`
	RepartitionLag int64            `json:"repartition_lag"`
	AsOfMs         int64            `json:"as_of_ms"`
	Groups         int64            `json:"groups"`
	Transactions   int64            `json:"transactions"` // committed since the lane was acquired
	Aborted        int64            `json:"aborted"`
	LastCommitMs   int64            `json:"last_commit_ms,omitempty"`
	Restore        *Restore         `json:"restore,omitempty"` // of the last start; while State is restoring, so far
	Processed      int64            `json:"processed"`
	Filtered       int64            `json:"filtered"`
	Skipped        int64            `json:"skipped"`
	Dead           int64            `json:"dead"`
	Gaps           int64            `json:"gaps,omitempty"`
	// Events that a known partitioner would have put elsewhere: of an app the strays are the
	// smaller of the two sums.
	NotMurmur2 int64 `json:"not_murmur2,omitempty"`
	NotCRC32   int64 `json:"not_crc32,omitempty"`
	// Role is RoleStandby where a node speaks of a copy that is not the owner's, and Ready says
	// that such a copy has been at the end of the changelog.
	Role  Role `json:"role,omitempty"`
	Ready bool `json:"ready,omitempty"`
	// Copies are the standbys as they say of themselves; From and Target are of a move on its way.
	Copies []CopyStatus `json:"copies,omitempty"`
	From   string       `json:"from,omitempty"`
	Target string       `json:"target,omitempty"`
}

// CopyStatus is a standby's copy of a lane.
type CopyStatus struct {
	Node  string `json:"node"`
	State string `json:"state"`
	Ready bool   `json:"ready"` // it has been at the end of the changelog once
	Lag   int64  `json:"lag"`   // records of the changelog that it has not read yet
}

// Restore says what a start had to read of the changelog.
type Restore struct {
	FromOffset int64 `json:"from_offset"`
	ToOffset   int64 `json:"to_offset"`
	Records    int64 `json:"records"`
	Ms         int64 `json:"ms"`
}

// errorBody is the body of every answer that is not 2xx, and the last line of a stream that failed.
type errorBody struct {
	Error *Error `json:"error"`
}

// Error is how the API says no: what is wrong, and what would work. The client returns it too.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
	// Status is the HTTP status; it is not in the body.
	Status int `json:"-"`

	refusal refusal // for the log, where Code does not say it
}

// noCall begins what a node answers that does not know a call of nodes, in every release.
const noCall = "this node knows no call "

// UnknownCall reports whether a node of another release does not know what it was asked.
func (e *Error) UnknownCall() bool {
	return e.Code == CodeNotFound && strings.HasPrefix(e.Message, noCall)
}

// Forbidden reports whether a node answers, and not to whom has asked.
func (e *Error) Forbidden() bool { return e.Code == CodeForbidden }

// Untrusted reports whether a node wants a certificate of whoever asks, which no waiting mends.
func (e *Error) Untrusted() bool { return e.Code == CodeNeedsTLS }

func (e *Error) Error() string {
	if e.Next == "" {
		return e.Message
	}
	return e.Message + ": " + e.Next
}

// The codes of errors.
const (
	CodeBadRequest   = "bad_request"
	CodeForbidden    = "forbidden"
	CodeNeedsTLS     = "needs_tls" // see internal/port, which says it in plain HTTP
	CodeUnauthorized = "unauthorized"
	CodeUnknownApp   = "unknown_app"
	CodeNotFound     = "not_found"
	CodeTooLarge     = "too_large"
	CodeBusy         = "busy"
	CodeTooSlow      = "too_slow" // who reads a stream
	CodeNotReady     = "not_ready"
	CodeTimeout      = "timeout"
	CodeConflict     = "conflict"
	CodeInternal     = "internal"
	// CodeNotOwner is what a node says that another one asks for a lane that is not its own.
	CodeNotOwner     = "not_owner"
	CodeNotSupported = "not_supported"
)
