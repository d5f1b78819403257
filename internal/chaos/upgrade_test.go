package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// Releases that there were, by their commits.
const (
	lastLone     = "9866b85" // the last one that knew no cluster
	firstCluster = "bd0d52f" // the first one whose clusters passed this package's tests
)

// TestUpgradeProof upgrades real nodes of earlier releases, which it builds from the history.
func TestUpgradeProof(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	s := newSuite(t, 1, testkafka.Options{})
	t.Run("LoneNode", func(t *testing.T) { testUpgradeOfLoneNode(t, s) })
	t.Run("Rolling", func(t *testing.T) { testRollingUpgrade(t, s) })
}

// buildOf makes the binary of an earlier commit.
func (s *suite) buildOf(t *testing.T, commit string) string {
	t.Helper()
	tree, bin := filepath.Join(s.dir, commit), filepath.Join(s.dir, "tally-"+commit)
	must(t, os.MkdirAll(tree, 0o755))
	for _, cmd := range []*exec.Cmd{
		exec.Command("sh", "-c", fmt.Sprintf("git -C ../.. archive %s | tar -x -C '%s'", commit, tree)),
		exec.Command("go", "build", "-C", tree, "-pgo=off", "-o", bin, "./cmd/tally"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the release of commit %s cannot be built: %v\n%s", commit, err, out)
		}
	}
	return bin
}

// testUpgradeOfLoneNode: the data dir of a node that knew no cluster, killed under load, goes on
// under this release as a cluster of one, with the app that it ran and under later epochs; others
// join it.
func testUpgradeOfLoneNode(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("a")
	m.bin = s.buildOf(t, lastLone)
	load := j.produce(1000, wordEvents(j.rand))
	p := m.start()
	p.awaitStatus(30*time.Second, "the old release counts", func(st api.AppStatus) string { return atLeast(st.Processed, 2000) })
	p.kill()

	m.bin, m.bare = s.bin, true
	m.listen = freeAddrs(t, 1)[0]
	p = m.start()
	p.awaitStatus(30*time.Second, "this release counts on", func(st api.AppStatus) string {
		if missing := allRun(st); missing != "" {
			return missing
		}
		return atLeast(st.Processed, 4000)
	})
	second := j.machine("b", "--join", m.listen)
	second.bare = true
	second.start()
	p.awaitStatus(30*time.Second, "a second node has joined and follows or owns each lane", func(st api.AppStatus) string {
		for _, l := range st.Lanes {
			if len(l.Copies) != 1 || !l.Copies[0].Ready || l.State != api.LaneRunning {
				return fmt.Sprintf("lane %d is %s at %q, with %d copies", l.Lane, l.State, l.Owner, len(l.Copies))
			}
		}
		return allRun(st)
	})
	load.stop()
	j.verify(p)
	j.verifyEpochs()
	j.verifyAudit(p)
}

// testRollingUpgrade: a cluster of an earlier release is brought to this one node by node, under
// load. Between two nodes both releases are in it, lanes move and a node dies.
func testRollingUpgrade(t *testing.T, s *suite) {
	f := &fleet{t: t, s: s, brokers: s.cluster.Addrs()}
	f.open(s.buildOf(t, firstCluster))
	for _, g := range f.gauges {
		g.watch(t)
	}
	f.begin(fleetRate)
	leader := f.leader()
	for _, name := range append(without(f.names(), leader), leader) {
		f.row("SIGTERM of the old release", 2, func() { f.stop(name) })
		f.machines[name].bin = s.bin
		f.row("... and the start of the new one", 3, func() { f.start(name) })
		f.verify(3, true)
		f.begin(fleetRate)
		f.killOwner()
		f.moveAndDrain()
		f.verify(3, true)
		f.begin(fleetRate)
	}
	f.verifyWhole()
	f.table()
}
