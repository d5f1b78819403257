package history

import (
	"encoding/json"
	"slices"
	"time"
)

// The names of the files in a run's folder.
const (
	RunFile      = "run.json"
	AnswerFile   = "answer.jsonl"
	HistoryFile  = "history.jsonl"
	StoreFile    = "stores.jsonl"
	ScheduleFile = "schedule.txt"
	LogDir       = "logs"
	DataDir      = "data"
	OpenedDir    = "opened"
)

// Run describes a run.
type Run struct {
	Seed     uint64    `json:"seed"`
	Began    time.Time `json:"began"`
	Length   string    `json:"length"` // as given, such as "10m"
	Rate     int       `json:"rate"`   // events a second of each app
	Keys     int       `json:"keys"`   // of the app that sums by key
	Even     bool      `json:"even,omitempty"`
	Press    bool      `json:"press,omitempty"` // at the highest rate of the machine
	Brokers  []string  `json:"brokers"`         // that the checks ask, past every broken link
	Apps     []App     `json:"apps"`
	Nodes    []string  `json:"nodes"` // all that may run, also those that join later
	Schedule []string  `json:"schedule"`
}

// App is one app of a run.
type App struct {
	Name          string `json:"name"`
	Input         string `json:"input"`
	Output        string `json:"output"`
	Changelog     string `json:"changelog"`
	Repartition   string `json:"repartition,omitempty"` // "" in an app of one stage
	Dead          string `json:"dead"`
	ConsumerGroup string `json:"consumer_group"`
	Partitions    int32  `json:"partitions"` // of each of its topics
	Lanes         int    `json:"lanes"`      // partition p belongs to lane p mod Lanes
	// TransactionalIDs has one id a lane, by lane.
	TransactionalIDs []string `json:"transactional_ids"`
	// Spec is the YAML that was submitted.
	Spec string `json:"spec"`
	// Local apps count each key where its events lie; their increments have an order.
	Local bool `json:"local"`
	// Passing apps are submitted and deleted in the course of the run; the checks of an end do not
	// hold for them, and they have no Answer.
	Passing bool `json:"passing,omitempty"`
}

// Answer is a counter's right values.
type Answer struct {
	App string `json:"app"`
	// Group is the canonical JSON array of the counter's parts, as the API and the output have it.
	Group string `json:"group"`
	// Partition is where its events lie; -1 in an app of two stages, where they lie everywhere.
	Partition int32  `json:"partition"`
	Final     Values `json:"final"`
	// Increments has what each event adds to the total, in the order of the events: after the
	// n-th of them the count is n and the total is the sum of the first n. Absent in an app of two
	// stages, whose increments have no order between partitions.
	Increments []int64 `json:"increments,omitempty"`
}

// Values are a counter's. Total is 0 in an app that sums nothing.
type Values struct {
	Count int64 `json:"count"`
	Total int64 `json:"total,omitempty"`
}

// Kind says which part of an Event is there.
type Kind string

// The kinds of events.
const (
	KindSent    Kind = "sent"
	KindFault   Kind = "fault"
	KindRead    Kind = "read"
	KindStatus  Kind = "status"
	KindProcess Kind = "process"
	KindAudit   Kind = "audit"
	KindEnd     Kind = "end"
	KindCommit  Kind = "commit"
)

// Event is one line of the history. The field of its Kind is set, and no other.
type Event struct {
	At      time.Time `json:"at"` // of the world's clock, in ns
	Kind    Kind      `json:"kind"`
	Sent    *Sent     `json:"sent,omitempty"`
	Fault   *Fault    `json:"fault,omitempty"`
	Read    *Read     `json:"read,omitempty"`
	Status  *Status   `json:"status,omitempty"`
	Process *Process  `json:"process,omitempty"`
	Audit   *Audit    `json:"audit,omitempty"`
	End     *End      `json:"end,omitempty"`
	Commit  *Commit   `json:"commit,omitempty"`
}

// Sent is what Kafka has acknowledged of one app's input, some events at a time.
type Sent struct {
	App    string   `json:"app"`
	Topic  string   `json:"topic"`
	Events []Record `json:"events"`
}

