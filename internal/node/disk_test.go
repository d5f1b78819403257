package node

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
)

// badDisk is the disk of the stores, of which some operations fail from the from-th on.
type badDisk struct {
	err       syscall.Errno
	kinds     []errorfs.OpKind
	from      int64
	seen, hit atomic.Int64
	well      atomic.Bool
}

func (d *badDisk) MaybeError(op errorfs.Op) error {
	if !slices.Contains(d.kinds, op.Kind) || d.seen.Add(1) < d.from || d.well.Load() {
		return nil
	}
	d.hit.Add(1)
	return d.err
}

func (d *badDisk) String() string { return d.err.Error() }

func onDisk(d *badDisk) option {
	return func(c *Config) { c.StateFS = errorfs.Wrap(vfs.Default, d) }
}

var diskChanges = []errorfs.OpKind{
	errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFileWriteAt,
	errorfs.OpLink, errorfs.OpRemove, errorfs.OpRename, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo,
}

var diskFaults = map[string]struct {
	err    syscall.Errno
	kinds  []errorfs.OpKind
	advice string
}{
	"full":       {syscall.ENOSPC, diskChanges[:7], "free some space"},
	"read-only":  {syscall.EROFS, diskChanges, "mount it for writing"},
	"fsync":      {syscall.EIO, diskChanges[8:], "the disk reports errors"},
	"open files": {syscall.EMFILE, []errorfs.OpKind{errorfs.OpCreate, errorfs.OpOpen, errorfs.OpOpenDir}, "ulimit -n 65536"},
}

// A disk that fails under a running node: the lanes stop, say why and what to do, the node lives
// on, and when the disk is well they go on by themselves, with exact counts.
func TestDiskFailsAndIsWellAgain(t *testing.T) {
	for name, f := range diskFaults {
		t.Run(name, func(t *testing.T) {
			p := onFake(t)
			p.topic(p.in, 2)
			disk := &badDisk{err: f.err, kinds: f.kinds}
			disk.well.Store(true)
			n := p.start(onDisk(disk))
			events := []*kgo.Record{event(0, "a", "x"), event(1, "b", "x y")}
			p.send(events...)
			n.right(events)
			disk.well.Store(false)
			events = append(events, event(0, "a", "x z"), event(1, "b", "y"))
			p.send(events[2:]...)
			for k := range 2 {
				n.waitsForDisk(k, f.advice)
			}
			disk.well.Store(true)
			n.ready()
			n.right(events)
			if disk.hit.Load() == 0 {
				t.Error("the disk never failed")
			}
			n.stop()
			n = p.start(inDir(n.dir))
			n.right(events)
		})
	}
}

// waitsForDisk waits until a lane says that it waits for its disk, and the node that it is not
// ready.
func (n *tally) waitsForDisk(k int, advice string) {
	n.t.Helper()
	st := n.until(fmt.Sprintf("lane %d waits for its disk", k), func(st api.Status) bool {
		l := st.Apps[0].Lanes[k]
		return l.State == api.LaneAcquiring && strings.Contains(l.Reason, "by itself")
	})
	saysText(n.t, st.Apps[0].Lanes[k].Reason, n.dir, advice, "nothing is lost")
	resp, err := http.Get(n.url + "/readyz")
	n.p.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		n.t.Errorf("/readyz says %s", resp.Status)
	}
}

// isStarting reports whether a node has not come to an end of its start: it neither runs a lane nor
// says why one waits. A lane that is stopped is of an app that cannot be opened: the node ends
// then.
func isStarting(st api.Status) bool {
	if len(st.Apps) == 0 || len(st.Apps[0].Lanes) == 0 {
		return true
	}
	for _, l := range st.Apps[0].Lanes {
		switch l.State {
		case api.LaneRestoring, api.LaneIdle, api.LaneStopped:
			return true
		case api.LaneAcquiring:
			switch l.Reason {
			case "", "starting", "waiting for the leader to hear that this node has started", "the cluster does not have this node as a member yet":
				return true
			}
		}
	}
	return false
}

// A disk that fails at any operation of a start: the node refuses to start, with what to do, or its
// lanes wait; and it counts exactly once the disk is well.
func TestStartOnABadDisk(t *testing.T) {
	p := onFake(t)
	before, events := counted(p)
	refused, waited := 0, 0
	fewer := func(k int64) int64 { // each early operation, and then fewer
		if testing.Short() {
			return 3*k + 1
		}
		return k + 1 + k/2
	}
	for name, f := range diskFaults {
		for k := int64(1); ; k = fewer(k) {
			disk := &badDisk{err: f.err, kinds: f.kinds, from: k}
			// One store is opened at the start, and the other is made by the lane.
			if err := os.RemoveAll(filepath.Join(before.dir, "state", p.app, "1")); err != nil {
				t.Fatal(err)
			}
			n := p.launch(inDir(before.dir), onDisk(disk))
			var err error
			until(t, func() error {
				select {
				case err = <-n.ended:
					n.ended <- err
					return nil
				default:
				}
				st, e := n.client.Status(p.ctx())
				if e == nil && isStarting(st) {
					e = errors.New("it is starting")
				}
				return e
			})
			switch {
			case err != nil:
				refused++
				says(t, err, before.dir, f.advice)
			case disk.hit.Load() > 0:
				waited++
			}
			disk.well.Store(true)
			if err == nil {
				n.ready()
				n.right(events)
				n.stop()
			}
			if disk.hit.Load() == 0 {
				break
			}
			if t.Failed() {
				t.Fatalf("%s, operation %d", name, k)
			}
		}
	}
	if refused == 0 || waited == 0 {
		t.Errorf("%d starts were refused, in %d a lane waited", refused, waited)
	}
	p.start(inDir(before.dir)).right(events)
}

// Too few files: the node says at its start how many it may have and what to do.
func TestTooFewOpenFiles(t *testing.T) {
	p := onFake(t)
	says(t, p.refused(func(c *Config) { c.OpenFiles = 100 }), "only 100 files", "ulimit -n 65536", "LimitNOFILE")
	if all := p.topics(); all != "" {
		t.Errorf("a refused start made the topics %s", all)
	}
}
