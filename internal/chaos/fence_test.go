package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/step"
	"github.com/tally-kafka/tally/txn"
)

// testFencedSession holds two sessions of one transactional id against each other: another fences
// the first right before each of its requests, and each of them is refused.
func testFencedSession(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	out := j.app + ".changelog"
	must(t, s.admin.Create(j.ctx, kafka.TopicSpec{Name: out, Partitions: 1, Replication: 1}))
	for _, test := range []struct {
		name   string
		before step.Name // the fence comes right after this step; "": before the first produce
		says   string    // the request that is refused
		with   error
		ends   txn.Outcome
	}{
		{"Produce", "", "produce to", kerr.InvalidProducerEpoch, txn.Aborted},
		{"TxnOffsetCommit", step.Flush, "commit offsets", kerr.InvalidProducerEpoch, txn.Aborted},
		// The client may have sent it twice, and the first one may have been carried out.
		{"EndTxn", step.Offsets, "end transaction", kerr.ProducerFenced, txn.Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			owner := j.fencedSession(t, test.before)
			outcome, err := owner.transaction(out)
			if err == nil || outcome != test.ends || !txn.Fenced(err) {
				t.Fatalf("the fenced owner's transaction ended %v: %v", outcome, err)
			}
			if !strings.Contains(err.Error(), test.says) || !errors.Is(err, test.with) {
				t.Errorf("refused with %q, want %q of %q", err, test.with, test.says)
			}
			for _, again := range []string{"once more", "and again"} {
				if outcome, err := owner.transaction(out); err == nil || outcome == txn.Committed {
					t.Errorf("the fenced owner's next transaction (%s) ended %v: %v", again, outcome, err)
				}
			}
		})
	}
	j.verifyFencedInvisible(out)
}

// fencedOwner is a session that another fences at a chosen step of its first transaction.
type fencedOwner struct {
	*txn.Session
	t      testing.TB
	j      *job
	before step.Name
	fenced bool
}

func (j *job) fencedSession(t *testing.T, before step.Name) *fencedOwner {
	o := &fencedOwner{t: t, j: j, before: before}
	cfg := j.sessionConfig()
	cfg.Step = func(n step.Name) {
		if n == before && !o.fenced {
			o.fence()
		}
	}
	var err error
	o.Session, err = txn.Fence(j.ctx, cfg)
	must(t, err)
	t.Cleanup(o.Close)
	return o
}

func (j *job) sessionConfig() txn.Config {
	return txn.Config{Kafka: j.s.kafka, TransactionalID: j.app + ".lane-0", Group: j.app, Sources: map[string][16]byte{j.input(): {}},
		Seam: j.s.kafka.Seam}
}

// fence is the other one: it takes the id and commits a record of its own.
func (o *fencedOwner) fence() {
	o.fenced = true
	other, err := txn.Fence(o.j.ctx, o.j.sessionConfig())
	if err != nil {
		o.t.Errorf("the other session cannot fence: %v", err)
		return
	}
	defer other.Close()
	if _, err := other.Barrier(o.j.ctx, []*kgo.Record{{Topic: o.j.app + ".changelog", Value: []byte("other")}}); err != nil {
		o.t.Errorf("the other session cannot commit: %v", err)
	}
}

// transaction tries one with a record and an offset.
func (o *fencedOwner) transaction(topic string) (txn.Outcome, error) {
	ctx, cancel := context.WithTimeout(o.j.ctx, 10*time.Second)
	defer cancel()
	if err := o.Begin(); err != nil {
		return txn.Aborted, err
	}
	if o.before == "" && !o.fenced {
		o.fence()
	}
	o.Produce(&kgo.Record{Topic: topic, Value: []byte("fenced")})
	return o.Commit(ctx, txn.Offsets{{Topic: o.j.input()}: 1000})
}

func (j *job) verifyFencedInvisible(topic string) {
	j.t.Helper()
	others := 0
	j.readCommitted(topic, func(rec *kgo.Record) {
		if others++; string(rec.Value) != "other" {
			j.t.Errorf("a fenced owner's record is visible at offset %d", rec.Offset)
		}
	})
	if others != 3 {
		j.t.Errorf("%d records of the others are visible, want 3", others)
	}
	offsets, err := j.s.admin.GroupOffsets(j.ctx, j.app, j.input())
	must(j.t, err)
	if len(offsets) != 0 {
		j.t.Errorf("a fenced owner's offsets are visible: %v", offsets)
	}
}

