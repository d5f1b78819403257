package state

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tally-kafka/tally/processor/spec"
)

// formatData is one directory of testdata/formats: what a build of that format left of an app of
// two lanes with four partitions.
type formatData struct {
	dir       string
	program   *spec.Program
	counts    map[string]string // by group, both as JSON
	numbers   map[int32]formatNumbers
	changelog []formatRecord
}

// formatNumbers are a partition's, from the recount of the audit.
type formatNumbers struct {
	Partition                                        int32
	Start, Input, Processed, Filtered, Skipped, Dead int64
	Counters                                         int64
}

type formatRecord struct {
	partition  int32
	offset     int64
	key, value []byte
}

func readFormat(t *testing.T, dir string) *formatData {
	t.Helper()
	f := &formatData{dir: dir, counts: map[string]string{}, numbers: map[int32]formatNumbers{}}
	text, err := os.ReadFile(filepath.Join(dir, "spec.yaml"))
	must(t, err)
	s, err := spec.Parse(text, "spec.yaml")
	must(t, err)
	f.program = spec.Compile(s)

	eachLine(t, filepath.Join(dir, "counts.jsonl"), func(line []byte) {
		var c struct{ Group, Values json.RawMessage }
		must(t, json.Unmarshal(line, &c))
		f.counts[string(c.Group)] = string(c.Values)
	})
	eachLine(t, filepath.Join(dir, "audit.json"), func(line []byte) {
		var report struct {
			Verdict    string
			Partitions []formatNumbers
		}
		must(t, json.Unmarshal(line, &report))
		if report.Verdict != "exact" {
			t.Fatalf("%s was %s when it was made", dir, report.Verdict)
		}
		for _, n := range report.Partitions {
			f.numbers[n.Partition] = n
		}
	})
	eachLine(t, filepath.Join(dir, "changelog.jsonl"), func(line []byte) {
		var r struct {
			Partition  int32
			Offset     int64
			Key, Value json.RawMessage
		}
		must(t, json.Unmarshal(line, &r))
		f.changelog = append(f.changelog, formatRecord{r.Partition, r.Offset, unwire(t, r.Key), unwire(t, r.Value)})
	})
	return f
}

func eachLine(t testing.TB, path string, fn func(line []byte)) {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fn(lines.Bytes())
	}
	must(t, lines.Err())
}

// unwire gives the bytes that `tally consume --json` has written as a string or {"b64":"..."}.
func unwire(t testing.TB, raw json.RawMessage) []byte {
	t.Helper()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	var object struct{ B64 []byte }
	must(t, json.Unmarshal(raw, &object))
	return object.B64
}

// identity is whose store the lane's is. What a position record repeats of it comes from there, so
// that a renamed field shows.
func (f *formatData) identity(t *testing.T, lane int, stored Identity) Identity {
	t.Helper()
	for _, r := range f.changelog {
		if kind, _, _, err := DecodeKey(r.key); err != nil || kind != KindPosition {
			continue
		}
		p, err := DecodePosition(r.value)
		must(t, err)
		return Identity{
			KafkaCluster: stored.KafkaCluster, App: "formats", AppID: p.AppID, Lane: lane, InputTopicID: p.InputTopicID,
			ChangelogTopicID: p.ChangelogTopicID, Generation: p.Generation, Fingerprint: p.Fingerprint,
		}
	}
	t.Fatal("the changelog has no position record")
	return Identity{}
}

// copied is a copy of the lane's store in memory, with the identity that it says.
func (f *formatData) copied(t *testing.T, lane int) (fs *vfs.MemFS, id Identity) {
	t.Helper()
	fs = vfs.NewMem()
	from := filepath.Join(f.dir, "state", fmt.Sprint(lane))
	names, err := os.ReadDir(from)
	must(t, err)
	must(t, fs.MkdirAll("lane", 0o755))
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(from, n.Name()))
		must(t, err)
		file, err := fs.Create("lane/"+n.Name(), vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = file.Write(b)
		must(t, err)
		must(t, file.Sync())
		must(t, file.Close())
	}
	db := rawStore(t, fs, true)
	stored, err := readIdentity(db)
	must(t, err)
	must(t, db.Close())
	if stored.KafkaCluster == "" {
		t.Fatal("the identity has no kafka_cluster")
	}
	return fs, f.identity(t, lane, stored)
}

// rawStore opens a store's files beneath this package.
func rawStore(t *testing.T, fs vfs.FS, readOnly bool) *pebble.DB {
	t.Helper()
	quiet := newWatcher(slog.New(slog.DiscardHandler), "lane")
	db, err := pebble.Open("lane", &pebble.Options{
		FS: fs, ReadOnly: readOnly, DisableWAL: true, FormatMajorVersion: pebbleFormat, Logger: quiet})
	must(t, err)
	return db
}

