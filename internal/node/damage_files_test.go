package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// files of a lane's store.
func (n *tally) files(lane int, pattern string) []string {
	n.t.Helper()
	found, err := filepath.Glob(filepath.Join(n.dir, "state", n.p.app, fmt.Sprint(lane), pattern))
	n.p.must(err)
	if len(found) == 0 {
		n.t.Fatalf("lane %d has no %s", lane, pattern)
	}
	return found
}

// setAside is where a damaged store of a lane was put, "" for nowhere.
func (n *tally) setAside(lane int) string {
	n.t.Helper()
	found, err := filepath.Glob(filepath.Join(n.dir, "state", n.p.app, fmt.Sprintf("%d.damaged-*", lane)))
	n.p.must(err)
	return strings.Join(found, " ")
}

// saysSetAside fails unless the log and the status of a lane name what was set aside.
func (n *tally) saysSetAside(lane int) {
	n.t.Helper()
	name := n.setAside(lane)
	if name == "" {
		n.t.Fatal("nothing was set aside")
	}
	if n.log.count("level=WARN", "damaged: set aside", name) == 0 {
		n.t.Errorf("the log does not name %s:\n%s", name, n.log)
	}
	saysText(n.t, n.lane(lane, api.LaneRunning).Reason, "restored from the changelog", name)
}

// rewrite changes a file in place.
func (p *place) rewrite(file string, change func([]byte) []byte) {
	p.t.Helper()
	b, err := os.ReadFile(file)
	p.must(err)
	p.must(os.WriteFile(file, change(b), 0o644))
}

// A file of the state that is damaged while the node is down.
func TestDamagedFileAtStart(t *testing.T) {
	for name, hurt := range map[string]struct {
		pattern string
		change  func([]byte) []byte // nil: remove
	}{
		"a flipped bit": {"*.sst", func(b []byte) []byte { b[len(b)/3] ^= 4; return b }},
		"a table cut":   {"*.sst", func(b []byte) []byte { return b[:len(b)/2] }},
		"a table gone":  {"*.sst", nil},
		"foreign":       {"*.sst", func([]byte) []byte { return []byte("not a table") }},
		"the manifest":  {"MANIFEST-*", func([]byte) []byte { return nil }},
		"its name":      {"marker.manifest.*", func([]byte) []byte { return nil }},
		"options":       {"OPTIONS-*", func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)/2], '=')] }}, // within a name
	} {
		t.Run(name, func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 2)
			events := sentences(2, 2000) // more than a table of nothing
			p.send(events...)
			n := p.start()
			n.right(events)
			n.stop()
			for _, f := range n.files(0, hurt.pattern) {
				if hurt.change == nil || hurt.pattern == "marker.manifest.*" {
					p.must(os.Remove(f))
				} else {
					p.rewrite(f, hurt.change)
				}
			}
			n = p.start(inDir(n.dir))
			n.right(events)
			if n.setAside(0) != "" || name != "its name" { // a small store without a name is as good as none
				n.saysSetAside(0)
			}
		})
	}
}

// The tables are damaged under a running node: it is found when they are read, and no count is
// wrong.
func TestDamagedWhileRunning(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 1)
	var events []*kgo.Record
	for i := range 6000 {
		events = append(events, event(0, fmt.Sprintf("user-%04d", i), fmt.Sprintf("word%d and%d", i, i)))
	}
	p.send(events...)
	n := p.start()
	n.right(events)
	n.stop()
	n = p.start(inDir(n.dir)) // with an empty cache
	n.settled(int64(len(events)))
	for _, f := range n.files(0, "*.sst") {
		p.rewrite(f, func(b []byte) []byte {
			for i := range b[:len(b)*9/10] {
				b[i] ^= 0x55
			}
			return b
		})
	}
	for i := 0; i < 6000; i += 300 {
		more := event(0, fmt.Sprintf("user-%04d", i), fmt.Sprintf("word%d", i))
		events = append(events, more)
		p.send(more)
	}
	n.until("the lane has restored", func(st api.Status) bool { return n.setAside(0) != "" })
	n.right(events)
	n.saysSetAside(0)
}

// What is written does not last: the lane ends after a few times instead of restoring for ever.
func TestDamagedAgainAndAgain(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.wipe()
	n = p.launch(inDir(n.dir), func(c *Config) { c.StateFS = rottenDisk{vfs.Default} })
	saysText(t, n.lane(0, api.LaneStopped).Reason, "damaged 3 times", "--data-dir", n.dir)
	if got := n.log.count("level=WARN", "damaged: set aside", "lane=0"); got != 3 {
		t.Errorf("it was set aside %d times", got)
	}
	n.stop()
	n = p.start() // another data dir, on another disk
	n.right(events)
}

// rottenDisk gives back tables in which a bit is not what was written.
type rottenDisk struct{ vfs.FS }

func (d rottenDisk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	return rottenFile{f}, nil
}

type rottenFile struct{ vfs.File }

func (f rottenFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if n > 0 {
		b[n/2] ^= 1
	}
	return n, err
}

// The state is removed: while the node is down, which is always safe, and under a running node.
func TestStateRemoved(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	n.wipe()
	n = p.start(inDir(n.dir))
	n.right(events)
	n.wipe()
	events = append(events, event(0, "a", "x"), event(1, "b", "y"))
	p.send(events[3:]...)
	n.right(events)
	n.stop()
	n = p.start(inDir(n.dir))
	n.right(events)
}

// node.json is damaged: refused, with what to do.
func TestDamagedNodeJSON(t *testing.T) {
	p := onFake(t)
	n, events := counted(p)
	file := filepath.Join(n.dir, "node.json")
	for _, text := range []string{"", "{", `{"id": ""}`} {
		p.must(os.WriteFile(file, []byte(text), 0o600))
		says(t, p.refused(inDir(n.dir)), file, "damaged", "cluster.json and raft")
	}
	p.must(os.Remove(file)) // as it says
	p.must(os.Remove(filepath.Join(n.dir, "cluster.json")))
	p.must(os.RemoveAll(filepath.Join(n.dir, "raft")))
	n = p.start(inDir(n.dir))
	n.right(events)
}
