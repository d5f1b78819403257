package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/testkafka"
)

// testEndTxn cuts EndTxn off, before the broker sees it and after it has done it, from a node
// that lives on and from one that dies of it. The app has one lane, so that it is known which
// transaction was hit.
func testEndTxn(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: 1})
	proxy := s.cluster.Proxy(1)
	m := j.machine("node")
	m.brokers = s.cluster.ProxyAddrs()
	load := j.produce(1000, wordEvents(j.rand))
	for _, test := range []struct {
		name    string
		do      testkafka.Action
		times   int
		thenDie bool
		cut     time.Duration // for so long after the hit nothing gets through
	}{
		{name: "answer dropped", do: testkafka.DropAnswer, times: 1},
		{name: "request dropped", do: testkafka.DropRequest, times: 1},
		{name: "answer dropped three times", do: testkafka.DropAnswer, times: 3},
		{name: "answer dropped, then killed", do: testkafka.DropAnswer, times: 1, thenDie: true},
		{name: "request dropped, then killed", do: testkafka.DropRequest, times: 1, thenDie: true},
		{name: "answer dropped, then cut off", do: testkafka.DropAnswer, times: 1, cut: 1500 * time.Millisecond},
		{name: "request dropped, then cut off", do: testkafka.DropRequest, times: 1, cut: 1500 * time.Millisecond},
		{name: "answer dropped, then cut off for longer than a commit may take", do: testkafka.DropAnswer, times: 1, cut: 35 * time.Second},
		{name: "request dropped, then cut off for longer than a commit may take", do: testkafka.DropRequest, times: 1, cut: 35 * time.Second},
	} {
		if test.cut > 2*time.Second && !s.proof {
			continue
		}
		p := m.start()
		counted := p.awaitStatus(30*time.Second, "the node runs", allRun).Processed
		fault := testkafka.Fault{Key: testkafka.KeyEndTxn, Do: test.do, Times: test.times, Skip: j.rand.IntN(10)}
		fault.OnHit = func() {
			if test.thenDie {
				p.kill()
			}
			if test.cut > 0 {
				proxy.Cut()
			}
		}
		hits := proxy.Fail(fault)
		eventually(t, 20*time.Second, "EndTxn is cut off ("+test.name+")", func() string {
			return atLeast(int64(hits.Count()), int64(test.times))
		})
		switch {
		case test.thenDie:
			<-p.done
			j.wantTransaction(test.do == testkafka.DropRequest)
			hits.Remove()
			p = m.start()
			counted = p.awaitStatus(30*time.Second, "the node runs", allRun).Processed
		case test.cut > 0:
			<-time.After(test.cut) // an outage has a length; there is nothing to poll for
			proxy.Heal()
		}
		hits.Remove()
		p.awaitStatus(60*time.Second, "the node counts on ("+test.name+")", func(st api.AppStatus) string {
			return atLeast(st.Processed, counted+500)
		})
		if s.proof || test.cut > 0 || test.thenDie {
			load.stop()
			j.verify(p)
			load = j.produce(1000, wordEvents(j.rand))
		}
		p.kill()
	}
	j.lateEndTxn(m, proxy)
	load.stop()
	j.verify(m.start())
}

// lateEndTxn (KAFKA-17754): a commit that the network has kept, and that the client has sent again
// meanwhile, reaches the broker in the middle of a later transaction. It must not end that one, of
// which a part would be committed without the rest.
func (j *job) lateEndTxn(m *machine, proxy *testkafka.Proxy) {
	j.t.Helper()
	p := m.start()
	defer p.kill()
	counted, fenced := p.awaitStatus(30*time.Second, "the node runs", allRun).Processed, 0
	for i := range 8 {
		held := proxy.Fail(testkafka.Fault{Key: testkafka.KeyEndTxn, Do: testkafka.HoldRequest, Times: 1, Skip: j.rand.IntN(10)})
		eventually(j.t, 20*time.Second, "an EndTxn is held", func() string { return atLeast(int64(held.Count()), 1) })
		for range 3 { // its own transaction, and two that only a later epoch can end
			counted = p.awaitStatus(60*time.Second, "the node commits", func(st api.AppStatus) string {
				return atLeast(st.Processed, counted+1)
			}).Processed
		}
		request, answer, err := held.Deliver()
		must(j.t, err)
		switch err := endTxnError(request, answer); {
		case err == nil:
			j.t.Fatalf("EndTxn %d, which came late, was done", i+1)
		case errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.ProducerFenced):
			fenced++
		case !errors.Is(err, kerr.ConcurrentTransactions): // another one was just ending
			must(j.t, err)
		}
		held.Remove()
	}
	if fenced == 0 {
		j.t.Error("no EndTxn that came late was refused for its epoch")
	}
}