// check holds a lane's store against the recount.
func (f *formatData) check(t *testing.T, lane int, s *Store) {
	t.Helper()
	must(t, s.Verify(context.Background()))
	positions := s.Positions()
	if len(positions) != len(f.numbers)/2 {
		t.Errorf("lane %d has %d positions", lane, len(positions))
	}
	for task, pos := range positions {
		r := pos.Record
		got := formatNumbers{task.Partition, r.Start, r.Input, r.Processed, r.Filtered, r.Skipped, r.Dead, r.Groups}
		if want := f.numbers[task.Partition]; int(task.Partition)%2 != lane || got != want {
			t.Errorf("lane %d: the position %+v, want %+v", lane, got, want)
		}
	}
}

// groups adds a store's groups to all, as the JSON that a query gives.
func (f *formatData) groups(t *testing.T, s *Store, all map[string]string) {
	t.Helper()
	cut, err := s.Cut()
	must(t, err)
	defer cut.Close()
	for task := range s.Positions() {
		must(t, cut.Scan(context.Background(), task, nil, func(group, values []byte) error {
			v, err := f.program.DecodeValues(values, nil)
			must(t, err)
			must(t, f.program.CheckGroup(group))
			all[string(f.program.AppendGroupJSON(nil, group))] = string(f.program.AppendValuesJSON(nil, v))
			return nil
		}))
	}
}

// load reads the changelog into a new store, as a playback does.
func (f *formatData) load(t *testing.T, lane int, s *Store, opt LoadOptions) {
	t.Helper()
	l := s.Load(opt)
	for _, r := range f.changelog {
		if int(r.partition)%2 != lane {
			continue
		}
		kind, stage, group, err := DecodeKey(r.key)
		must(t, err)
		task := Task{Stage: stage, Partition: r.partition}
		switch kind {
		case KindValue:
			values, err := DecodeValue(r.value)
			must(t, err)
			must(t, l.Value(task, group, values, r.offset))
		case KindPosition:
			p, err := DecodePosition(r.value)
			must(t, err)
			must(t, l.Position(task, p, r.offset))
		case KindBarrier:
			b, err := DecodeBarrier(r.value)
			must(t, err)
			if b.Task != task || b.AppID == "" || b.Node == "" || b.Epoch == 0 || b.AtMs == 0 {
				t.Errorf("a barrier: %+v", b)
			}
			must(t, l.Advance(task, r.offset+1))
		}
	}
	must(t, l.Finish())
}

// formats are the directories with data of each format that there was. They are made once and never
// again: see doc.go.
func formats(t *testing.T) []*formatData {
	t.Helper()
	dirs, err := filepath.Glob("../testdata/formats/v*")
	must(t, err)
	if len(dirs) != int(format) {
		t.Fatalf("%d directories with data of %d formats", len(dirs), format)
	}
	var all []*formatData
	for _, dir := range dirs {
		all = append(all, readFormat(t, dir))
	}
	return all
}

// Every build opens the stores of every format that there was and takes its changelog, and finds in
// both the counts of then.
func TestFormats(t *testing.T) {
	for _, f := range formats(t) {
		opened, loaded, ingested := map[string]string{}, map[string]string{}, map[string]string{}
		for lane := range 2 {
			fs, id := f.copied(t, lane)
			s, err := Open("lane", id, smallOptions(fs, newClock()))
			must(t, err)
			if !s.Verified() {
				t.Errorf("%s: lane %d does not know that it was verified", f.dir, lane)
			}
			f.check(t, lane, s)
			f.groups(t, s, opened)
			positions := s.Positions()
			must(t, s.Close())

			for all, opt := range map[*map[string]string]LoadOptions{&loaded: {}, &ingested: {ChunkBytes: 1 << 10, IngestBytes: 1}} {
				s, err := Open("new", id, smallOptions(vfs.NewMem(), newClock()))
				must(t, err)
				f.load(t, lane, s, opt)
				f.check(t, lane, s)
				f.groups(t, s, *all)
				for task, p := range s.Positions() {
					if p.Record.Digest != positions[task].Record.Digest || p.Record.Txn != positions[task].Record.Txn {
						t.Errorf("%s: the changelog's position %+v, the store's %+v", f.dir, p, positions[task])
					}
				}
				must(t, s.Close())
			}
		}
		for how, got := range map[string]map[string]string{"opened": opened, "loaded": loaded, "ingested": ingested} {
			if !maps.Equal(got, f.counts) {
				t.Errorf("%s, %s: the counts\n got %v\nwant %v", f.dir, how, got, f.counts)
			}
		}
	}
}

