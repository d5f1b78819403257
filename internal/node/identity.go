package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/processor/spec"
)

// dataDir is the node's place on disk:
//
//	node.json            who this node is
//	LOCK                 held while a node runs
//	cluster.json         the cluster that it is in
//	raft/                the cluster's log: members, apps, lanes
//	raft/adopted.json    whether that has what is in apps/ and state/
//	apps/<app>.yaml      the specs that it runs
//	apps/<app>.reset.json  a reset that is under way
//	broker/              the embedded broker's
//	state/<app>/<lane>/  a cache of the changelog: removing it is always safe
type dataDir struct {
	path string
	lock *os.File
	id   identity

	intents sync.Mutex // held while an intent's file is written or removed
}

// identity is node.json. The id is random, so that a node whose data dir was wiped is another node.
type identity struct {
	ID        string `json:"id"`
	CreatedMs int64  `json:"created_ms"`
}

// openDataDir makes and locks the data dir.
func openDataDir(path string, s seam.Seam) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("data dir: %w", err)
	}
	d := &dataDir{path: path}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("data dir: %w", err)
	}
	if err := lockFile(lock, s); err != nil {
		lock.Close()
		return nil, d.lockedError(err)
	}
	d.lock = lock
	if err := d.loadIdentity(s); err != nil {
		d.close()
		return nil, err
	}
	if err := d.writePID(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// lockWait is how long a lock is tried for: a process that was just killed holds its own until the
// kernel has cleared it away.
const (
	lockWait  = 2 * time.Second
	lockPause = 2 * time.Millisecond
)

func lockFile(f *os.File, s seam.Seam) error {
	for end := s.Now().Add(lockWait); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || s.Now().After(end) {
			return err
		}
		if err := s.Sleep(context.Background(), lockPause); err != nil {
			return err
		}
	}
}

func (d *dataDir) lockedError(err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock the data dir %s: %w", d.path, err)
	}
	pid, _ := os.ReadFile(filepath.Join(d.path, "LOCK"))
	return &inUseError{dir: d.path, pid: string(pid)}
}

// inUseError says that a running node has the data dir.
type inUseError struct{ dir, pid string }

func (e *inUseError) Error() string {
	return fmt.Sprintf("the data dir %s is in use by another node (pid %s): give each node its own --data-dir", e.dir, e.pid)
}

func (d *dataDir) writePID() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err := d.lock.WriteAt([]byte(fmt.Sprint(os.Getpid())), 0)
	return err
}

func (d *dataDir) close() { d.lock.Close() }

func (d *dataDir) loadIdentity(s seam.Seam) error {
	path := filepath.Join(d.path, "node.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		d.id = identity{ID: s.NewID(), CreatedMs: s.Now().UnixMilli()}
		data, err := json.Marshal(d.id)
		if err != nil {
			return err
		}
		return writeFile(path, append(data, '\n'))
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &d.id); err != nil || d.id.ID == "" {
		return fmt.Errorf("%s is damaged (%v): to make this a new node remove it, cluster.json and raft there", path, err)
	}
	return nil
}

// writeFile replaces a file so that a crash leaves the old or the new one.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (d *dataDir) appFile(app string) string { return filepath.Join(d.path, "apps", app+".yaml") }

func (d *dataDir) stateDir(app string) string { return filepath.Join(d.path, "state", app) }

func (d *dataDir) laneDir(app string, lane int) string {
	return filepath.Join(d.stateDir(app), fmt.Sprint(lane))
}

// ofCluster is what a data dir has of the cluster that its node has been in.
var ofCluster = []string{"cluster.json", "raft"}

// forgetCluster removes it, of a node that has left its cluster for good, and has no vote there any
// more: a later start is one of a new node.
func (d *dataDir) forgetCluster() error {
	for _, name := range ofCluster {
		if err := os.RemoveAll(filepath.Join(d.path, name)); err != nil {
			return fmt.Errorf("forget the cluster that was left: %w", err)
		}
	}
	return nil
}

// neverInCluster reports whether no node of a cluster has used the data dir.
func (d *dataDir) neverInCluster() bool {
	for _, name := range ofCluster {
		if _, err := os.Stat(filepath.Join(d.path, name)); !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	return true
}

// storeSpec keeps a spec, so that a later start without --spec runs it again.
func (d *dataDir) storeSpec(s *spec.Spec) error {
	if err := os.MkdirAll(filepath.Join(d.path, "apps"), 0o755); err != nil {
		return err
	}
	return writeFile(d.appFile(s.App), s.YAML())
}

// dropSpec forgets an app that was deleted.
func (d *dataDir) dropSpec(app string) error {
	if err := os.Remove(d.appFile(app)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// leftovers are the apps that a copy of the spec or state is here of, sorted, but those with a
// reset to be done.
func (d *dataDir) leftovers() ([]string, error) {
	apps, err := d.apps()
	return slices.DeleteFunc(apps, func(app string) bool {
		_, err := os.Stat(d.intentFile(app))
		return !errors.Is(err, os.ErrNotExist)
	}), err
}

// apps are those that a copy of the spec or state is here of, sorted.
func (d *dataDir) apps() (apps []string, err error) {
	specs, err := filepath.Glob(filepath.Join(escapeGlob(d.path), "apps", "*.yaml"))
	if err != nil {
		return nil, err
	}
	states, err := filepath.Glob(filepath.Join(escapeGlob(d.path), "state", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(specs, states...) {
		apps = append(apps, strings.TrimSuffix(filepath.Base(path), ".yaml"))
	}
	slices.Sort(apps)
	return slices.Compact(apps), nil
}

// storedSpecs reads the specs of earlier starts, sorted by app.
func (d *dataDir) storedSpecs() ([]*spec.Spec, error) {
	files, err := filepath.Glob(filepath.Join(escapeGlob(d.path), "apps", "*.yaml"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var specs []*spec.Spec
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := spec.Parse(data, f)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	return specs, d.replaceByIntents(specs)
}
