package state

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hurts are what may happen to a file.
var hurts = map[string]func(t *testing.T, file string){
	"first byte flipped": func(t *testing.T, file string) { flip(t, file, 0) },
	"bit in the middle flipped": func(t *testing.T, file string) {
		flip(t, file, int(size(t, file)/2))
	},
	"last byte flipped": func(t *testing.T, file string) { flip(t, file, int(size(t, file))-1) },
	"emptied":           func(t *testing.T, file string) { must(t, os.Truncate(file, 0)) },
	"cut in half":       func(t *testing.T, file string) { must(t, os.Truncate(file, size(t, file)/2)) },
	"missing":           func(t *testing.T, file string) { must(t, os.Remove(file)) },
	"foreign": func(t *testing.T, file string) {
		must(t, os.WriteFile(file, bytes.Repeat([]byte("foreign "), int(size(t, file)/8+1))[:size(t, file)], 0o644))
	},
	"a directory": func(t *testing.T, file string) {
		must(t, os.Remove(file))
		must(t, os.Mkdir(file, 0o755))
	},
}

func size(t *testing.T, file string) int64 {
	info, err := os.Stat(file)
	must(t, err)
	return info.Size()
}

func flip(t *testing.T, file string, at int) {
	b, err := os.ReadFile(file)
	must(t, err)
	if len(b) > 0 {
		b[at] ^= 0x10
		must(t, os.WriteFile(file, b, 0o644))
	}
}

// Whatever happens to whichever file of a store that is closed: it is found when the store is
// opened or read, or what is left is a prefix of the changelog with its own position, which the
// rest of the changelog brings up to date. A count is never wrong. Damage can be set aside.
func TestDamagedFiles(t *testing.T) {
	kept := map[string]string{ // which damage need not be found, and why
		"OPTIONS emptied":                    "it is for people",
		"OPTIONS missing":                    "it is for people",
		"OPTIONS bit in the middle flipped":  "it is for people",
		"OPTIONS last byte flipped":          "it is for people",
		"MANIFEST last byte flipped":         "it is an older one then, whose tables are there or not",
		"MANIFEST bit in the middle flipped": "as above",
		"MANIFEST cut in half":               "as above",
	}
	whole := newDamage(t)
	for i, name := range slices.Sorted(maps.Keys(hurts)) {
		hurt := hurts[name]
		for j, pattern := range []string{"*.sst", "MANIFEST-*", "OPTIONS-*", "marker.manifest.*", "marker.format-version.*", "*.log"} {
			if testing.Short() && (i+j)%3 > 0 {
				continue // with -race: each file, and each harm, twice or more
			}
			kind := strings.TrimRight(pattern, "-.*")
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				d := whole.copy(t)
				files, err := filepath.Glob(filepath.Join(d.dir, pattern))
				must(t, err)
				if len(files) == 0 {
					t.Fatalf("the store has no %s", pattern)
				}
				for _, f := range files {
					hurt(t, f)
				}
				found := d.found(t)
				optional := strings.HasPrefix(kind, "marker") && name != "missing" || kind == "*.log" // names that say it all
				if _, ok := kept[kind+" "+name]; !found && !ok && !optional {
					t.Errorf("it is not found")
				}
			})
		}
	}
}

// Damage within a table of groups is nothing that opening the store meets: the commit's read does,
// and takes no group for one without values.
func TestDamagedTable(t *testing.T) {
	d := newDamage(t)
	files, err := filepath.Glob(filepath.Join(d.dir, "*.sst"))
	must(t, err)
	largest := slices.MaxFunc(files, func(a, b string) int { return cmp.Compare(size(t, a), size(t, b)) })
	flip(t, largest, int(size(t, largest)/2))
	d.s = mustOpen(t, d.dir, d.opt)
	if err := d.readAll(t); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), d.dir) {
		t.Errorf("it shows as %v", err)
	}
	must(t, d.s.Abandon())
}

// damage is a store on the disk, closed, that may be hurt.
type damage struct {
	*model
	dir string
}

// copy is the same store in another place.
func (d *damage) copy(t *testing.T) *damage {
	m := *d.model
	m.rng = rand.New(rand.NewPCG(1, 2))
	c := &damage{model: &m, dir: filepath.Join(t.TempDir(), "lane")}
	must(t, os.CopyFS(c.dir, os.DirFS(d.dir)))
	return c
}

func newDamage(t *testing.T) *damage {
	d := &damage{model: newModel(t, 1), dir: filepath.Join(t.TempDir(), "lane")}
	must(t, d.s.Abandon())
	d.opt.FS, d.opt.FlushBytes = vfs.Default, 16<<10
	d.s = mustOpen(t, d.dir, d.opt)
	for range 6 {
		x := d.logs.commit(d.rng, modelTasks, 800, 200)
		must(t, d.s.Publish(x.positions, x.changes))
	}
	must(t, d.s.Close())
	return d
}

// found opens the store and reads all of it. It reports whether damage was found, which is then set
// aside; otherwise what is there must be a prefix. In the end the store has everything.
func (d *damage) found(t *testing.T) (found bool) {
	t.Helper()
	var err error
	if d.s, err = Open(d.dir, testIdentity, d.opt); err == nil {
		if err = d.readAll(t); err == nil {
			d.logs.checkPrefix(t, d.s)
		} else {
			_ = d.s.Abandon()
		}
	}
	if err != nil {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), d.dir) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("it shows as %v", err)
		}
		aside, err := SetAside(d.dir, d.opt.Seam)
		must(t, err)
		if _, err := os.Stat(aside); err != nil {
			t.Error(err)
		}
		d.s = mustOpen(t, d.dir, d.opt)
		found = true
	}
	d.current(t, LoadOptions{}, true)
	must(t, d.s.Verify(t.Context()))
	must(t, d.s.Close())
	return found
}

// readAll reads every group, as the commits would. A group that has a value has the right one.
func (d *damage) readAll(t *testing.T) error {
	for _, task := range modelTasks {
		p, _ := d.s.Position(task)
		want, _ := d.logs.replay(task, p.Changelog)
		var groups [][]byte
		for g := range want {
			groups = append(groups, []byte(g))
		}
		if err := d.s.GetMany(task, groups, func(i int, got []byte, ok bool) {
			if g := groups[i]; !ok || string(got) != want[string(g)] {
				t.Fatalf("%v %q is %q, %v, want %q", task, g, got, ok, want[string(g)])
			}
		}); err != nil {
			return err
		}
	}
	cut, err := d.s.Cut()
	if err != nil {
		return err
	}
	defer cut.Close()
	return cut.Scan(t.Context(), Task{}, nil, func(_, _ []byte) error { return nil })
}

// Files that are not the store's do no harm, a file in the place of the directory is set aside, and
// a directory that was removed is made again.
func TestForeignFiles(t *testing.T) {
	whole := newDamage(t)
	for name, put := range map[string]func(t *testing.T, dir string){
		"another's files": func(t *testing.T, dir string) {
			for _, f := range []string{"notes.txt", "999999.sst", "MANIFEST-999999", "000001.dbtmp", loadFile} {
				must(t, os.WriteFile(filepath.Join(dir, f), []byte("foreign"), 0o644))
			}
		},
		"a file in its place": func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, []byte("foreign"), 0o644))
		},
		"removed": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		"emptied": func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.Mkdir(dir, 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := whole.copy(t)
			put(t, d.dir)
			if found := d.found(t); found != (name == "a file in its place") {
				t.Errorf("damage was found: %v", found)
			}
		})
	}
}
