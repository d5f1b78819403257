package broker

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestKilledWithATransactionOpen has the same producer commit after the kill: readers that begin
// before what was open must see that, and never what was open, however often the broker is killed.
func TestKilledWithATransactionOpen(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(2, nil)
	b.transact(0, kgo.TryCommit, "T0")
	b.begun(0, "T1", "T1 too")
	b = b.killed()
	b.has(0, "T0")
	b.transact(0, kgo.TryCommit, "T2")
	b.transact(0, kgo.TryCommit, "T3")
	b.has(0, "T0", "T2", "T3")
	for range 2 {
		b = b.killed()
		b.has(0, "T0", "T2", "T3")
	}
	b = b.again()
	b.has(0, "T0", "T2", "T3")
	b.begun(1, "open")
	b = b.killed(func(d dir) { addTo(t, datFile(filepath.Join(d.partitions(), "t-1"), 0), "half a batch") })
	b.transact(1, kgo.TryAbort, "aborted")
	b.transact(1, kgo.TryCommit, "T4")
	b = b.killed()
	b.has(1, "T4")
	b.has(0, "T0", "T2", "T3")
}

// TestKilledProducerIsFenced asks for the end of the transaction that the kill aborted: a client
// that waits for its commit's answer asks just so. That of its transaction before was a commit,
// which kfake remembers over an orderly end.
func TestKilledProducerIsFenced(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	cl := b.begun(0, "T0")
	if err := cl.EndTransaction(limit(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	b = b.again()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	b.send(cl, &kgo.Record{Value: []byte("T1")})
	id, epoch, err := cl.ProducerID(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // what fences it outlives another kill
		b = b.killed()
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "app.lane-0", id, epoch, true
		resp, err := req.RequestWith(limit(t), b.client())
		if err != nil {
			t.Fatal(err)
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.InvalidTxnState) {
			t.Errorf("the commit was answered with %v, want INVALID_TXN_STATE", err)
		}
	}
	b.has(0, "T0")
	_, next, err := b.client(kgo.TransactionalID("app.lane-0")).ProducerID(limit(t))
	if err != nil || next <= epoch+1 {
		t.Errorf("the next owner has epoch %d, %v; want one above %d", next, err, epoch+1)
	}
}

// TestKilledBeforeTheIndexEntry has a kill fall between the writes of a batch and of its entry.
func TestKilledBeforeTheIndexEntry(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	b.send(b.client(), &kgo.Record{Value: []byte("a")})
	index := func(d dir) string { return idxFile(filepath.Join(d.partitions(), "t-0"), 0) }
	whole, err := os.ReadFile(index(b.dir()))
	if err != nil {
		t.Fatal(err)
	}
	b = b.killed(func(d dir) {
		if err := os.Truncate(index(d), int64(len(whole)-15)); err != nil {
			t.Fatal(err)
		}
	})
	if mended, err := os.ReadFile(index(b.dir())); err != nil || string(mended) != string(whole) {
		t.Errorf("the index is %q, %v; want %q", mended, err, whole)
	}
	b.transact(0, kgo.TryAbort, "aborted")
	b.transact(0, kgo.TryCommit, "T")
	b = b.killed()
	b.has(0, "a", "T")
}

// TestKilledInAWrite cuts a log entry off. What is written behind it later must be read again.
func TestKilledInAWrite(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	b = b.killed(func(d dir) {
		addTo(t, d.pidsLog(), "half an entry")
		addTo(t, filepath.Join(d.data(), "groups.log"), "half an entry")
	})
	_, epoch, err := b.client(kgo.TransactionalID("app.lane-0")).ProducerID(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	commitOffset(b, 7)
	b = b.killed()
	if _, next, err := b.client(kgo.TransactionalID("app.lane-0")).ProducerID(limit(t)); err != nil || next != epoch+1 {
		t.Errorf("epoch %d, %v; want %d", next, err, epoch+1)
	}
	if got, err := admin(t, b.Running).GroupOffsets(limit(t), "g", "t", 0); err != nil || got[0] != 7 {
		t.Errorf("the group's offsets are %v, %v; want 7", got, err)
	}
}

// TestKilledAfterAnOrderlyEnd looks at what that end left and the kill made wrong.
func TestKilledAfterAnOrderlyEnd(t *testing.T) {
	b := start(t, t.TempDir())
	b.topic(1, nil)
	b.send(b.client(), numbered(0, 0, 0, 0, 0, 0)...)
	if err := admin(t, b.Running).DeleteRecords(limit(t), "t", map[int32]int64{0: 2}); err != nil {
		t.Fatal(err)
	}
	b = b.again()
	sequences := filepath.Join(b.dir().data(), "seq_windows.json")
	if _, err := os.Stat(sequences); err != nil {
		t.Fatal(err)
	}
	b.send(b.client(), &kgo.Record{Value: []byte("5")})
	b = b.killed()
	if _, err := os.Stat(filepath.Join(b.dir().data(), "seq_windows.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the sequences of the last orderly end are still used (%v)", err)
	}
	b.bounded(0, 2, 6) // with the snapshot that was made, what is deleted stays deleted
	b.has(0, "2", "3", "4", "5")
}

// TestMendTwice leaves a data dir as it is that was mended.
func TestMendTwice(t *testing.T) {
	d, _ := committed(t)
	dropMarker(t, d, "t-1")
	var first map[string]string
	for n := range 2 {
		if err := d.mend(now(), discard()); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range []string{"pids.log", "partitions/t-0/0.dat", "partitions/t-0/0.idx", "partitions/t-1/0.dat", "partitions/t-1/0.idx"} {
			text, err := os.ReadFile(filepath.Join(d.data(), name))
			if err != nil {
				t.Fatal(err)
			}
			got[name] = string(text)
		}
		if n == 0 {
			first = got
		}
		for name := range got {
			if got[name] != first[name] {
				t.Errorf("%s is changed", name)
			}
		}
	}
}

// TestIndexIsKfakes makes the index of an undamaged partition anew: nothing may change.
func TestIndexIsKfakes(t *testing.T) {
	d, _ := committed(t)
	var want []string
	read := func() (all []string) {
		for _, p := range []string{"t-0", "t-1"} {
			text, err := os.ReadFile(idxFile(filepath.Join(d.partitions(), p), 0))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		return all
	}
	want = read()
	if err := d.mend(now(), discard()); err != nil {
		t.Fatal(err)
	}
	if got := read(); got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the index is %q, kfake's was %q", got, want)
	}
}

func addTo(t *testing.T, name, text string) {
	t.Helper()
	if err := appendTo(name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// commitOffset sets the offset of group g in t/0.
func commitOffset(b *inProcess, offset int64) {
	b.t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset("t", 0, offset, -1)
	if err := kadm.NewClient(b.client()).CommitAllOffsets(limit(b.t), "g", offsets); err != nil {
		b.t.Fatal(err)
	}
}

func now() time.Time        { return seam.World().Now() }
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
