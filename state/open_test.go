package state

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestIdentity(t *testing.T) {
	fs := vfs.NewMem()
	o := smallOptions(fs, newClock())
	must(t, mustOpen(t, "lane", o).Close())
	must(t, mustOpen(t, "lane", o).Close()) // the same is taken again

	for field, change := range map[string]func(*Identity){
		"kafka_cluster":      func(i *Identity) { i.KafkaCluster = "other" },
		"app":                func(i *Identity) { i.App = "other" },
		"app_id":             func(i *Identity) { i.AppID = "other" },
		"lane":               func(i *Identity) { i.Lane = 99 },
		"input_topic_id":     func(i *Identity) { i.InputTopicID = "other" },
		"changelog_topic_id": func(i *Identity) { i.ChangelogTopicID = "other" },
		"generation":         func(i *Identity) { i.Generation = 99 },
		"fingerprint":        func(i *Identity) { i.Fingerprint = "other" },
	} {
		id := testIdentity
		change(&id)
		before := listing(t, fs)
		_, err := Open("lane", id, o)
		var ie *IdentityError
		if !errors.As(err, &ie) || ie.Field != field || ie.Dir != "lane" {
			t.Errorf("%s: %v", field, err)
			continue
		}
		for _, part := range []string{ie.Stored, ie.Now, "lane", "remove that directory", "safe"} {
			if part == "" || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", field, err, part)
			}
		}
		if after := listing(t, fs); after != before {
			t.Errorf("%s: a refused open wrote", field)
		}
	}
	if n := len(testIdentity.fields()); n != 8 {
		t.Errorf("%d fields are compared: this table needs one more", n)
	}
	must(t, mustOpen(t, "lane", o).Close())
}

// listing is the directory with the contents of all files but the lock.
func listing(t *testing.T, fs vfs.FS) string {
	t.Helper()
	var b strings.Builder
	names, err := fs.List("lane")
	must(t, err)
	slices.Sort(names)
	for _, n := range names {
		if n == "LOCK" {
			continue
		}
		f, err := fs.Open(fs.PathJoin("lane", n))
		must(t, err)
		var content bytes.Buffer
		_, err = content.ReadFrom(f)
		must(t, err)
		must(t, f.Close())
		b.WriteString(n + "\x00" + content.String() + "\x00")
	}
	return b.String()
}

func TestLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lane")
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewMem()} {
		o := smallOptions(fs, newClock())
		s := mustOpen(t, dir, o)
		_, err := Open(dir, testIdentity, o)
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: second open: %v", name, err)
		}
		must(t, s.Close())
		must(t, mustOpen(t, dir, o).Close())
	}
}

// A store of a newer tally is refused before anything is written.
func TestNewerFormatIsRefused(t *testing.T) {
	for name, write := range map[string]func(*pebble.DB) error{
		"a newer key": func(db *pebble.DB) error {
			return db.Set([]byte{format + 1, byte(storeIdentity)}, []byte("?"), nil)
		},
		"a newer identity": func(db *pebble.DB) error {
			return db.Set(storeKey(storeIdentity), []byte{format + 1, byte(storeIdentity)}, nil)
		},
		"a newer Pebble": func(db *pebble.DB) error {
			return db.RatchetFormatMajorVersion(pebbleFormat + 1)
		},
	} {
		fs := vfs.NewMem()
		o := smallOptions(fs, newClock())
		must(t, mustOpen(t, "lane", o).Close())
		db, err := pebble.Open("lane", &pebble.Options{FS: fs, FormatMajorVersion: pebbleFormat})
		must(t, err)
		must(t, write(db))
		must(t, db.Flush())
		must(t, db.Close())
		if name == "a newer Pebble" { // one that this build does not know
			renameMarker(t, fs)
		}
		before := listing(t, fs)
		if _, err := Open("lane", testIdentity, o); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "lane") {
			t.Errorf("%s: %v", name, err)
		}
		if listing(t, fs) != before {
			t.Errorf("%s: the refused open wrote", name)
		}
	}
}

// renameMarker makes Pebble's marker of its format say 999.
func renameMarker(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("lane")
	must(t, err)
	for _, n := range names {
		if strings.HasPrefix(n, "marker.format-version.") {
			parts := strings.Split(n, ".")
			parts[3] = "999"
			must(t, fs.Rename("lane/"+n, "lane/"+strings.Join(parts, ".")))
			return
		}
	}
	t.Fatalf("no marker of the format in %v", names)
}

// A crash in the middle of the creation leaves nothing that stops the next start.
func TestCrashedCreation(t *testing.T) {
	for n := range 60 {
		mem := vfs.NewCrashableMem()
		var clone *vfs.MemFS
		op := 0
		fs := &countingFS{FS: mem, each: func() {
			if op++; op == n+1 {
				clone = mem.CrashClone(vfs.CrashCloneCfg{})
			}
		}}
		must(t, mustOpen(t, "lane", smallOptions(fs, newClock())).Close())
		if clone == nil {
			if n < 8 {
				t.Fatalf("the creation had only %d operations", n)
			}
			return
		}
		s := mustOpen(t, "lane", smallOptions(clone, newClock()))
		must(t, s.Close())
		must(t, mustOpen(t, "lane", smallOptions(clone, newClock())).Close())
	}
}

// countingFS calls each before every operation that makes or moves a file.
type countingFS struct {
	vfs.FS
	each func()
}

