package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tally-kafka/tally/processor/spec"
	"github.com/tally-kafka/tally/replication/ownership"
)

// intent is what a reset is going to do. It is on disk and in the cluster's log before the first
// deletion, so that whatever a crash leaves in Kafka, the next start, or another node in the place
// of one that does not come back, knows what was meant and ends it. On disk it stays until the new
// generation has its first position records; in the log as long as the generation does, since each
// of its nodes has to know where it starts.
type intent struct {
	App string `json:"app"`
	// Node is the id of the node that has the reset in hand. Another takes it up, under the same
	// generation, once that one is dead; or when it is "", after the one of Left has left it to the
	// others since it does not reach Kafka.
	Node         string `json:"node,omitempty"`
	Left         string `json:"left,omitempty"`
	AppID        string `json:"app_id"`
	Generation   int    `json:"generation"` // the new one
	KafkaCluster string `json:"kafka_cluster"`
	AskedMs      int64  `json:"asked_ms"`
	From         string `json:"from"` // as asked for
	Spec         string `json:"spec"` // of the new generation, canonical YAML

	InputID string `json:"input_id"`
	// Start has the first offset to be counted of each input partition. nil: the reset was noted
	// while no node ran, and all but From and Spec is still to be found out.
	Start []int64 `json:"start"`
	// ChangelogID is that of the old generation's changelog, "" when there was none. One with
	// another id is the new generation's, and is never deleted.
	ChangelogID string `json:"changelog_id"`
	// Doomed are the ids of the other topics of the old generation, by name: those that have
	// another id are the new one's. nil in an intent of a release that did not say: all of the name
	// go.
	Doomed map[string]string `json:"doomed,omitempty"`
	// Fence are the transactional ids under which the old generation may still be written.
	Fence []string `json:"fence"`
	Epoch uint64   `json:"epoch"` // the highest of the old generation
}

func (in *intent) planned() bool { return in.Start != nil }

// updated reports whether the cluster has the generation that a reset begins, with another spec
// than the reset's: that one was given since, and counts. What is left of the reset, its first
// positions and this file, is not to take it back.
func (in *intent) updated(rec *ownership.App) bool {
	if rec == nil || rec.Halted != "" || rec.Spec == in.Spec || !in.planned() {
		return false
	}
	log, err := resetOf(rec)
	return err == nil && log != nil && log.Generation >= in.Generation
}

// log is the intent as the cluster's log keeps it.
func (in *intent) log() json.RawMessage {
	data, err := json.Marshal(in)
	if err != nil {
		panic("node: an intent that does not encode: " + err.Error())
	}
	return data
}

// resetOf is what the log knows of resets of an app: the one that is under way while the app is
// halted, else the one that its generation began with; nil for none.
func resetOf(rec *ownership.App) (*intent, error) {
	if len(rec.Intent) == 0 {
		return nil, nil
	}
	in := &intent{}
	if err := json.Unmarshal(rec.Intent, in); err != nil {
		return nil, fmt.Errorf("what the cluster knows of the reset of app %s cannot be read: %w", rec.Name, err)
	}
	return in, nil
}

// startOf are the offsets at which a generation that a reset began counts, nil for one that begins
// where the spec says.
func startOf(rec *ownership.App) ([]int64, error) {
	if rec == nil {
		return nil, nil
	}
	in, err := resetOf(rec)
	if err != nil || in == nil || in.Generation != rec.Generation {
		return nil, err
	}
	return in.Start, nil
}

func (d *dataDir) intentFile(app string) string {
	return filepath.Join(d.path, "apps", app+".reset.json")
}

// storeIntent returns when the file and its name are durable.
func (d *dataDir) storeIntent(in *intent) error {
	data, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		return err
	}
	path := d.intentFile(in.App)
	d.intents.Lock()
	defer d.intents.Unlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := writeFile(path, append(data, '\n')); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// loadIntent gives nil when no reset of the app is under way.
func (d *dataDir) loadIntent(app string) (*intent, error) {
	path := d.intentFile(app)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	in := &intent{}
	if err := json.Unmarshal(data, in); err != nil || in.App != app {
		return nil, fmt.Errorf("%s, which says what a reset of app %s is to do, is damaged (%v): remove it, and reset the app again", path, app, err)
	}
	return in, nil
}

// dropIntent removes the intent of the reset to a generation; that of a later one stays.
func (d *dataDir) dropIntent(app string, generation int) error {
	d.intents.Lock()
	defer d.intents.Unlock()
	in, err := d.loadIntent(app)
	if err != nil || in == nil || in.Generation > generation {
		return err
	}
	return d.removeIntent(app)
}

// dropIntents removes whatever reset of a deleted app was under way.
func (d *dataDir) dropIntents(app string) error {
	d.intents.Lock()
	defer d.intents.Unlock()
	return d.removeIntent(app)
}

func (d *dataDir) removeIntent(app string) error {
	path := d.intentFile(app)
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(filepath.Dir(path)))
}

// replaceByIntents puts the spec of a reset that is under way in the place of the stored one.
func (d *dataDir) replaceByIntents(specs []*spec.Spec) error {
	for i, s := range specs {
		in, err := d.loadIntent(s.App)
		if err != nil {
			return err
		}
		if in == nil || in.Spec == "" {
			continue
		}
		if specs[i], err = spec.Parse([]byte(in.Spec), d.intentFile(s.App)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
