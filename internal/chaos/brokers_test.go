package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// TestBrokersProof is the suite on three brokers, each of which is a controller too. It is of the
// long proofs alone: brokers are stopped for half a minute again and again.
func TestBrokersProof(t *testing.T) {
	if os.Getenv("TALLY_PROOF") == "" {
		return
	}
	s := newSuite(t, 3, testkafka.Options{Nodes: 3, Quorum: true, Props: map[string]string{
		"default.replication.factor": "3",
		"min.insync.replicas":        "2",
		// With 8 partitions of both internal topics a group's would determine its transactional
		// ids', and not every distribution of roles could be found.
		"transaction.state.log.num.partitions": "7",
	}})
	t.Run("Deposed", func(t *testing.T) { testDeposed(t, s) })
	t.Run("Killed", func(t *testing.T) { testOneBrokerKilled(t, s) })
	t.Run("Rolling", func(t *testing.T) { testRollingRestart(t, s) })
	t.Run("TooFew", func(t *testing.T) { testTooFewReplicas(t, s) })
}

// kadm is a client for requests that only a test sends.
func (s *suite) kadm(t testing.TB) *kadm.Client {
	t.Helper()
	cl, err := s.kafka.Client()
	must(t, err)
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// verifyAudit: tally's own recount agrees, with the store asked too. It gives what that says.
func (j *job) verifyAudit(p *process) string {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.ctx, time.Minute)
	defer cancel()
	_ = p.client() // so that its address is known
	cmd := exec.CommandContext(ctx, j.s.bin, p.m.guard.command(p.addr, "audit", "--app", j.app)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		j.t.Fatalf("tally audit: %v\n%s", err, out)
	}
	return string(out)
}

// testOneBrokerKilled kills a broker under load and starts it again, each time another one.
func testOneBrokerKilled(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	id := 1 + j.rand.IntN(3)
	j.outages(m, 3, func() {
		id = id%3 + 1
		s.cluster.Kill(id)
		<-time.After(time.Duration(j.rand.IntN(12_000)) * time.Millisecond) // before and after leadership moves
		must(t, s.cluster.Restart(t.Context(), id))
	})
	j.verifyAudit(j.runAndVerify(m))
}

// runAndVerify starts the node again after outages, which end with its clean stop.
func (j *job) runAndVerify(m *machine) *process {
	j.t.Helper()
	p := m.start()
	j.verify(p)
	return p
}

// testRollingRestart stops and starts every broker in turn, as an upgrade does, under load.
func testRollingRestart(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	j.outages(m, 1, func() {
		for _, id := range j.rand.Perm(3) {
			s.cluster.Term(id + 1)
			must(t, s.cluster.Restart(t.Context(), id+1))
			s.awaitInSync(t)
		}
	})
	j.verifyAudit(j.runAndVerify(m))
}

// awaitInSync waits until every replica is in sync, as whoever upgrades does before the next
// broker.
func (s *suite) awaitInSync(t testing.TB) {
	t.Helper()
	adm := s.kadm(t)
	eventually(t, 2*time.Minute, "all replicas are in sync", func() string {
		meta, err := adm.Metadata(ctxOf(t))
		if err != nil {
			return err.Error()
		}
		for _, topic := range meta.Topics {
			for _, p := range topic.Partitions {
				if len(p.ISR) < len(p.Replicas) {
					return fmt.Sprintf("%s/%d has %v", topic.Topic, p.Partition, p.ISR)
				}
			}
		}
		return ""
	})
}

// balance gives the leadership back that a broker lost when it was away.
func (s *suite) balance(t testing.TB) {
	t.Helper()
	s.awaitInSync(t)
	adm := s.kadm(t)
	eventually(t, time.Minute, "each partition is led by its first replica", func() string {
		elected, err := adm.ElectLeaders(ctxOf(t), kadm.ElectPreferredReplica, nil)
		if err != nil {
			return err.Error()
		}
		for _, partitions := range elected {
			for _, p := range partitions {
				if p.Err != nil && !errors.Is(p.Err, kerr.ElectionNotNeeded) {
					return fmt.Sprintf("%s/%d: %v", p.Topic, p.Partition, p.Err)
				}
			}
		}
		return ""
	})
}

// testTooFewReplicas stops two brokers of three for 20 s: what is written cannot be acknowledged
// any more. The lanes wait, say why, and go on.
func testTooFewReplicas(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	load := j.produce(400, wordEvents(j.rand))
	p := m.start()
	p.awaitStatus(60*time.Second, "the node counts", func(st api.AppStatus) string { return atLeast(st.Processed, 1000) })
	left := 1 + j.rand.IntN(3)
	for id := 1; id <= 3; id++ {
		if id != left {
			s.cluster.Stop(id)
			t.Cleanup(func() { s.cluster.Cont(id) })
		}
	}
	began := time.Now()
	said := ""
	for time.Since(began) < 20*time.Second { // an outage has a length
		st, err := p.status()
		must(t, err)
		for _, l := range st.Lanes {
			if l.Reason != "" {
				said = fmt.Sprintf("lane %d is %s: %s", l.Lane, l.State, l.Reason)
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	for id := 1; id <= 3; id++ {
		s.cluster.Cont(id)
	}
	p.awaitStatus(60*time.Second, "the lanes run again", allRun)
	load.awaitMore(1000)
	load.stop()
	j.verify(p)
	if !strings.Contains(said, "min.insync.replicas") {
		t.Errorf("the status did not say why nothing is counted; it said %q", said)
	}
	j.verifyAudit(p)
}
