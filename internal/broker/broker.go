package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/twmb/franz-go/pkg/kfake"
)

// MainOptions are those of the broker's own process.
type MainOptions struct {
	DataDir   string            // the node's; the broker's files are in broker/ below it
	Port      int               // 0: the stored one, or any at the first start
	Keep      bool              // stays when its last node is gone; a broker that Ensure started never does
	IdleAfter time.Duration     // how long it stays without nodes; 0: a minute
	Ready     func(addr string) // called once, when it answers; nil: not
	Seam      seam.Seam
	Log       *slog.Logger
}

const (
	defaultPartitions = 4
	lookEvery         = time.Second     // for nodes that are gone
	lockWait          = 5 * time.Second // for a broker that is just ending
)

// childEnv marks the process that Ensure starts: it ends with its nodes, whatever its Keep says.
const childEnv = "TALLY_BROKER_OF_NODES"

// Main is what `tally broker` runs. It returns after an orderly end when ctx ends or, without Keep,
// when the last node has been gone for a minute.
func Main(ctx context.Context, opt MainOptions) error {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.IdleAfter == 0 {
		opt.IdleAfter = time.Minute
	}
	if os.Getenv(childEnv) != "" {
		opt.Keep = false
	}
	d := dir(filepath.Join(opt.DataDir, "broker"))
	if err := os.MkdirAll(d.nodes(), 0o755); err != nil {
		return err
	}
	lock, err := d.acquire(ctx, opt.Seam)
	if err != nil {
		return err
	}
	defer lock.Close()
	s := newServer(opt, d, lock)
	if err := s.start(); err != nil {
		return err
	}
	if err := s.serve(ctx); err != nil {
		return errors.Join(err, s.abandon())
	}
	return s.stop()
}

// server is the running broker. Its process holds lock.
type server struct {
	opt     MainOptions
	dir     dir
	lock    *os.File
	state   state
	ready   chan struct{} // closed when the guards stand: nothing is served before
	faults  *brokerLog
	cluster *kfake.Cluster
	intent  *intent
	tidier  *tidier
}

func newServer(opt MainOptions, d dir, lock *os.File) *server {
	s := &server{opt: opt, dir: d, lock: lock, ready: make(chan struct{})}
	s.faults = &brokerLog{to: opt.Log, unmarked: s.unmarked}
	return s
}

func (s *server) start() error {
	id, err := s.dir.identity(s.opt.Seam)
	if err != nil {
		return err
	}
	if s.opt.Port != 0 {
		id.Port = s.opt.Port
	}
	unclean, err := s.prepare()
	if err != nil {
		return err
	}
	if s.cluster, err = s.listen(&id); err != nil {
		if !unclean { // nothing was changed
			err = errors.Join(err, s.dir.markEnded())
		}
		return err
	}
	if err := s.putUpGuards(id); err != nil {
		return errors.Join(err, s.stop())
	}
	close(s.ready)
	s.opt.Log.Info("the embedded broker listens", "addr", s.state.Addr, "cluster", id.ClusterID, "data", string(s.dir))
	if err := s.tidier.tidy(); err != nil { // a run that is shorter than tidyEvery does its part too
		return errors.Join(err, s.abandon())
	}
	if err := s.dir.announce(s.lock, s.state); err != nil {
		return errors.Join(err, s.stop())
	}
	if s.opt.Ready != nil {
		s.opt.Ready(s.state.Addr)
	}
	return nil
}

// prepare makes the data ready for kfake, which keeps some of it in memory alone once it has read
// it: from here on an end is unclean that does not go through stop.
func (s *server) prepare() (unclean bool, err error) {
	undone, err := s.dir.undo()
	if err != nil {
		return false, fmt.Errorf("undo a compaction that did not end: %w", err)
	}
	if undone {
		s.opt.Log.Info("a compaction that did not end is undone")
	}
	if unclean, err = s.dir.unclean(); err != nil {
		return false, err
	}
	if unclean {
		if s.state.Warnings, err = s.dir.examine(); err != nil {
			return true, fmt.Errorf("look for traces of an unclean end: %w", err)
		}
		for _, w := range s.state.Warnings {
			s.opt.Log.Warn(w)
		}
		if err := s.dir.mend(s.opt.Seam.Now(), s.opt.Log); err != nil {
			return true, fmt.Errorf("mend the data after an unclean end: %w", err)
		}
	}
	return unclean, s.dir.markRunning()
}

