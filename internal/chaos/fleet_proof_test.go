package chaos

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/testkafka"
)

// TestFleetProof is the suite of a cluster of three nodes. TALLY_PROOF=1 repeats each fault, and
// repeats all of it on three brokers.
func TestFleetProof(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: it runs real processes for a minute")
	}
	t.Run("OneBroker", func(t *testing.T) { testFleet(t, newSuite(t, 1, testkafka.Options{})) })
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	t.Run("ThreeBrokers", func(t *testing.T) {
		testFleet(t, newSuite(t, 3, testkafka.Options{Nodes: 3, Quorum: true, Props: map[string]string{
			"default.replication.factor": "3", "min.insync.replicas": "2",
		}}))
	})
}

const fleetRate = 400 // events a second of each app

func testFleet(t *testing.T, s *suite) {
	testAbortedIsSeen(t, s)
	f := newFleet(t, s)
	for _, g := range f.gauges {
		g.watch(t)
	}
	f.begin(fleetRate)
	r := f.read()
	for _, fault := range []struct {
		name  string
		tries int // of the long run
		run   func()
		short bool // it is of the short run too
	}{
		{"nothing", 1, f.calm, false},
		{"owner killed", 20, f.killOwner, true},
		{"leader killed", 10, f.killLeader, true},
		{"owner frozen", 5, f.freezeOwner, true},
		{"rolling restart", 5, f.roll, true},
		{"move and drain", 5, f.moveAndDrain, true},
		{"join and leave", 3, f.joinAndLeave, true},
		{"another authority", 3, f.changeAuthority, true},
		{"two killed", 3, f.killTwo, false},
		{"all killed", 3, f.killAll, true},
		{"wiped", 3, f.wipe, false},
		{"disk full", 2, f.fillDisk, false},
	} {
		if only := os.Getenv("CHAOS_FAULTS"); only != "" && !slices.Contains(strings.Split(only, ","), fault.name) ||
			only == "" && !fault.short && !s.proof {
			continue
		}
		if n, err := strconv.Atoi(os.Getenv("CHAOS_TRIES")); err == nil {
			fault.tries = n
		} else if !s.proof {
			fault.tries = 1
		}
		for range fault.tries {
			began, rows := time.Now(), len(f.rows)
			fault.run()
			f.verify(3, s.proof)
			if failed := r.since(began); failed != "" {
				t.Logf("%s: %s", fault.name, failed)
				if f.longest(rows) < readWait/2 { // else nobody could have answered
					t.Errorf("%s: reads failed although nothing stood still for so long", fault.name)
				}
			}
			t.Logf("%s: verified, %.1f s", fault.name, time.Since(began).Seconds())
			f.begin(fleetRate)
		}
	}
	r.stop()
	f.verifyWhole()
	f.table()
	t.Logf("%d reads and %d scans, the slowest took %d ms", r.asked.Load(), r.scans.Load(), r.slow.Load())
	if r.asked.Load() < 100 || r.scans.Load() == 0 {
		t.Error("hardly anything was read")
	}
}

// calm is the gap of no fault.
func (f *fleet) calm() {
	f.row("none (2 s)", 3, func() { <-time.After(2 * time.Second) })
}

// killOwner kills a node that owns lanes and does not lead, and starts it again.
func (f *fleet) killOwner() {
	name := f.owner()
	f.row("SIGKILL of an owner", 2, func() { f.kill(name) })
	f.row("... which comes back", 3, func() { f.start(name) })
}

// killLeader kills the Raft leader, which owns lanes too.
func (f *fleet) killLeader() {
	name := f.leader()
	f.row("SIGKILL of the Raft leader", 2, func() { f.kill(name) })
	f.row("... which comes back", 3, func() { f.start(name) })
}

// freezeOwner stops a node as a zombie does, and lets it go on: what it wanted to commit is
// refused, and it comes back.
func (f *fleet) freezeOwner() {
	name := f.owner()
	away := 4 * time.Second
	if f.s.proof {
		away = time.Duration(5+f.jobs[0].rand.IntN(26)) * time.Second
	}
	p := f.up[name]
	delete(f.up, name)
	f.row("SIGSTOP of an owner", 2, func() {
		f.frozen.begin(name)
		p.signal(syscall.SIGSTOP)
		<-time.After(away)
	})
	f.row("... SIGCONT", 3, func() {
		p.signal(syscall.SIGCONT)
		f.frozen.end()
		f.up[name] = p
	})
}

