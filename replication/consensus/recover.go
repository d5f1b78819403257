package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/replication/ownership"
)

// Recovered says what Recover has done.
type Recovered struct {
	ID     string
	Before []Server // of the group as it was
	State  *ownership.State
	Index  uint64 // of the last entry that was kept
}

// String is what a person is told.
func (r Recovered) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s: this node (%s) is now its only voter, at entry %d, version %d, with %d members and %d apps.\n",
		r.State.ClusterID, r.ID, r.Index, r.State.Version, len(r.State.Members), len(r.State.Apps))
	for _, s := range r.Before {
		if s.ID != r.ID {
			fmt.Fprintf(&b, "node %s (%s, at %s) is no longer in it: it may come back as a new node, with an empty data dir, and must not with its old one.\n",
				r.State.NameOf(s.ID), s.ID, s.Addr)
		}
	}
	b.WriteString("Changes that no other voter had may be in it or missing; counts are not touched, Kafka has them.")
	return b.String()
}

// Recover makes a stopped node the only voter of its group, for when most voters are lost for good.
// The state is kept as far as this node's log has it, what was not yet committed included, and says
// from now on that it was recovered: nodes with a log of before are let in no more.
func Recover(dir, id, addr string, s seam.Seam, log *slog.Logger) (Recovered, error) {
	if _, err := os.Stat(filepath.Join(dir, storeFile)); err != nil {
		return Recovered{}, fmt.Errorf("there is nothing to recover in %s: %w", dir, err)
	}
	db, err := openStore(dir)
	if err != nil {
		return Recovered{}, fmt.Errorf("%w: the node must be stopped", err)
	}
	done, err := recoverStore(db, dir, id, addr, s, log)
	return done, errors.Join(err, db.Close())
}

func recoverStore(db *raftboltdb.BoltStore, dir, id, addr string, s seam.Seam, log *slog.Logger) (Recovered, error) {
	logger := newLogger(log, s)
	snaps, err := openSnapshots(dir, logger)
	if err != nil {
		return Recovered{}, err
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = raft.ServerID(id), logger
	_, trans := raft.NewInmemTransport(raft.ServerAddress(addr))
	before, err := raft.GetConfiguration(conf, newFSM(), db, db, snaps, trans)
	if err != nil {
		return Recovered{}, fmt.Errorf("read the group of %s: %w", dir, err)
	}
	done := Recovered{ID: id}
	for _, s := range before.Servers {
		done.Before = append(done.Before, Server{ID: string(s.ID), Addr: lastPlace(string(s.Address)), Voter: s.Suffrage == raft.Voter})
	}
	if done.Index, err = lastEntry(db, snaps); err != nil {
		return Recovered{}, err
	}
	if done.Index == 0 {
		return Recovered{}, fmt.Errorf("the node of %s has never had the state of its cluster: recover another one", dir)
	}
	f := &recovering{newFSM(), s.NewID()}
	only := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: raft.ServerAddress(addr)}}}
	if err := raft.RecoverCluster(conf, f, db, db, snaps, trans, only); err != nil {
		return Recovered{}, errors.Join(f.failed(), fmt.Errorf("recover %s: %w", dir, err))
	}
	done.State = f.state.Load()
	return done, nil
}

// recovering is an fsm whose snapshots are of the group that goes on.
type recovering struct {
	*fsm
	id string // of the recovery
}

func (r *recovering) Snapshot() (raft.FSMSnapshot, error) {
	r.publish(r.state.Load().Recover(r.id))
	return r.fsm.Snapshot()
}

// finishRecovery drops the entries of before a recovery, which Raft drops last of all: were it
// ended just before, a node that joins would get those, and not the snapshot which says whose they
// are.
func finishRecovery(db *raftboltdb.BoltStore, snaps *raft.FileSnapshotStore) error {
	first, err := db.FirstIndex()
	if err != nil {
		return fmt.Errorf("read Raft's log: %w", err)
	}
	list, err := snaps.List()
	if err != nil {
		return fmt.Errorf("list Raft's snapshots: %w", err)
	}
	if first != 1 || len(list) == 0 {
		return nil // it was compacted since, or has had no snapshot
	}
	newest := list[0]
	_, r, err := snaps.Open(newest.ID)
	if err != nil {
		return nil // Raft says what is wrong with it, and takes the one before
	}
	f := newFSM()
	if err := errors.Join(f.Restore(r), r.Close()); err != nil || f.state.Load().Recovered == (ownership.Recovery{}) {
		return nil // as above; or there was no recovery
	}
	last, err := db.LastIndex()
	if err == nil {
		err = db.DeleteRange(1, min(last, newest.Index))
	}
	if err != nil {
		return fmt.Errorf("drop the log of before the recovery: %w", err)
	}
	return nil
}

func lastEntry(db *raftboltdb.BoltStore, snaps *raft.FileSnapshotStore) (uint64, error) {
	last, err := db.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("read Raft's log: %w", err)
	}
	list, err := snaps.List()
	if err != nil {
		return 0, fmt.Errorf("list Raft's snapshots: %w", err)
	}
	for _, m := range list {
		last = max(last, m.Index)
	}
	return last, nil
}