func (s *server) putUpGuards(id identity) (err error) {
	if err := s.dir.saveIdentity(id); err != nil {
		return err
	}
	if s.intent, err = openIntent(s.dir, s.opt.Seam); err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", id.Port)
	s.state.PID, s.state.Addr, s.state.ClusterID, s.state.Keep = os.Getpid(), addr, id.ClusterID, s.opt.Keep
	s.tidier = &tidier{
		cluster: s.cluster, dir: s.dir, addr: addr, seam: s.opt.Seam, log: s.opt.Log, faults: s.faults, wait: compactPatience,
	}
	s.tidier.gate.setStarts(s.tidier.starts())
	all := guards{cluster: s.cluster, each: []guard{
		keepCompacted, keepTail(s.cluster), fillByPartition, guardZombies(s.cluster, addr, s.opt.Seam), s.tidier.gate.guard(s.cluster),
		s.intent.observe, // the last: whom another holds back, others may overtake
	}}
	all.stand()
	return nil
}

// listen starts kfake on the stored port, or at the first start on one that is free.
func (s *server) listen(id *identity) (*kfake.Cluster, error) {
	if id.Port != 0 {
		c, err := s.kfake(*id)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("port %d of the embedded broker is used by another program: end that one, "+
				"or give the broker another with --port (producers must then use it too): %w", id.Port, err)
		}
		return c, err
	}
	// Below the usual ephemeral range: a client that redials while the broker is down must not be
	// given this very port as its own, and connect to itself.
	const first, last, tries = 20000, 32000, 100
	var err error
	for range tries {
		id.Port = first + int(s.opt.Seam.Uint64()%(last-first))
		var c *kfake.Cluster
		if c, err = s.kfake(*id); !errors.Is(err, syscall.EADDRINUSE) {
			return c, err
		}
	}
	return nil, fmt.Errorf("no free port between %d and %d: %w", first, last, err)
}

func (s *server) kfake(id identity) (*kfake.Cluster, error) {
	c, err := kfake.NewCluster(
		kfake.Ports(id.Port),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, fmt.Sprintf("127.0.0.1:%d", id.Port))
			if err != nil {
				return nil, err
			}
			return hold(l, s.ready), nil
		}),
		kfake.ClusterID(id.ClusterID),
		kfake.DataDir(s.dir.data()),
		kfake.DefaultNumPartitions(defaultPartitions),
		kfake.WithLogger(s.faults),
		kfake.BrokerConfigs(map[string]string{
			"default.replication.factor": "1",
			// What keeps the data dir from growing without end is in retention.go and compact.go,
			// on segments small enough to be rewritten at once.
			"log.retention.bytes":    "-1",
			"log.retention.ms":       "-1",
			"log.segment.bytes":      "67108864",
			"log.cleaner.backoff.ms": tidyNever,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	return c, nil
}

// serve waits for the end: ctx's, or that of the last node. An error is tidy's.
func (s *server) serve(ctx context.Context) error {
	seen, tidied := s.opt.Seam.Now(), s.opt.Seam.Now()
	for {
		if s.opt.Seam.Sleep(ctx, lookEvery) != nil {
			s.opt.Log.Info("the embedded broker was told to end")
			return nil
		}
		if s.opt.Seam.Since(tidied) >= tidyEvery {
			if err := s.tidier.tidy(); err != nil {
				return err
			}
			tidied = s.opt.Seam.Now()
		}
		if s.opt.Keep || s.dir.liveNodes() > 0 {
			seen = s.opt.Seam.Now()
			continue
		}
		if s.opt.Seam.Since(seen) >= s.opt.IdleAfter && s.retire() {
			s.opt.Log.Info("the embedded broker ends, since its last node is gone")
			return nil
		}
	}
}

// retire hides the address, and only then looks for nodes once more.
func (s *server) retire() bool {
	if err := s.dir.announce(s.lock, state{}); err != nil {
		s.opt.Log.Warn("the embedded broker stays", "error", err)
		return false
	}
	if s.dir.liveNodes() == 0 {
		return true
	}
	if err := s.dir.announce(s.lock, s.state); err != nil {
		s.opt.Log.Warn("the embedded broker ends although a node came", "error", err)
		return true
	}
	return false
}

// unmarked ends the process where the end of a transaction could not be written. kfake would answer
// that it was, and show its readers a transaction that the next start undoes. As it is, who asked
// does not know, and the next start mends what is on the disk.
func (s *server) unmarked(why string) {
	s.opt.Log.Error("the embedded broker ends at once, since it could not write the end of a transaction: its disk is full or fails; free some space there, and start again",
		"data", string(s.dir), "error", why)
	os.Exit(1)
}

// stop writes everything, and takes the mark of an unclean end away when all was written.
func (s *server) stop() error {
	s.faults.reset()
	hidden := s.abandon()
	if err := s.faults.fault(); err != nil {
		return errors.Join(hidden, err)
	}
	return errors.Join(hidden, s.dir.markEnded())
}

// abandon ends the broker and leaves it to the next start to look for what it left.
func (s *server) abandon() error {
	hidden := s.dir.announce(s.lock, state{})
	s.cluster.Close()
	if s.intent != nil {
		s.intent.close()
	}
	if s.tidier != nil {
		s.tidier.gate.open() // for who waits there
	}
	return hidden
}
