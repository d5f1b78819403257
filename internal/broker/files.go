package broker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// dir is the directory broker/ of a data dir:
//
//	lock           locked by the broker's process; holds its state while it answers
//	identity.json  cluster id and port
//	nodes/*.lock   one for each node, locked by it
//	data/          kfake's
//	running        there while the broker runs: after an orderly end it is gone
//	endtxn         the commit that is being made, see torn.go
//	compacting/    there while topics are compacted, see undo.go
//	broker.log     what the process says
type dir string

func (d dir) file(name string) string { return filepath.Join(string(d), name) }
func (d dir) nodes() string           { return d.file("nodes") }
func (d dir) data() string            { return d.file("data") }

// state is what the broker's process says of itself. The empty state says that it does not answer.
type state struct {
	PID       int      `json:"pid"`
	Addr      string   `json:"addr"`
	ClusterID string   `json:"cluster_id"`
	Keep      bool     `json:"keep"`
	Warnings  []string `json:"warnings,omitempty"`
}

// acquire takes the lock for this process. It waits a little: a broker may just be ending, and a
// peek holds the lock for a moment.
func (d dir) acquire(ctx context.Context, s seam.Seam) (*os.File, error) {
	f, err := os.OpenFile(d.file("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for deadline := s.Now().Add(lockWait); ; {
		err := flock(f, syscall.LOCK_EX)
		if err == nil {
			return f, f.Truncate(0)
		}
		if s.Now().After(deadline) || s.Sleep(ctx, 20*time.Millisecond) != nil {
			_ = f.Close()
			st, _, _ := d.peek()
			return nil, fmt.Errorf("an embedded broker of %s runs already (process %d at %s)", string(d), st.PID, st.Addr)
		}
	}
}

// flock tries once; an interrupted call is no answer.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// peek says whether a broker runs, and what it says of itself.
func (d dir) peek() (st state, running bool, err error) {
	f, err := os.OpenFile(d.file("lock"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_SH); err == nil {
		return st, false, nil
	} else if !errors.Is(err, syscall.EWOULDBLOCK) {
		return st, false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil || json.Unmarshal(text, &st) != nil {
		return state{}, true, err // it is being written
	}
	return st, true, nil
}

// announce writes the state into the lock file.
func (d dir) announce(lock *os.File, st state) error {
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt(text, 0)
	return err
}

// identity is what a broker keeps over restarts.
type identity struct {
	ClusterID string `json:"cluster_id"`
	Port      int    `json:"port"`
}

// identity reads it, or draws a new cluster id.
func (d dir) identity(s seam.Seam) (id identity, err error) {
	text, err := os.ReadFile(d.file("identity.json"))
	if errors.Is(err, os.ErrNotExist) {
		var b [16]byte
		s.Rand(b[:])
		return identity{ClusterID: base64.RawURLEncoding.EncodeToString(b[:])}, nil
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, fmt.Errorf("%s is damaged: %w", d.file("identity.json"), err)
	}
	return id, nil
}

func (d dir) saveIdentity(id identity) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	part := d.file("identity.json.part")
	if err := os.WriteFile(part, text, 0o644); err != nil {
		return err
	}
	return os.Rename(part, d.file("identity.json"))
}

// register makes a lock file for this node. The kernel frees the lock when the process ends,
// however it ends. The file gets its name only once it is locked: the broker removes names without
// a lock.
func (d dir) register(s seam.Seam) (*os.File, error) {
	if err := os.MkdirAll(d.nodes(), 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join(d.nodes(), fmt.Sprintf("%d-%s", os.Getpid(), s.NewID()))
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, os.Rename(name+".new", name+".lock")
}

// liveNodes counts the nodes that run, and removes what others left. When it cannot tell, it
// counts.
func (d dir) liveNodes() int {
	entries, err := os.ReadDir(d.nodes())
	if err != nil {
		return 1
	}
	live := 0
	for _, e := range entries {
		name := filepath.Join(d.nodes(), e.Name())
		if !strings.HasSuffix(name, ".lock") {
			continue
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // it has just been removed
		}
		if flock(f, syscall.LOCK_EX) == nil {
			_ = os.Remove(name)
		} else {
			live++
		}
		_ = f.Close()
	}
	return live
}

// unclean says whether the last broker did not end in order.
func (d dir) unclean() (bool, error) {
	_, err := os.Stat(d.file("running"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d dir) markRunning() error {
	return os.WriteFile(d.file("running"), nil, 0o644)
}

func (d dir) markEnded() error {
	if err := os.Remove(d.file("running")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