func (f *countingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.each()
	return f.FS.Create(name, c)
}

func (f *countingFS) Rename(a, b string) error { f.each(); return f.FS.Rename(a, b) }
func (f *countingFS) Link(a, b string) error   { f.each(); return f.FS.Link(a, b) }
func (f *countingFS) Remove(a string) error    { f.each(); return f.FS.Remove(a) }

// filled makes a store on the disk with a few thousand groups in tables.
func filled(t *testing.T) (dir string, groups int) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "a[b]", "lane-0")
	s := mustOpen(t, dir, Options{Seam: newClock().seam()})
	var ch []Change
	for i := range 5000 {
		ch = append(ch, Change{Group: []byte{'g', byte(i >> 8), byte(i)}, Values: bytes.Repeat([]byte{byte(i * 7)}, 30)})
	}
	must(t, s.Publish([]Position{{Record: PositionRecord{AppID: "app-id"}, Changelog: 5000}}, ch))
	must(t, s.Close())
	return dir, len(ch)
}

// Broken and missing files are damage, found at the open or at the read; the directory can be set
// aside, and an empty store opened in its place.
func TestDamage(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, file string){
		"flipped bits": func(t *testing.T, file string) {
			b, err := os.ReadFile(file)
			must(t, err)
			for i := range b[:len(b)-min(len(b)/2, 200)] { // not a table's footer
				b[i] ^= 0x55
			}
			must(t, os.WriteFile(file, b, 0o644))
		},
		"cut off": func(t *testing.T, file string) { must(t, os.Truncate(file, 100)) },
		"missing": func(t *testing.T, file string) { must(t, os.Remove(file)) },
	} {
		for _, pattern := range []string{"*.sst", "MANIFEST-*"} {
			if name == "cut off" && pattern[0] == 'M' {
				continue // a manifest without its end is an older one: a prefix with its own position
			}
			t.Run(name+" "+pattern[:1], func(t *testing.T) { testDamage(t, hurt, pattern) })
		}
	}
}

func testDamage(t *testing.T, hurt func(*testing.T, string), pattern string) {
	dir, groups := filled(t)
	files, err := filepath.Glob(escapeGlob(dir) + "/" + pattern)
	must(t, err)
	if len(files) == 0 {
		t.Fatalf("no %s in %s", pattern, dir)
	}
	for _, f := range files {
		hurt(t, f)
	}
	o := Options{Seam: newClock().seam()}
	s, err := Open(dir, testIdentity, o)
	if err == nil {
		err = readAll(s, groups)
		_ = s.Abandon()
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("damage shows as %v", err)
	}
	testSetAside(t, dir, o)
}

func testSetAside(t *testing.T, dir string, o Options) {
	first, err := SetAside(dir, o.Seam)
	must(t, err)
	must(t, os.MkdirAll(dir, 0o755))
	c := newClock()
	c.pass(time.Hour)
	second, err := SetAside(dir, c.seam())
	must(t, err)
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) || first == second {
		t.Errorf("of %s and %s the older one is still there: %v", first, second, err)
	}
	if _, err := os.Stat(second); err != nil {
		t.Error(err)
	}
	s := mustOpen(t, dir, o)
	if len(s.Positions()) != 0 || s.Verified() {
		t.Error("the new store is not empty and unverified")
	}
	must(t, s.Close())
}

func readAll(s *Store, groups int) error {
	for i := range groups {
		if _, _, err := s.Get(Task{}, []byte{'g', byte(i >> 8), byte(i)}, nil); err != nil {
			return err
		}
	}
	return nil
}

func TestOptionsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"CacheBytes":    func(o *Options) { o.CacheBytes = -1 },
		"ApplyBytes":    func(o *Options) { o.CacheBytes, o.ApplyBytes = 1<<20, 1<<20 },
		"ApplyTxns":     func(o *Options) { o.ApplyTxns = -1 },
		"FlushInterval": func(o *Options) { o.FlushInterval = -1 },
		"MemTableBytes": func(o *Options) { o.MemTableBytes = 1 },
	} {
		o := Options{Seam: newClock().seam(), FS: vfs.NewMem()}
		change(&o)
		if _, err := Open("lane", testIdentity, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestClosed(t *testing.T) {
	s := mustOpen(t, "lane", smallOptions(vfs.NewMem(), newClock()))
	cut, err := s.Cut()
	must(t, err)
	sub := s.Subscribe(nil, 1, 1<<20)
	must(t, s.Close())
	_, _, getErr := s.Get(Task{}, nil, nil)
	_, cutErr := s.Cut()
	_, _, subErr := sub.Next(t.Context())
	for name, err := range map[string]error{
		"Get": getErr, "Cut": cutErr, "Publish": s.Publish(nil, nil), "Apply": s.Apply(), "Flush": s.Flush(),
		"Tick": s.Tick(), "Close": s.Close(), "Abandon": s.Abandon(), "Verify": s.Verify(t.Context()),
		"GetMany": s.GetMany(Task{}, [][]byte{nil}, nil), "Next": subErr,
		"Scan": cut.Scan(t.Context(), Task{}, nil, nil), "Load": s.Load(LoadOptions{}).Finish(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if _, ok := s.Durable(Task{}); ok {
		t.Error("Durable after Close")
	}
	cut.Close()
	sub.Close()
	_ = s.Metrics()
}
