package consensus

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/tally-kafka/tally/replication/ownership"
)

// logCache is how many of the newest entries are kept in memory.
const logCache = 128

// Raft is one node's part of the group. It is safe for use by many goroutines.
type Raft struct {
	c     Config
	raft  *raft.Raft
	fsm   *fsm
	trans *transport
	addrs *addresses
	db    *raftboltdb.BoltStore

	leading  leading
	leaders  leaders
	slots    chan struct{} // of proposals under way
	followup chan struct{} // says that something was committed; see spread
	read     chan struct{} // closed when the log was read, or cannot be
	done     chan struct{}
	halting  sync.Once
	wg       sync.WaitGroup
	close    sync.Once
	closeErr error
}

// Open opens the log in c.Dir and takes part in the group that it names. A node whose log is empty
// takes part in none until Bootstrap, or until a leader adds it.
func Open(c Config) (*Raft, error) {
	c, err := c.orDefaults()
	if err != nil {
		return nil, err
	}
	db, err := openStore(c.Dir)
	if err != nil {
		return nil, err
	}
	r := &Raft{
		c: c, fsm: newFSM(), db: db,
		leaders: leaders{changed: make(chan struct{})},
		slots:   make(chan struct{}, c.ProposalsMax), followup: make(chan struct{}, 1),
		read: make(chan struct{}), done: make(chan struct{}),
	}
	if err := r.start(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func (r *Raft) start() error {
	log := newLogger(r.c.Log, r.c.Seam)
	snaps, err := openSnapshots(r.c.Dir, log)
	if err != nil {
		return err
	}
	if err := finishRecovery(r.db, snaps); err != nil {
		return err
	}
	notify := make(chan bool, notifyBuffer)
	conf := raftConfig(r.c)
	conf.Logger, conf.NotifyCh = log, notify
	r.addrs = &addresses{state: r.State, self: r.c.ID, addr: r.c.Addr, hints: map[string]hint{}}
	r.trans = newTransport(r.c, r.addrs, r.group, log)
	stable := &store{
		BoltStore: r.db, dir: r.c.Dir, seam: r.c.Seam, wait: r.c.Timing.Stall, stalled: r.halt,
		refused: r.c.Refused, fault: r.c.fault, closed: r.done,
	}
	cache, err := raft.NewLogCache(logCache, stable) // a leader at rest reads its last entry a few times a second
	if err != nil {
		panic("consensus: " + err.Error()) // the size is wrong
	}
	r.raft, err = newRaft(conf, r.fsm, &cached{cache, stable}, stable, snaps, r.trans)
	close(r.read)
	if err != nil {
		r.trans.close()
		if halted := r.fsm.failed(); halted != nil {
			return halted // says more than that no snapshot could be loaded
		}
		return fmt.Errorf("open Raft in %s: %w", r.c.Dir, err)
	}
	stable.opened.Store(true)
	r.trans.reach.memberIs(r.inGroup)
	r.watchLeaders()
	r.run(func() { r.watchLeadership(notify) })
	r.run(r.watchHalt)
	r.run(r.spread)
	r.run(r.watchSilence)
	if r.onlyVoter() {
		r.trans.stand(r.c.ID)
	}
	return nil
}

// newRaft is Raft's own, which panics where the disk refuses the term that it begins with.
func newRaft(
	conf *raft.Config, fsm raft.FSM, logs raft.LogStore, stable *store, snaps raft.SnapshotStore, trans raft.Transport,
) (made *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("Raft cannot begin: %v", p)
		}
	}()
	return raft.NewRaft(conf, fsm, logs, stable, snaps, trans)
}

func raftConfig(c Config) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.ID)
	conf.HeartbeatTimeout = c.Timing.Heartbeat
	conf.ElectionTimeout = c.Timing.Election
	conf.LeaderLeaseTimeout = c.Timing.Lease
	conf.CommitTimeout = c.Timing.Commit
	conf.SnapshotThreshold = c.SnapshotEvery
	conf.TrailingLogs = c.TrailingLogs
	conf.BatchApplyCh = false
	conf.ShutdownOnRemove = false // a node that was removed can be asked what it was
	conf.NoLegacyTelemetry = true
	return conf
}

func (r *Raft) run(f func()) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		f()
	}()
}

// halt asks for the end of the process, once.
func (r *Raft) halt(err error) {
	r.halting.Do(func() { go r.c.Halt(err) })
}

func (r *Raft) watchHalt() {
	select {
	case <-r.fsm.halted:
		r.halt(r.fsm.failed())
	case <-r.done:
	}
}

// State is what this node has applied. It may be behind the leader's.
func (r *Raft) State() *ownership.State { return r.fsm.state.Load() }

// Changed is closed at the next change of State. Take it before State, or a change between the two
// is missed.
func (r *Raft) Changed() <-chan struct{} { return r.fsm.watch() }

// Empty reports whether this node has never heard of a group: it has no log, and has not voted.
func (r *Raft) Empty() bool { return r.raft.LastIndex() == 0 && r.raft.CurrentTerm() == 0 }

// LastIndex is the number of the newest entry of this node's log.
func (r *Raft) LastIndex() uint64 { return r.raft.LastIndex() }

// Hint says where a node was heard of. It counts until the state says where it is now.
func (r *Raft) Hint(id, addr string) { r.addrs.hint(id, addr) }

// Bootstrap makes a new group of these servers, all of them voters and this node one of them. At
// most one node of a group does that, once in the group's life; so it also stands for election at
// once, where nobody else can.
func (r *Raft) Bootstrap(servers []Server) error {
	var conf raft.Configuration
	for _, s := range servers {
		conf.Servers = append(conf.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Addr),
		})
	}
	if err := r.raft.BootstrapCluster(conf).Error(); err != nil {
		return fmt.Errorf("form a cluster: %w", err)
	}
	r.trans.stand(r.c.ID)
	return nil
}

// group says which recovery of the cluster this node's log is of, if it has a log. One that has
// none takes that of whoever leads it: a group that goes on has only the entries behind its
// recovery, so the first thing that it sends is a snapshot, which says so. It waits until the log
// was read.
func (r *Raft) group() (recovered ownership.Recovery, any bool) {
	<-r.read
	any = r.raft == nil || r.raft.LastIndex() > 0 // before the state, which a snapshot brings first
	return r.State().Recovered, any
}

func (r *Raft) inGroup(id string) bool {
	return slices.ContainsFunc(r.Servers(), func(s Server) bool { return s.ID == id })
}

// onlyVoter reports whether no other node has a vote.
func (r *Raft) onlyVoter() bool {
	voters, self := 0, false
	for _, s := range r.Servers() {
		if s.Voter {
			voters++
			self = self || s.ID == r.c.ID
		}
	}
	return voters == 1 && self
}

// Close leaves the group as a crash would: the others find out. It waits for what runs, but not for
// a disk that stalls.
func (r *Raft) Close() error {
	r.close.Do(func() { r.closeErr = r.closeAll() })
	return r.closeErr
}

func (r *Raft) closeAll() error {
	end := r.raft.Shutdown()
	r.trans.close()
	close(r.done)
	ended := make(chan error, 1)
	go func() {
		err := end.Error()
		r.wg.Wait()
		ended <- errors.Join(err, r.db.Close())
	}()
	timer, stop := r.c.Seam.Timer(r.c.Timing.Close)
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-timer:
		return fmt.Errorf("raft in %s has not stopped within %s", r.c.Dir, r.c.Timing.Close.Round(time.Millisecond))
	}
}
