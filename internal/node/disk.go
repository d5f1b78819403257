package node

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/tally-kafka/tally/state"
)

// A disk that has failed is tried with diskTrialBytes, as much as a store flushes at once, until it
// has passed often enough in a row. Where it fails again within diskCalm of that, it has to pass
// twice as often the next time: each change moves lanes.
const (
	diskTrialBytes = 4 << 20
	diskTrialEvery = time.Second
	diskTrials     = 3
	diskTrialsMax  = 300
	diskCalm       = 10 * time.Minute
)

// disk is what this node knows of its own disk. While it fails the leader moves the node's lanes to
// others, and gives it none.
type disk struct {
	failed chan struct{} // has a value when why was just set

	mu     sync.Mutex
	why    string // "": it is well, as far as is known
	wellAt time.Time
	need   int // trials in a row that it has to pass
	passed int
}

func newDisk() *disk { return &disk{failed: make(chan struct{}, 1), need: diskTrials} }

// trouble is what is wrong with the disk, "" for nothing.
func (d *disk) trouble() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

// fail notes a failure, and reports whether it is news.
func (d *disk) fail(why string, now time.Time) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed = 0
	if d.why != "" {
		return false
	}
	if d.why = why; !d.wellAt.IsZero() && now.Sub(d.wellAt) < diskCalm {
		d.need = min(2*d.need, diskTrialsMax)
	} else {
		d.need = diskTrials
	}
	wake(d.failed)
	return true
}

// pass notes a trial that went well, and reports whether the disk counts as well now.
func (d *disk) pass(now time.Time) (well bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed++; d.passed < d.need {
		return false
	}
	d.why, d.wellAt, d.passed = "", now, 0
	return true
}

// diskFailed is told of each error that a disk has caused.
func (n *Node) diskFailed(err error) {
	if n.disk.fail(err.Error(), n.cfg.Seam.Now()) {
		n.cfg.Log.Error("the disk fails; the lanes go to other nodes, if there are any", "error", err)
		select {
		case <-n.clustered:
			n.cluster.Nudge()
		default:
		}
	}
}

// watchDisk tries a disk that has failed until it is well again.
func (n *Node) watchDisk(ctx context.Context) {
	for {
		select {
		case <-n.disk.failed:
		case <-ctx.Done():
			return
		}
		for well := false; !well; {
			if n.cfg.Seam.Sleep(ctx, diskTrialEvery) != nil {
				return
			}
			if err := n.tryDisk(); err != nil {
				n.disk.fail(err.Error(), n.cfg.Seam.Now())
				continue
			}
			well = n.disk.pass(n.cfg.Seam.Now())
		}
		n.cfg.Log.Info("the disk is well again")
		n.cluster.Nudge()
	}
}

func (n *Node) tryDisk() error {
	return state.TryDisk(n.cfg.StateFS, filepath.Join(n.dir.path, "state"), diskTrialBytes)
}
