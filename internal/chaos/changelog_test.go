package chaos

import (
	"encoding/json"

	"github.com/twmb/franz-go/pkg/kgo"
)

// note is what this suite reads of the changelog's position records and barriers, by itself:
// behind a format byte and a kind byte they are JSON.
type note struct {
	Barrier     bool
	Offset      int64
	Partition   int32  `json:"partition"`
	AppID       string `json:"app_id"`
	Incarnation string `json:"incarnation"`
	NodeName    string `json:"node_name"`
	Epoch       uint64 `json:"epoch"`
	Txn         uint64 `json:"txn"`
	Start       int64  `json:"start"`
	Input       int64  `json:"input"`
}

// notes are the committed position records and barriers, in the order of each partition.
func (j *job) notes() []note {
	j.t.Helper()
	var notes []note
	j.readCommitted(j.app+".changelog", func(rec *kgo.Record) {
		if kind := rec.Key[1]; kind == 'p' || kind == 'b' {
			n := note{Barrier: kind == 'b', Offset: rec.Offset}
			must(j.t, json.Unmarshal(rec.Value[2:], &n))
			if n.Partition != rec.Partition {
				j.t.Errorf("changelog partition %d offset %d is of partition %d", rec.Partition, rec.Offset, n.Partition)
			}
			notes = append(notes, n)
		}
	})
	return notes
}

// appID is the id in the position records; "" while there is none.
func (j *job) appID() string {
	j.t.Helper()
	if j.id == "" {
		for _, n := range j.notes() {
			j.id = n.AppID // a barrier has it too: the cluster agreed on it before the first one
		}
	}
	return j.id
}
