package opened

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/chaos/history"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/state"
)

// TestOne: what a store says of itself is told apart: what is in it, that it is damaged, and that
// it is another's.
func TestOne(t *testing.T) {
	id := state.Identity{KafkaCluster: "k", App: "one", AppID: "a", Generation: 1, InputTopicID: "i", ChangelogTopicID: "c", Fingerprint: "f"}
	dir := t.TempDir()
	lane := filepath.Join(dir, "one", "0")
	store, err := state.Open(lane, id, state.Options{Seam: seam.World()})
	if err != nil {
		t.Fatal(err)
	}
	task := state.Task{Partition: 4}
	rec := state.PositionRecord{Task: task, AppID: id.AppID, Generation: 1, InputTopicID: "i", ChangelogTopicID: "c"}
	if err := store.Publish([]state.Position{{Record: rec, Changelog: 7}}, []state.Change{{Task: task, Group: []byte("g"), Values: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	other := id
	other.AppID = "b"
	if got := opens(t, dir, id); len(got) != 1 || got[0].Groups != 1 || got[0].Changelog != 7 || got[0].Partition != 4 || got[0].Start != 3 {
		t.Errorf("%+v", got)
	}
	if got := opens(t, dir, other); len(got) != 1 || !strings.Contains(got[0].Refused, "app_id") || got[0].Damaged != "" {
		t.Errorf("%+v", got)
	}
	tables, err := filepath.Glob(filepath.Join(lane, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	if err := os.Truncate(tables[0], 10); err != nil {
		t.Fatal(err)
	}
	if got := opens(t, dir, id); len(got) != 1 || got[0].Damaged == "" || got[0].Refused != "" || !slices.Contains(got[0].Files, filepath.Base(tables[0])) {
		t.Errorf("%+v", got)
	}
}

// opens gives what is written down of a node's stores.
func opens(t *testing.T, dir string, id state.Identity) (all []history.Store) {
	t.Helper()
	path := filepath.Join(t.TempDir(), history.StoreFile)
	out, err := history.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	o := opener{ctx: t.Context(), out: out, id: id, lanes: 2}
	if err := o.node(dir, "a", 3); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := history.Load(path, func(s history.Store) error { all = append(all, s); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}
