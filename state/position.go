package state

// Task is a stage and a partition: the unit of state, of a changelog partition and of a restore. In
// an app of one stage, stage 0 reads the input and has the values. In one of two stages, stage 0
// reads the input and has no values, and stage 1 reads the repartition topic and has them. The
// tasks of one partition number, of either stage, share a changelog partition and belong to one
// lane.
type Task struct {
	Stage     uint8 `json:"stage"`
	Partition int32 `json:"partition"`
}

// SecondStage is the stage that reads the repartition topic and has the values, in an app of two.
const SecondStage = 1

// PositionRecord is what a transaction writes to the changelog partition of every task whose input
// position moved. It is the truth about the task: the consumer group's offset is its mirror.
//
// The zero AppID means that no position record was met yet (see Position.Known).
type PositionRecord struct {
	Task

	// What the app is. A record of another app, generation or topic is never taken.
	AppID            string `json:"app_id"`     // random, made once
	Generation       int    `json:"generation"` // grows with `reset`
	InputTopicID     string `json:"input_topic_id"`
	ChangelogTopicID string `json:"changelog_topic_id"`
	Fingerprint      string `json:"fingerprint"` // of the spec's fields that may not change
	Spec             string `json:"spec"`        // canonical YAML
	// Lanes is L, fixed by the first position records; a grown topic never changes it.
	Lanes int `json:"lanes"`
	// Partitions is the number of input partitions at the app's first start: a partition beyond it
	// was added later and starts at offset 0.
	Partitions int `json:"partitions"`
	// Repartitions is the number of partitions of the repartition topic, 0 for an app of one stage.
	// It is fixed by the first position records too: it decides in which of them a group is
	// counted.
	Repartitions       int    `json:"repartitions,omitempty"`
	RepartitionTopicID string `json:"repartition_topic_id,omitempty"`

	// Who wrote it.
	TransactionalID string `json:"transactional_id"`
	ClusterID       string `json:"cluster_id"`
	Node            string `json:"node"`
	NodeName        string `json:"node_name"`
	Incarnation     string `json:"incarnation"` // of the node: drawn at each start of the process
	Epoch           uint64 `json:"epoch"`
	Txn             uint64 `json:"txn"`   // transaction number of the lane
	AtMs            int64  `json:"at_ms"` // time of writing

	// How far the input is counted. Every input offset from Start to Input is in exactly one of
	// Processed, Filtered, Skipped and Dead, or is no event (control records, aborted data, gaps).
	Start     int64 `json:"start"` // the resolved start offset
	Input     int64 `json:"input"` // next input offset
	Processed int64 `json:"processed"`
	Filtered  int64 `json:"filtered"`
	Skipped   int64 `json:"skipped"`
	Dead      int64 `json:"dead"`
	Strays    int64 `json:"strays"`
	// Gaps are offsets that the input lost before they were read, passed because the operator said
	// so. They are offsets, not events: what was there is not known.
	Gaps int64 `json:"gaps,omitempty"`

	// Sources says, of a task of the second stage, up to where each input partition is in its
	// values: of the events below, all that concern its groups are, and of those above none is.
	// Midway are the lanes of whose input partitions that does not hold yet, since the record was
	// written in the middle of what one of their transactions has sent.
	Sources map[int32]int64 `json:"sources,omitempty"`
	Midway  []int           `json:"midway,omitempty"`

	// What the values add up to at this record: Store.Verify compares.
	Groups int64  `json:"groups"`
	Digest uint64 `json:"digest,string"` // sum mod 2^64 of Hash

	Hints Hints `json:"hints,omitzero"`
}

// Hints count the events that a known partitioner would have put into another partition, so that a
// query knows whether it may ask one lane only.
type Hints struct {
	Murmur2 int64  `json:"murmur2,omitempty"` // Java's default, kafka-python, franz-go
	CRC32   int64  `json:"crc32,omitempty"`   // librdkafka's default
	Example []byte `json:"example,omitempty"` // key of an event that the better of the two does not explain
}

// Position is how far a task's state has come.
type Position struct {
	// Record is the last position record below Changelog.
	Record PositionRecord
	// Changelog is the next changelog offset to read: everything below it is in the state.
	Changelog int64
}

// Known tells whether a position record was met. While it is false, only Record.Task and Changelog
// say anything.
func (p Position) Known() bool { return p.Record.AppID != "" }

// Barrier is a position record's little sister, without state: an acquire commits one to each own
// changelog partition, since only the offset of one's own write proves the end of the changelog.
type Barrier struct {
	Task
	AppID       string `json:"app_id"`
	Generation  int    `json:"generation"`
	ClusterID   string `json:"cluster_id"`
	Node        string `json:"node"`
	NodeName    string `json:"node_name"`
	Incarnation string `json:"incarnation"`
	Epoch       uint64 `json:"epoch"`
	AtMs        int64  `json:"at_ms"`
}