// Record is one input event. Its names are short: there are millions.
type Record struct {
	Seq       int64    `json:"n"` // in the order of the workload, from 0
	Partition int32    `json:"p"`
	Offset    int64    `json:"o"`
	Key       string   `json:"k"`
	Amount    int64    `json:"a,omitempty"` // of an app that sums
	Words     []string `json:"w,omitempty"` // of an app that splits, as they are counted
	Dead      bool     `json:"d,omitempty"` // it cannot be read: a dead letter, which counts nowhere
}

// Fault is written when it begins, and once more under its ID when it is over (then Ended is set).
type Fault struct {
	ID     int    `json:"id"`
	Kind   string `json:"kind"`             // as the schedule says
	Line   string `json:"line"`             // of the schedule
	Target string `json:"target"`           // whom the schedule's role came to: "a", "a b", "broker 2"
	Lane   string `json:"lane,omitempty"`   // APP/LANE, where it is about one
	Step   string `json:"step,omitempty"`   // at which the target was: a name of internal/step
	Exact  bool   `json:"exact,omitempty"`  // the target was held at Step when the fault came
	Signal int    `json:"signal,omitempty"` // how many processes got a signal by it, but for Emptied
	// Emptied are the nodes that were killed before, and started without their stores, so that they
	// come to the step at which the fault was to come.
	Emptied []Emptied `json:"emptied,omitempty"`
	// Flipped are the files of stores, APP/LANE/FILE, of which bits were turned over.
	Flipped []string `json:"flipped,omitempty"`
	// Transitions are the target's lanes that were changing roles: acquiring, restoring, standby
	// (a copy that is not ready yet), moving, draining, joining.
	Transitions []string  `json:"transitions,omitempty"`
	Began       time.Time `json:"began"`
	Ended       time.Time `json:"ended,omitzero"`
	// Effects is how often it was seen to hit something, of the kinds of plan.Counted.
	Effects int64 `json:"effects,omitempty"`
	// Failed says why the fault did not happen as it should; such a fault counts for nothing.
	Failed string `json:"failed,omitempty"`
}

// Emptied is a node that got SIGKILL, and whose stores were then taken away.
type Emptied struct {
	Node  string    `json:"node"`
	Began time.Time `json:"began"` // before the signal
	Ended time.Time `json:"ended"` // when the stores were gone
}

// Signals is how many signals processes got because of the fault.
func (f *Fault) Signals() int { return f.Signal + len(f.Emptied) }

// Hit tells whether a fault ended as it should, and has hit something where its kind is one of
// those of which that is counted.
func Hit[Kind ~string](f *Fault, counted []Kind) bool {
	return f.Failed == "" && (f.Effects > 0 || !slices.Contains(counted, Kind(f.Kind)))
}

// Read is one question and its answer.
type Read struct {
	Reader   string    `json:"reader"` // one at a time asks; its token is passed on where TokenIn is set
	Ask      string    `json:"ask"`    // get, scan or top
	App      string    `json:"app"`
	Node     string    `json:"node"`            // that was asked
	Stale    bool      `json:"stale,omitempty"` // standbys might answer too
	After    string    `json:"after,omitempty"` // TOPIC/PARTITION:OFFSET that had to be counted
	TokenIn  string    `json:"token_in,omitempty"`
	TokenOut string    `json:"token_out,omitempty"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
	Error    string    `json:"error,omitempty"` // then there is no answer
	// Last is the reader's last question, asked when all was quiet again. One that had no answer
	// was asked again for a while before that is said.
	Last bool `json:"last,omitempty"`
	// Asked is the group of a get.
	Asked string `json:"asked,omitempty"`
	// N is how many groups a top was asked for; 0 where that was not written down.
	N int `json:"n,omitempty"`
	// Counts are the groups that were answered; of a get none when it was not found.
	Counts []Count `json:"counts,omitempty"`
	Parts  []Part  `json:"parts,omitempty"`
}

// Count is a group with its values, as answered.
type Count struct {
	Group  string          `json:"group"`
	Values json.RawMessage `json:"values"`
}

// Part is one partition's part of an answer, in the API's own names.
type Part struct {
	Partition int32            `json:"partition"`
	Lane      int              `json:"lane"`
	Node      string           `json:"node"`
	Role      string           `json:"role"` // owner, standby or unsure
	Epoch     uint64           `json:"epoch"`
	Position  map[string]int64 `json:"position"` // "TOPIC/PARTITION": next offset to read
	Lag       int64            `json:"lag"`
	InputLag  int64            `json:"input_lag,omitempty"` // a part of Lag; an answer need not say it
	AsOfMs    int64            `json:"as_of_ms"`
	Values    json.RawMessage  `json:"values,omitempty"`
}

// Status is what one node says of itself alone.
type Status struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation,omitempty"`
	Leader      string `json:"leader,omitempty"` // as this node knows it
	Began       int64  `json:"began_ns"`         // of the question, Unix time
	Lanes       []Lane `json:"lanes"`
}

