package failpoint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestLosePower: of each file what was synced stays, and the names that its directory was synced
// with. What was removed since then is there again.
func TestLosePower(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("old"), []byte("old"), 0o600))
	must(os.WriteFile(at("left.unsynced-7"), []byte("of a process before"), 0o600))
	d := NewDisk()
	write := func(name, synced, more string) {
		f, err := d.Create(at(name), vfs.WriteCategoryUnspecified)
		must(err)
		_, err = f.Write([]byte(synced))
		must(err)
		must(f.Sync())
		_, err = f.Write([]byte(more))
		must(err)
		must(f.Close())
	}
	syncDir := func() {
		f, err := d.OpenDir(dir)
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	write("named", "synced", "and more")
	write("removed for good", "synced", "")
	write("removed", "synced", "and more")
	syncDir()
	must(d.Remove(at("removed for good")))
	syncDir()
	must(d.Remove(at("removed")))
	must(d.Remove(at("old")))
	write("without a name", "synced", "")
	must(d.Link(at("named"), at("another name")))
	must(os.MkdirAll(at("store"), 0o700))
	write("store/in", "synced", "and more")
	must(d.Rename(at("store"), at("other")))
	write("of a store that is gone", "", "")
	must(os.Remove(at("of a store that is gone")))
	write("twice", "synced", "")
	must(d.Remove(at("twice")))
	if names, err := d.List(dir); err != nil || len(names) != 4 {
		t.Errorf("before the loss there are %q, %v", names, err)
	}
	must(d.LosePower())
	want := map[string]string{"named": "synced", "removed": "synced", "old": "old"}
	entries, err := os.ReadDir(dir)
	must(err)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		got, err := os.ReadFile(at(e.Name()))
		must(err)
		if w, ok := want[e.Name()]; !ok || w != string(got) {
			t.Errorf("%s has %q, not %q", e.Name(), got, w)
		}
		delete(want, e.Name())
	}
	if len(want) > 0 {
		t.Errorf("these are not there: %v", want)
	}
}
