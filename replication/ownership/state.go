package ownership

import "encoding/json"

// Format is the newest format of commands and snapshots that this program knows. Format 2 has
// App.KafkaCluster, format 3 State.Recovered.
const Format = 3

// State is all that the log says. It is immutable once it was handed out.
type State struct {
	// Format is the newest that anything in it needed: a member that does not know it is refused.
	Format    int                `json:"format"`
	Version   uint64             `json:"version"`    // grows with each change
	ClusterID string             `json:"cluster_id"` // made once, when the cluster was formed
	Recovered Recovery           `json:"recovered,omitzero"`
	Members   map[string]*Member `json:"members"` // by node id
	Apps      map[string]*App    `json:"apps"`    // by name
}

// Member is a node of the cluster.
type Member struct {
	ID          string `json:"id"`   // of its data dir; Raft's server id
	Name        string `json:"name"` // unique among the members
	Incarnation string `json:"incarnation"`
	Addr        string `json:"addr"` // HOST:PORT that the other nodes and people reach it at
	Zone        string `json:"zone,omitempty"`
	Release     string `json:"release"` // of the program, to be shown
	Format      int    `json:"format"`  // the newest command format that it knows
	Capacity    int    `json:"capacity"`
	// Alive is false once the leader has declared this incarnation dead, or it has left. Only a
	// Register makes it alive again.
	Alive bool `json:"alive"`
	// Draining members keep no lane: what they own is moved away. A drain ends with the
	// incarnation: a node that starts anew takes lanes again.
	Draining bool `json:"draining,omitempty"`
}

// App is one counting job. What its position records say prevails over the numbers here, which are
// those that all nodes must agree on before there are any.
type App struct {
	Name         string `json:"name"`
	Spec         string `json:"spec"` // canonical YAML
	ID           string `json:"id"`   // random, made once
	Generation   int    `json:"generation"`
	Partitions   int    `json:"partitions"`   // of the input at the first start
	Repartitions int    `json:"repartitions"` // 0 for an app of one stage
	Standbys     int    `json:"standbys"`     // copies of each lane beside the owner's
	// KafkaCluster is the cluster id of the Kafka that the app counts on: a node of another has no
	// business here.
	KafkaCluster string `json:"kafka_cluster,omitempty"`
	// Halted says why no lane of the app may run, "" for none: a reset is under way. Intent is what
	// it has to do, and afterwards what the generation began with; this package does not look into
	// it.
	Halted string          `json:"halted,omitempty"`
	Intent json.RawMessage `json:"intent,omitempty"`
	Lanes  []Lane          `json:"lanes"`
}

// Lane says who runs one lane and who keeps copies of it.
type Lane struct {
	// Owner is a node id, "" for nobody. The grant is for this incarnation of it alone: a node that
	// has started anew does not act on what an earlier process was granted. When the incarnation
	// ends, the grant is void (State.OwnerOf), and stands here until the leader's next plan.
	Owner       string `json:"owner,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	// Epoch of the grant. It never falls, and grows with each change of (Owner, Incarnation).
	Epoch uint64 `json:"epoch"`
	// From is the node that gives the lane to its new owner and says so when its last transaction
	// has ended; the owner waits for that word for a bounded time. "" when the last owner is dead.
	From string `json:"from,omitempty"`
	// Standbys are node ids, the one that is to be asked first at the front. The owner is not among
	// them.
	Standbys []string `json:"standbys,omitempty"`
	// Target is the node that the lane moves to: it follows as a standby, and is granted the lane
	// when it has caught up. "" when there is no move.
	Target string `json:"target,omitempty"`
	// Wanted is the node that a person has moved the lane to, "" for none: that node gives it away
	// last when the lanes are balanced.
	Wanted string `json:"wanted,omitempty"`
	// Unfenced: the lane has no owner, and its last one may have an open transaction. The leader
	// fences it before it is granted.
	Unfenced bool `json:"unfenced,omitempty"`
}

// LaneRef names a lane of an app.
type LaneRef struct {
	App  string `json:"app"`
	Lane int    `json:"lane"`
}