// What this build writes of the same groups are the same bytes: a change of the encodings shows
// even where this build still reads the old ones.
func TestFormatIsWrittenAsItWas(t *testing.T) {
	all := formats(t)
	f := all[len(all)-1]
	kinds := map[Kind]int{}
	for _, r := range f.changelog {
		kind, stage, group, err := DecodeKey(r.key)
		must(t, err)
		kinds[kind]++
		task := Task{Stage: stage, Partition: r.partition}
		var key, value []byte
		switch kind {
		case KindValue:
			values, err := DecodeValue(r.value)
			must(t, err)
			decimals, err := f.program.DecodeValues(values, nil)
			must(t, err)
			group, err = f.program.ParseGroupJSON(f.program.AppendGroupJSON(nil, group))
			must(t, err)
			key, value = ValueKey(nil, task, group), AppendValue(nil, f.program.AppendValues(nil, decimals))
		case KindPosition:
			p, err := DecodePosition(r.value)
			must(t, err)
			key, value = PositionKey(task), EncodePosition(p)
		case KindBarrier:
			b, err := DecodeBarrier(r.value)
			must(t, err)
			key, value = BarrierKey(task), EncodeBarrier(b)
		}
		if !bytes.Equal(key, r.key) || !bytes.Equal(value, r.value) {
			t.Errorf("%q = %q\nis now written as\n%q = %q", r.key, r.value, key, value)
		}
	}
	if kinds[KindValue] == 0 || kinds[KindPosition] == 0 || kinds[KindBarrier] == 0 {
		t.Errorf("the changelog has %v", kinds)
	}
}

// A rollback: what a newer tally left is refused before anything is written, whatever of it this
// build does not know.
func TestRollbackIsRefused(t *testing.T) {
	all := formats(t)
	f := all[len(all)-1]
	newer := func(b []byte) []byte { return append([]byte{format + 1}, b[1:]...) }
	task := Task{Partition: 1}
	for name, change := range map[string]func(db *pebble.DB, id Identity, pos []byte) error{
		"an identity": func(db *pebble.DB, id Identity, _ []byte) error {
			return db.Set(storeKey(storeIdentity), newer(encodeIdentity(id)), pebble.NoSync)
		},
		"a position": func(db *pebble.DB, _ Identity, pos []byte) error {
			return db.Set(storePositionKey(task), newer(pos), pebble.NoSync)
		},
		"a key of values": func(db *pebble.DB, _ Identity, _ []byte) error {
			return db.Set(newer(appendStoreKey(nil, task, []byte("g"))), AppendValue(nil, []byte("v")), pebble.NoSync)
		},
		"a kind of key": func(db *pebble.DB, _ Identity, _ []byte) error {
			return db.Set([]byte{format + 1, 'x'}, nil, pebble.NoSync)
		},
	} {
		fs, id := f.copied(t, 1)
		db := rawStore(t, fs, false)
		pos, closer, err := db.Get(storePositionKey(task))
		must(t, err)
		pos = slices.Clone(pos)
		must(t, closer.Close())
		must(t, change(db, id, pos))
		must(t, db.Flush())
		must(t, db.Close())
		before := listing(t, fs)
		_, err = Open("lane", id, smallOptions(fs, newClock()))
		if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s of a newer tally: %v", name, err)
		}
		if listing(t, fs) != before {
			t.Errorf("%s of a newer tally: the refused open wrote", name)
		}
	}
}

// Values of a newer format below a known identity are no damage: nothing is set aside for them.
func TestNewerValueIsNoDamage(t *testing.T) {
	fs := vfs.NewMem()
	o := smallOptions(fs, newClock())
	s := mustOpen(t, "lane", o)
	task := Task{Partition: 1}
	pos := Position{Record: PositionRecord{Task: task, AppID: "app-id", Groups: 1}, Changelog: 2}
	must(t, s.Publish([]Position{pos}, []Change{{task, []byte("g"), []byte("v")}}))
	must(t, s.Close())
	db := rawStore(t, fs, false)
	must(t, db.Set(appendStoreKey(nil, task, []byte("g")), []byte{format + 1, byte(KindValue)}, pebble.NoSync))
	must(t, db.Flush())
	must(t, db.Close())
	s = mustOpen(t, "lane", o)
	if _, _, err := s.Get(task, []byte("g"), nil); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
		t.Errorf("a newer value: %v", err)
	}
	if err := s.Verify(context.Background()); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
		t.Errorf("the scan of a newer value: %v", err)
	}
	must(t, s.Close())
}

// Fields of a JSON that this build does not know are passed over; they are not written again.
func TestUnknownFieldsArePassedOver(t *testing.T) {
	with := func(b []byte) []byte {
		return slices.Concat(b[:2], []byte(`{"of_a_later_build":{"x":[1]},`), b[3:])
	}
	p := PositionRecord{Task: Task{Partition: 3}, AppID: "a", Input: 7, Digest: 1 << 63}
	got, err := DecodePosition(with(EncodePosition(p)))
	if err != nil || !bytes.Equal(EncodePosition(got), EncodePosition(p)) {
		t.Errorf("a position record with an unknown field: %+v, %v", got, err)
	}
	b := Barrier{Task: Task{Partition: 3}, AppID: "a", Epoch: 9}
	if got, err := DecodeBarrier(with(EncodeBarrier(b))); err != nil || got != b {
		t.Errorf("a barrier with an unknown field: %+v, %v", got, err)
	}
	if got, err := decodeIdentity(with(encodeIdentity(testIdentity))); err != nil || got != testIdentity {
		t.Errorf("an identity with an unknown field: %+v, %v", got, err)
	}
}
