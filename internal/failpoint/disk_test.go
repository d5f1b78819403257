package failpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

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
	d := NewDisk(func() {}, hasRoom)
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

// TestDirectoryTakenAway: what takes a store away does not ask the disk, and one that comes in its
// place knows nothing of what was removed there before.
func TestDirectoryTakenAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	d := NewDisk(func() {}, hasRoom)
	for range 2 {
		name := filepath.Join(dir, "file")
		err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(name, []byte("old"), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close(), d.Remove(name), os.RemoveAll(dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHangingSync: a sync ends when the disk syncs again, and power that is lost meanwhile takes
// what waits for it.
func TestHangingSync(t *testing.T) {
	node, world := both(t)
	dir := t.TempDir()
	passed := make(chan struct{}, 3)
	d := NewDisk(func() {
		node.AwaitSync()
		passed <- struct{}{}
	}, hasRoom)
	synced := func(name string) chan error {
		f, err := d.Create(filepath.Join(dir, name), vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.Write([]byte("x"))
		}
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- f.SyncData() }()
		return done
	}
	world.HangSyncs(true)
	done := synced("a")
	select {
	case <-done:
		t.Fatal("the sync does not hang")
	case <-time.After(20 * time.Millisecond):
	}
	world.HangSyncs(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	root, err := d.OpenDir(dir)
	if err == nil {
		err = root.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	world.HangSyncs(true)
	synced("b")
	if err := d.LosePower(); err != nil {
		t.Fatal(err)
	}
	if names, err := vfs.Default.List(dir); err != nil || len(names) != 1 || names[0] != "a" {
		t.Errorf("%q are there (%v)", names, err)
	}
	world.HangSyncs(false)
	for range cap(passed) { // nobody looks into the memory any more when it is unmapped
		<-passed
	}
}

func hasRoom() error { return nil }

// TestFullDisk: nothing is made and nothing grows on a full disk, which is counted, and what was
// there can be synced, read and removed.
func TestFullDisk(t *testing.T) {
	node, world := both(t)
	d := NewDisk(node.AwaitSync, node.Room)
	name := filepath.Join(t.TempDir(), "file")
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write([]byte("before"))
	}
	if err != nil || world.Refused() != 0 {
		t.Fatalf("with room: %v, and %d writes had none", err, world.Refused())
	}
	world.FillDisk(true)
	for what, do := range map[string]func() error{
		"a write":    func() error { _, err := f.Write([]byte("x")); return err },
		"a write at": func() error { _, err := f.WriteAt([]byte("x"), 3); return err },
		"a new file": func() error { _, err := d.Create(name+"2", vfs.WriteCategoryUnspecified); return err },
	} {
		if err := do(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	if err := f.Sync(); err != nil || world.Refused() != 3 {
		t.Errorf("%d writes had no room, and a sync says %v", world.Refused(), err)
	}
	if got, err := os.ReadFile(name); string(got) != "before" {
		t.Errorf("the file has %q (%v)", got, err)
	}
	if err := d.Remove(name); err != nil {
		t.Error(err)
	}
	world.FillDisk(false)
	if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