// testPausedOwner freezes the owner in the middle of a transaction, lets another node take its
// lanes, and wakes it up.
func testPausedOwner(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	load := j.produce(2000, wordEvents(j.rand))
	first := j.machine("first").start()
	first.awaitStatus(30*time.Second, "the first node counts", func(st api.AppStatus) string {
		return atLeast(st.Processed, 2000)
	})
	j.wantRefused("first")
	lane := j.freezeInTransaction(first)
	second := j.machine("second", "--takeover").start()
	st := second.awaitStatus(30*time.Second, "the second node runs", allRun)
	counted := st.Processed
	second.awaitStatus(30*time.Second, "the second node counts", func(st api.AppStatus) string {
		return atLeast(st.Processed, counted+1000)
	})
	first.signal(syscall.SIGCONT)
	st = first.awaitStatus(30*time.Second, "the first node has lost its lanes", allAre(api.LaneLost))
	for _, l := range st.Lanes {
		if !strings.Contains(l.Reason, "second") || !strings.Contains(l.Reason, "--takeover") {
			t.Errorf("lane %d does not say who fenced it and what to do: %q", l.Lane, l.Reason)
		}
	}
	load.awaitMore(1000)
	load.stop()
	j.verify(second)
	j.verifyOneAuthor(first, second)
	j.verifyAnswersLost(first)
	t.Logf("lane %d was frozen within its transaction", lane)
	first.stop()
	second.kill()
	// A node of another data dir, without the flag: it watches for a while, and then takes over.
	j.verify(j.machine("third").start())
}

// wantRefused: a node of another data dir does not take a running app away by accident.
func (j *job) wantRefused(owner string) {
	j.t.Helper()
	p := j.machine("intruder").start()
	<-p.done
	says := fmt.Sprintf("app %s is being run by node %s", j.app, owner)
	if text := p.text(); p.cmd.ProcessState.ExitCode() != 5 || !strings.Contains(text, says) || !strings.Contains(text, "--takeover") {
		j.t.Errorf("the intruder ended with %v; want exit 5 and %q", p.cmd.ProcessState, says)
	}
}

func atLeast(have, want int64) string {
	if have >= want {
		return ""
	}
	return fmt.Sprintf("%d of %d", have, want)
}

// freezeInTransaction stops the process at a moment when the broker has a transaction of it open,
// and says of which lane.
func (j *job) freezeInTransaction(p *process) (lane int) {
	j.t.Helper()
	open := func(lane int) bool {
		tx, ok, err := j.s.admin.DescribeTransaction(j.ctx, fmt.Sprintf("%s.lane-%d", j.app, lane))
		must(j.t, err)
		return ok && tx.Open()
	}
	eventually(j.t, 30*time.Second, "the node freezes within a transaction", func() string {
		for lane = range partitions {
			if !open(lane) {
				continue
			}
			p.signal(syscall.SIGSTOP)
			<-time.After(100 * time.Millisecond) // an EndTxn may be on the wire already
			if open(lane) {
				return ""
			}
			p.signal(syscall.SIGCONT)
		}
		return "no lane had one open"
	})
	return lane
}

// verifyOneAuthor: behind the second node's first record in a changelog partition stands nothing
// of the first node's.
func (j *job) verifyOneAuthor(first, second *process) {
	j.t.Helper()
	taken := map[int32]note{}
	for _, n := range j.notes() {
		before, ok := taken[n.Partition]
		switch {
		case n.NodeName == second.m.name && !ok:
			taken[n.Partition] = n
		case n.NodeName == first.m.name && ok:
			j.t.Errorf("changelog partition %d offset %d is the first node's, behind the second's at %d",
				n.Partition, n.Offset, before.Offset)
		}
		if ok && n.Epoch < before.Epoch {
			j.t.Errorf("changelog partition %d offset %d: the epoch falls from %d to %d", n.Partition, n.Offset, before.Epoch, n.Epoch)
		}
	}
	if len(taken) != partitions {
		j.t.Errorf("the second node wrote to %d changelog partitions", len(taken))
	}
}

// verifyAnswersLost: a node that lost its lanes goes on answering with what it had, and says so.
func (j *job) verifyAnswersLost(p *process) {
	j.t.Helper()
	top, err := p.client().Top(j.ctx, j.app, 3, api.ReadOptions{Wait: -1})
	must(j.t, err)
	if len(top.Counts) != 3 || len(top.Parts) != partitions {
		j.t.Errorf("the lost node answers with %d counts of %d parts", len(top.Counts), len(top.Parts))
	}
	for _, part := range top.Parts {
		if part.Role != api.RoleLost {
			j.t.Errorf("the lost node calls itself %q of partition %d", part.Role, part.Partition)
		}
	}
}

// testTransactionTimeout freezes the owner for longer than its transaction may take, with nobody
// to take over: the broker aborts it, and the owner has to find that out and go on by itself.
func testTransactionTimeout(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	load := j.produce(1000, wordEvents(j.rand))
	p := j.machine("node").start()
	p.awaitStatus(30*time.Second, "the node counts", func(st api.AppStatus) string { return atLeast(st.Processed, 1000) })
	lane := j.freezeInTransaction(p)
	eventually(t, 40*time.Second, "the broker aborts the transaction", func() string {
		tx, _, err := s.admin.DescribeTransaction(j.ctx, fmt.Sprintf("%s.lane-%d", j.app, lane))
		must(t, err)
		if tx.State != "CompleteAbort" {
			return "it is " + tx.State
		}
		return ""
	})
	p.signal(syscall.SIGCONT)
	load.awaitMore(2000)
	load.stop()
	j.verify(p)
	if !strings.Contains(p.text(), "fenced, but no other node") {
		t.Error("the node does not say that its transaction timed out")
	}
}
