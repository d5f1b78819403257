package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var compactedTopic = map[string]string{"cleanup.policy": "compact"}

func keyed(n int) (records []*kgo.Record, values []string) {
	for i := range n {
		records = append(records, &kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
		values = append(values, fmt.Sprint(i))
	}
	return records, values
}

// TestKilledInACompaction kills the broker after kfake has removed the files and before it has
// written all new ones.
func TestKilledInACompaction(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, compactedTopic)
	records, values := keyed(20)
	b.send(b.client(), records...)
	b = b.killed(func(d dir) {
		partition := filepath.Join(d.partitions(), "t-0")
		if err := errors.Join(d.keep([]string{partition}), os.RemoveAll(partition), os.Mkdir(partition, 0o755), os.Remove(d.topicsFile())); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(datFile(partition, 7), []byte("new"), 0o644), os.WriteFile(d.topicsFile(), []byte(`{"version":1}`), 0o644)); err != nil {
			t.Fatal(err)
		}
	})
	b.has(0, values...)
	if _, err := os.Stat(b.dir().compacting()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the links are still there: %v", err)
	}
}

// TestKilledBeforeACompaction leaves links without the mark: they are of no use.
func TestKilledBeforeACompaction(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, compactedTopic)
	records, values := keyed(3)
	b.send(b.client(), records...)
	b = b.killed(func(d dir) {
		if err := errors.Join(d.keep([]string{filepath.Join(d.partitions(), "t-0")}), os.Remove(d.mark())); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(datFile(filepath.Join(d.compacting(), "t-0"), 0)); err != nil {
			t.Fatal(err)
		}
	})
	b.has(0, values...)
	if _, err := os.Stat(b.dir().compacting()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the links are still there: %v", err)
	}
}

// TestCompactionThatCannotWrite has a directory in the way of a new segment.
func TestCompactionThatCannotWrite(t *testing.T) {
	tidy, cfg, _ := compacting(t)
	cl, err := cfg.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range []string{"1", "2", "3"} {
		write(t, cl, "k", v)
	}
	partition := filepath.Join(tidy.dir.partitions(), "t-0")
	before, err := os.ReadFile(datFile(partition, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(datFile(partition, 1), 0o755); err != nil { // the record at 0 goes
		t.Fatal(err)
	}
	if _, err := tidy.compact(); err == nil || !strings.Contains(err.Error(), "rebuildSegments t-0") {
		t.Fatalf("got %v", err)
	}
	if wait := tidy.gate.enter(&kmsg.FetchRequest{}); wait == nil {
		t.Error("it serves what is left")
	}
	tidy.cluster.Close()
	tidy.gate.open()
	undone, err := tidy.dir.undo()
	if err != nil || !undone {
		t.Fatal(undone, err)
	}
	if after, err := os.ReadFile(datFile(partition, 0)); err != nil || string(after) != string(before) {
		t.Errorf("put back are %q, %v; want %q", after, err, before)
	}
}

// TestBrokerEndsAfterAFailedCompaction looks at what the next start makes of it.
func TestBrokerEndsAfterAFailedCompaction(t *testing.T) {
	data := t.TempDir()
	s := server0(t, data)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	b := &inProcess{Running: &Running{Addr: s.state.Addr}, t: t, data: data}
	b.topic(1, compactedTopic)
	cl := b.client()
	for n := range 3 {
		b.send(cl, &kgo.Record{Key: []byte("k"), Value: fmt.Append(nil, n)})
	}
	inTheWay := datFile(filepath.Join(s.dir.partitions(), "t-0"), 1)
	if err := os.Mkdir(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tidier.compact(); err == nil {
		t.Fatal("it compacted")
	}
	if err := errors.Join(s.abandon(), s.lock.Close(), os.Remove(inTheWay)); err != nil {
		t.Fatal(err)
	}
	start(t, data).has(0, "0", "1", "2")
}
