package audit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/tally-kafka/tally/processor/spec"
)

// The changelog's format, as documented: every key begins with format, kind and stage; a value's
// key goes on with its time slot and the group. Every value begins with format and kind; then
// follow a group's values, or the JSON of a position record or barrier.
const (
	changelogFormat = 1
	changelogSlot   = 0
	secondStage     = 1 // the last one

	kindValue    = 'v'
	kindPosition = 'p'
	kindBarrier  = 'b'
)

// changelogKey is a key, taken apart. The group is a part of it; nil for kinds without one.
type changelogKey struct {
	kind, stage byte
	group       []byte
}

func parseKey(key []byte) (k changelogKey, err error) {
	if len(key) < 3 || key[0] != changelogFormat || key[2] > secondStage {
		return k, fmt.Errorf("the key %.32x is not of a format that this audit knows", key)
	}
	k.kind, k.stage = key[1], key[2]
	switch {
	case k.kind == kindValue && len(key) > 4 && key[3] == changelogSlot:
		k.group = key[4:]
		return k, nil
	case (k.kind == kindPosition || k.kind == kindBarrier) && len(key) == 3:
		return k, nil
	}
	return changelogKey{}, fmt.Errorf("the key %.32x is not of a known shape", key)
}

// parseBody returns what follows the two bytes at the beginning of a changelog value.
func parseBody(value []byte, kind byte) ([]byte, error) {
	if len(value) < 2 || value[0] != changelogFormat || value[1] != kind {
		return nil, fmt.Errorf("the value %.32x does not go with its key", value)
	}
	return value[2:], nil
}

// positionRecord has of a position record what the audit compares.
type positionRecord struct {
	Stage            uint8  `json:"stage"`
	Partition        int32  `json:"partition"`
	AppID            string `json:"app_id"`
	Generation       int    `json:"generation"`
	InputTopicID     string `json:"input_topic_id"`
	ChangelogTopicID string `json:"changelog_topic_id"`
	Fingerprint      string `json:"fingerprint"`
	Spec             string `json:"spec"`
	Txn              uint64 `json:"txn"`
	Start            int64  `json:"start"`
	Input            int64  `json:"input"`
	Processed        int64  `json:"processed"`
	Filtered         int64  `json:"filtered"`
	Skipped          int64  `json:"skipped"`
	Dead             int64  `json:"dead"`
	Groups           int64  `json:"groups"`
	Digest           uint64 `json:"digest,string"`

	// Of an app of two stages: the partitions of its repartition topic, and that topic's id.
	Repartitions       int    `json:"repartitions"`
	RepartitionTopicID string `json:"repartition_topic_id"`
	// Of a task of the second stage: of each input partition, the events below this offset are
	// counted, but for those of the lanes in Midway, of which something more may be.
	Sources map[int32]int64 `json:"sources"`
	Midway  []int           `json:"midway"`
}

func (p positionRecord) events() int64 { return p.Processed + p.Filtered + p.Skipped + p.Dead }

// parsePosition reads a position record of a stage in a changelog partition.
func parsePosition(value []byte, stage byte, partition int32) (rec positionRecord, err error) {
	body, err := parseBody(value, kindPosition)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(body, &rec); err != nil {
		return rec, fmt.Errorf("a position record that is not JSON: %w", err)
	}
	switch {
	case rec.AppID == "":
		err = errors.New("a position record without app_id")
	case rec.Partition != partition || rec.Stage != stage:
		err = fmt.Errorf("a position record of stage %d, partition %d", rec.Stage, rec.Partition)
	case rec.Repartitions < 0 || rec.Repartitions > spec.MaxRepartitions || rec.Stage > 0 && rec.Repartitions == 0:
		err = fmt.Errorf("a position record of stage %d of an app with %d repartition partitions", rec.Stage, rec.Repartitions)
	case rec.Input < rec.Start || rec.Start < 0:
		err = fmt.Errorf("a position record that starts at %d and has come to %d", rec.Start, rec.Input)
	}
	return rec, err
}

// share is what a group adds to the digest of a position record, which is their sum mod 2^64: the
// hash of the group's length (8 bytes, little endian), the group and its values.
func share(group, values []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(group))))
	_, _ = d.Write(group)
	_, _ = d.Write(values)
	return d.Sum64()
}