// endTxnError is the error in an answer to EndTxn, whose header has a correlation id and, since the
// flexible versions, tags.
func endTxnError(request, answer []byte) error {
	resp := kmsg.NewPtrEndTxnResponse()
	resp.SetVersion(int16(binary.BigEndian.Uint16(request[2:])))
	body := answer[4:]
	if resp.IsFlexible() {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// wantTransaction: what the broker knows of the lane's transaction after EndTxn was cut off.
func (j *job) wantTransaction(open bool) {
	j.t.Helper()
	eventually(j.t, 5*time.Second, "the broker's transaction is as it should be", func() string {
		tx, _, err := j.s.admin.DescribeTransaction(j.ctx, j.app+".lane-0")
		must(j.t, err)
		if tx.Open() != open || !open && tx.State != "CompleteCommit" {
			return fmt.Sprintf("it is %s", tx.State)
		}
		return ""
	})
}

// testBrokerKilled kills the broker in the middle of the load and starts it again after a while.
func testBrokerKilled(t *testing.T, s *suite) {
	outage, times := 3*time.Second, 1
	if s.proof {
		outage, times = 20*time.Second, 3
	}
	j := newJob(t, s, jobSpec{})
	j.outages(j.machine("node"), times, func() {
		s.cluster.Kill(1)
		<-time.After(outage) // an outage has a length; there is nothing to poll for
		must(t, s.cluster.Restart(t.Context(), 1))
	})
}

// testBrokerFrozen stops the broker, with all connections open, and lets it go on: in the long run
// later than a transaction may last and a commit is waited for.
func testBrokerFrozen(t *testing.T, s *suite) {
	outages := []time.Duration{2 * time.Second}
	if s.proof {
		outages = []time.Duration{2 * time.Second, 12 * time.Second, 35 * time.Second}
	}
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	for _, outage := range outages {
		j.outages(m, 1, func() {
			s.cluster.Stop(1)
			<-time.After(outage) // an outage has a length; there is nothing to poll for
			s.cluster.Cont(1)
		})
	}
	j.stopWhileFrozen(m)
}

// stopWhileFrozen: a node whose broker does not answer stops in time too, and loses nothing by it.
func (j *job) stopWhileFrozen(m *machine) {
	j.t.Helper()
	load := j.produce(1000, wordEvents(j.rand))
	p := m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	load.awaitMore(500)
	func() {
		j.s.cluster.Stop(1)
		defer j.s.cluster.Cont(1)
		<-time.After(300 * time.Millisecond) // so that commits hang
		p.stop()
	}()
	load.stop()
	j.verify(m.start())
}

// outages lets a node count under load while its broker goes away and comes back, and verifies.
func (j *job) outages(m *machine, times int, outage func()) {
	j.t.Helper()
	load := j.produce(1000, wordEvents(j.rand))
	p := m.start()
	p.awaitStatus(30*time.Second, "the node counts", func(st api.AppStatus) string { return atLeast(st.Processed, 500) })
	for range times {
		load.awaitMore(int64(500 + j.rand.IntN(1000)))
		outage()
		if p.ended() {
			j.t.Fatalf("the node ended while its broker was away: %v", p.cmd.ProcessState)
		}
	}
	load.awaitMore(1000)
	load.stop()
	j.verify(p)
	p.stop()
}
