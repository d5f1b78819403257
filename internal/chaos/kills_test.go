package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/step"
)

// testRandomKills kills the node at random moments, under load.
func testRandomKills(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node", "--memory", "24MB") // so little that the caches overflow
	kills, longest := 10, 700
	if s.proof {
		kills, longest = 20, 3000
	}
	load := j.produce(1000, wordEvents(j.rand))
	compared := 0
	for kill := 1; kill <= kills; kill++ {
		durable := m.durable()
		p := m.start()
		moment := time.Duration(50+j.rand.IntN(longest)) * time.Millisecond
		select {
		case <-time.After(moment):
		case <-p.done:
			t.Fatalf("kill %d: the node ended by itself: %v", kill, p.cmd.ProcessState)
		}
		p.kill()
		compared += p.wantRestoreFrom(durable)
		if kill%5 == 0 && s.proof {
			load.stop()
			p := m.start()
			j.verify(p)
			p.kill()
			load = j.produce(1000, wordEvents(j.rand))
		}
	}
	load.stop()
	durable := m.durable()
	p := m.start()
	j.verify(p)
	least := 1 // on a loaded machine a kill often comes before anything was flushed
	if s.proof {
		least = kills / 2
	}
	if compared += p.wantRestoreFrom(durable); compared < least {
		t.Errorf("only %d restores were compared with the stores' durable positions", compared)
	}
	t.Logf("%d restores began exactly at the store's durable position", compared)
	j.verifyCleanStop(m, p)
	j.verifyFromNothing(m)
}

// verifyCleanStop: after SIGTERM the next start has nothing to read again.
func (j *job) verifyCleanStop(m *machine, p *process) {
	j.t.Helper()
	p.stop()
	durable := m.durable()
	p = m.start()
	j.verify(p)
	p.wantRestoreFrom(durable)
	for lane, r := range p.restored() {
		if r.Records != 0 {
			j.t.Errorf("after a clean stop lane %d read %d records again", lane, r.Records)
		}
	}
	p.kill()
}

// verifyFromNothing: without its state directory the node makes it again from the changelog.
func (j *job) verifyFromNothing(m *machine) {
	j.t.Helper()
	must(j.t, os.RemoveAll(filepath.Join(m.dir, "state")))
	p := m.start()
	j.verify(p)
	for lane, r := range p.restored() {
		if r.FromOffset != 0 {
			j.t.Errorf("lane %d was restored from offset %d of nothing", lane, r.FromOffset)
		}
	}
	p.kill()
}

// hits are the hits of each step at which the node is killed: one, at random. The first hits of
// the transaction's steps are the barriers' of an acquire, so these are skipped mostly.
func hits(j *job, name step.Name) int {
	switch name {
	case step.Poll, step.Fold, step.Read:
		return 1 + j.rand.IntN(20)
	case step.ProduceOutput, step.ProduceChangelog:
		return 1 + j.rand.IntN(3000)
	case step.ProducePosition, step.Publish:
		return 1 + j.rand.IntN(30)
	case step.Flush, step.Offsets, step.EndTxnSent, step.EndTxnAnswered:
		return 1 + j.rand.IntN(40)
	case step.ProduceDead:
		return 1 + j.rand.IntN(20)
	case step.Fence, step.Barrier, step.CatchUp, step.CompareOffsets:
		return 1 + j.rand.IntN(stepLanes)
	default: // by time, or once a restore
		return 1
	}
}

const stepLanes = 2 // of the steps' app: two partitions each

// testSteps kills the node once at each named step of a transaction and of an acquire; in the
// long run, five times at each.
func testSteps(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: stepLanes})
	m := j.machine("node")
	load := j.produce(1000, wordEvents(j.rand))
	rounds := 1
	if s.proof {
		rounds = 5
	}
	for round := range rounds {
		steps := slices.DeleteFunc(slices.Clone(step.All), func(n step.Name) bool { return n == step.Ingest })
		j.rand.Shuffle(len(steps), func(a, b int) { steps[a], steps[b] = steps[b], steps[a] })
		for i, name := range steps {
			j.killAt(m, name, hits(j, name))
			if (i == len(steps)-1) || s.proof && i%6 == 5 {
				load.stop()
				p := m.start()
				j.verify(p)
				p.kill()
				load = j.produce(1000, wordEvents(j.rand))
			}
		}
		t.Logf("round %d: killed at each of %d steps", round+1, len(steps))
	}
	// A chunk is ingested as a table from 4 MB on: the whole changelog has to be read for that.
	load.stop()
	p := m.start()
	j.send(15_000, newWords)
	j.verify(p)
	p.kill()
	must(t, os.RemoveAll(filepath.Join(m.dir, "state")))
	j.killAt(m, step.Ingest, 1)
	p = m.start()
	j.verify(p)
	wantAllSteps(t, j)
}

// killAt starts the node and waits until it has killed itself at the n-th hit of the step.
func (j *job) killAt(m *machine, name step.Name, n int) {
	j.t.Helper()
	durable := m.durable()
	failpoint := fmt.Sprintf("%s:%d", name, n)
	p := m.start("TALLY_FAILPOINT="+failpoint, "TALLY_FAILPOINT_LOG="+j.stepLog())
	p.awaitKill(40*time.Second, failpoint)
	p.wantRestoreFrom(durable)
}

func (j *job) stepLog() string { return filepath.Join(j.dir, "steps.log") }

// wantAllSteps: each step of the list was met.
func wantAllSteps(t *testing.T, j *job) {
	text, err := os.ReadFile(j.stepLog())
	must(t, err)
	for _, name := range step.All {
		if !slices.Contains(lines(string(text)), string(name)) {
			t.Errorf("the step %s was never hit", name)
		}
	}
}

// testStopsUnderLoad stops the node cleanly in the middle of the load: each next start goes on from
// where that was, with nothing to read again.
func testStopsUnderLoad(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	load := j.produce(1500, wordEvents(j.rand))
	for stop := range 4 {
		p := m.start()
		p.awaitStatus(30*time.Second, "the node runs", allRun)
		load.awaitMore(int64(200 + j.rand.IntN(800)))
		p.stop()
		for lane, r := range p.restored() {
			if stop > 0 && r.Records != 0 {
				t.Errorf("after clean stop %d lane %d read %d records again", stop, lane, r.Records)
			}
		}
	}
	load.stop()
	j.verify(m.start())
}

// testFirstStart kills the very first start of an app at each step of its acquire: what a half-done
// first start leaves behind must not be in the way of the next. Nor does the next wait for the
// broker to time the dead one's transaction out, which takes 10 s and more.
func testFirstStart(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	j.send(2000, wordEvents(j.rand))
	for _, name := range []step.Name{
		step.Fence, step.Barrier, step.CompareOffsets, step.ProducePosition, step.Flush, step.Offsets,
		step.EndTxnSent, step.Publish,
	} {
		n := 1
		if name == step.Flush || name == step.EndTxnSent {
			n = 5 // behind the barriers of four lanes
		}
		began := time.Now()
		j.killAt(m, name, n)
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("the start that was to die at %s came there after %s", name, took)
		}
	}
	j.verify(m.start())
}