// Lane is a lane as a node says of itself.
type Lane struct {
	App   string `json:"app"`
	Lane  int    `json:"lane"`
	Owner string `json:"owner"`
	Epoch uint64 `json:"epoch"`
	State string `json:"state"`
	Role  string `json:"role,omitempty"` // standby for a copy that is not the owner's
	Ready bool   `json:"ready,omitempty"`
	Lag   int64  `json:"lag"`
}

// Process is written when a process starts, and once more when it has ended (then Ended is set).
type Process struct {
	Name    string    `json:"name"` // of the node, or "broker 2"
	Start   int       `json:"start"`
	Pid     int       `json:"pid"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	How     string    `json:"how,omitempty"`  // "signal: killed", "exit status 0"
	Meant   bool      `json:"meant,omitzero"` // a fault or the end ended it
}

// Commit is a request to commit a transaction, on its way to a broker, which does not have it yet.
// One that is sent again is written again.
type Commit struct {
	Producer int64 `json:"p"`
	Epoch    int16 `json:"e"`
}

// Audit is one run of `tally audit`.
type Audit struct {
	App   string `json:"app"`
	Exact bool   `json:"exact"` // it exits 0
	Code  int    `json:"code"`  // of its exit
	Text  string `json:"text"`
}

// End is the state of everything after the last fault, written once.
type End struct {
	// QuietAfterMs is how long it took until nothing waited and no transaction was open; -1: it was
	// not so within the time that there is.
	QuietAfterMs int64 `json:"quiet_after_ms"`
	// From is from when that is counted, and FromWhat what ended then.
	From     time.Time `json:"from,omitzero"`
	FromWhat string    `json:"from_what,omitempty"`
	// Why says what was missing where it never was quiet.
	Why string `json:"why,omitempty"`
	// Lag is of all apps and stages, as the cluster says; Waiting is that by Kafka's word, the
	// records behind what the groups have committed.
	Lag     int64   `json:"lag"`
	Waiting int64   `json:"waiting"`
	Topics  []Topic `json:"topics"`
}

// Topic is where a partition ends, and up to where a reader of committed records can read.
type Topic struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	Start      int64  `json:"start"`
	End        int64  `json:"end"`
	LastStable int64  `json:"last_stable"`
}

// Store is a lane's store that was opened after its node had died, of one task; the file of stores
// has one a line. Groups and Digest are of all that is in it: the digest is the sum of
// check.AddDigest over its groups.
type Store struct {
	App       string `json:"app"`
	Node      string `json:"node"`
	Start     int    `json:"start,omitempty"` // of the node, after which it was copied; 0: at the run's end
	Stage     uint8  `json:"stage"`
	Partition int32  `json:"partition"`
	Changelog int64  `json:"changelog"` // everything below this offset of the changelog is in it
	Groups    int64  `json:"groups"`
	Digest    uint64 `json:"digest,string"`
	// Damaged is what a store says that knows that it is damaged, and Refused why else it could not
	// be opened, such as an identity that is not its app's. Partition is then its lane.
	Damaged string `json:"damaged,omitempty"`
	Refused string `json:"refused,omitempty"`
	// Files are those of a damaged store, by their names.
	Files []string `json:"files,omitempty"`
}
