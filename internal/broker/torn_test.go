package broker

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// committed is a broker directory after a commit to both partitions of topic t, as a SIGKILL leaves
// it, and the note of that commit. Before it lies another commit of the same producer, to partition
// 1 alone.
func committed(t *testing.T) (dir, commitIntent) {
	t.Helper()
	d := dir(t.TempDir())
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(d.data()), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	i, err := openIntent(d, seam.World())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.close)
	c.Control(i.observe)
	cfg := kafka.Config{Brokers: c.ListenAddrs(), Seam: seam.World()}
	cl, err := cfg.Client(kgo.TransactionalID("app.lane-0"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	for _, partitions := range [][]int32{{1}, {0, 1}} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, p := range partitions {
			if err := cl.ProduceSync(limit(t), &kgo.Record{Topic: "t", Partition: p, Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(limit(t), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	// Without a further request the note still stands: it is of the last commit.
	killed := dir(t.TempDir())
	if err := os.CopyFS(string(killed), os.DirFS(string(d))); err != nil {
		t.Fatal(err)
	}
	if err := killed.markRunning(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(killed.file("endtxn"))
	if err != nil {
		t.Fatal(err)
	}
	var note commitIntent
	if err := json.Unmarshal(text, &note); err != nil || note.TransactionalID != "app.lane-0" || note.LogSize == 0 {
		t.Fatalf("the note is %s, %v", text, err)
	}
	return killed, note
}

// dropMarker cuts the last batch off a partition.
func dropMarker(t *testing.T, d dir, partition string) {
	t.Helper()
	name := filepath.Join(d.data(), "partitions", partition, "0.dat")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for pos := 0; pos < len(raw); pos += 12 + int(binary.BigEndian.Uint32(raw[pos+8:])) {
		last = pos
	}
	if err := os.Truncate(name, int64(last)); err != nil {
		t.Fatal(err)
	}
}

func TestTorn(t *testing.T) {
	tests := []struct {
		name string
		tear func(t *testing.T, d dir, note commitIntent)
		want []string // in the second warning; none: there is no second
	}{
		{"whole", func(*testing.T, dir, commitIntent) {}, nil},
		{"nothing written", func(t *testing.T, d dir, note commitIntent) {
			cutLog(t, d, note)
			dropMarker(t, d, "t-0")
			dropMarker(t, d, "t-1")
		}, nil},
		{"offsets unknown", cutLog, []string{"app.lane-0", "offsets that belong to them may be missing"}},
		{"half", func(t *testing.T, d dir, note commitIntent) {
			cutLog(t, d, note)
			dropMarker(t, d, "t-1")
		}, []string{"app.lane-0", "left half of it: t-0 have it, t-1 do not"}},
		{"an unreadable note", func(t *testing.T, d dir, _ commitIntent) {
			if err := os.WriteFile(d.file("endtxn"), []byte(`{"transac`), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"cannot be told"}},
		{"no commit was being made", func(t *testing.T, d dir, note commitIntent) {
			cutLog(t, d, note)
			dropMarker(t, d, "t-1")
			i, err := openIntent(d, seam.World()) // writes an empty note
			if err != nil {
				t.Fatal(err)
			}
			i.close()
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, note := committed(t)
			tt.tear(t, d, note)
			got, err := d.examine()
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 || !strings.Contains(got[0], "was killed") {
				t.Fatalf("warnings %q", got)
			}
			if len(tt.want) == 0 && len(got) != 1 {
				t.Errorf("warnings %q, want no second", got)
			}
			for _, w := range tt.want {
				if len(got) != 2 || !strings.Contains(got[1], w) {
					t.Errorf("warnings %q, want %q", got, w)
				}
			}
			if err := d.markEnded(); err != nil {
				t.Fatal(err)
			}
			if unclean, err := d.unclean(); unclean || err != nil {
				t.Errorf("after an orderly end: %v, %v", unclean, err)
			}
		})
	}
}

// cutLog takes away what kfake wrote to pids.log since the note.
func cutLog(t *testing.T, d dir, note commitIntent) {
	t.Helper()
	if err := os.Truncate(filepath.Join(d.data(), "pids.log"), note.LogSize); err != nil {
		t.Fatal(err)
	}
}