// roll stops and starts each node in turn, the leader last: nothing is counted twice, nothing is
// aborted.
func (f *fleet) roll() {
	leader := f.leader()
	names := append(without(f.names(), leader), leader)
	if !f.s.proof {
		names = names[1:]
	}
	for _, name := range names {
		what := "SIGTERM of an owner"
		if name == leader {
			what = "SIGTERM of the Raft leader"
		}
		f.row(what, 2, func() { f.stop(name) })
		f.row("... started again", 3, func() { f.start(name) })
	}
	f.wantNothingAborted(2 * len(names))
}

// wantNothingAborted: none of the last n rows has an aborted transaction.
func (f *fleet) wantNothingAborted(n int) {
	f.t.Helper()
	for _, r := range f.rows[len(f.rows)-n:] {
		if r.aborted > 0 {
			f.t.Errorf("%s: %d transactions were aborted", r.what, r.aborted)
		}
	}
}

func without(names []string, name string) (rest []string) {
	for _, n := range names {
		if n != name {
			rest = append(rest, n)
		}
	}
	return rest
}

// moveAndDrain uses the commands, under load.
func (f *fleet) moveAndDrain() {
	st, err := f.status()
	must(f.t, err)
	lane := st.Apps[f.jobs[0].rand.IntN(len(st.Apps))].Lanes[f.jobs[0].rand.IntN(partitions)]
	app := st.Apps[0].App
	for _, a := range st.Apps {
		for _, l := range a.Lanes {
			if l.Lane == lane.Lane && l.Owner == lane.Owner {
				app = a.App
			}
		}
	}
	ref := fmt.Sprintf("%s/%d", app, lane.Lane)
	third := without(without(f.names(), lane.Owner), lane.Standbys[0])[0]
	f.row("tally move to a standby", 3, func() { f.tally("move", ref, lane.Standbys[0]) })
	f.row("tally move to a node without a copy", 3, func() { f.tally("move", ref, third) })
	name := f.owner()
	f.row("tally drain", 3, func() {
		f.tally("drain", name)
		if left := f.owners(); len(without(left, name)) != len(left) {
			f.t.Errorf("drained node %s has lanes", name)
		}
	})
	f.row("tally drain --undo", 3, func() { f.tally("drain", name, "--undo") })
	f.wantNothingAborted(4)
}

// joinAndLeave starts a fourth node, which takes its share, and stops it for good.
func (f *fleet) joinAndLeave() {
	f.row("a fourth node joins", 4, func() {
		f.start("d")
		eventually(f.t, 30*time.Second, "d has its share", func() string {
			for _, name := range f.owners() {
				if name == "d" {
					return ""
				}
			}
			return "it has no lane"
		})
	})
	f.row("the fourth node stops", 3, func() { f.stop("d") })
	f.wantNothingAborted(2)
}

// killTwo kills two nodes of three at once: nothing can move until one is back.
func (f *fleet) killTwo() {
	leader := f.leader()
	other := f.owner()
	f.row("SIGKILL of two nodes, started at once again", 3, func() {
		f.kill(leader, other)
		f.start(leader, other)
	})
}

// killAll kills all nodes at once, and starts them again.
func (f *fleet) killAll() {
	f.row("SIGKILL of all, started at once again", 3, func() {
		f.kill(f.names()...)
		f.start("a", "b", "c")
	})
}

// wipe kills a node, takes its disk away, and starts it again under its name.
func (f *fleet) wipe() {
	name := f.owner()
	f.row("SIGKILL of an owner", 2, func() { f.kill(name) })
	must(f.t, os.RemoveAll(f.machines[name].dir))
	f.row("... which comes back with an empty disk", 3, func() { f.start(name) })
}

// fillDisk keeps the files of an owner from growing, as a full disk does, and lets them grow again.
func (f *fleet) fillDisk() {
	p := f.up[f.owner()]
	f.row("a full disk for 5 s", 3, func() {
		p.limitFiles(16 << 10)
		<-time.After(5 * time.Second)
		p.limitFiles(1 << 62)
	})
}
