package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/step"
)

// testOlderTransactions: a cluster whose transaction.version is 1 has every partition and the
// consumer group told to it before they are part of a transaction. Counts are exact there over
// kills too, and stay so when the version is raised under a running node, as an operator does who
// follows the doctor's advice, and lowered again.
func testOlderTransactions(t *testing.T, s *suite) {
	set := func(version int) {
		t.Helper()
		must(t, s.cluster.SetTransactionVersion(t.Context(), version))
	}
	t.Cleanup(func() { must(t, s.cluster.SetTransactionVersion(context.Background(), 2)) })
	set(1)
	j := newJob(t, s, jobSpec{lanes: 2})
	m := j.machine("node")
	load := j.produce(1000, wordEvents(j.rand))
	for _, name := range []step.Name{step.Barrier, step.ProduceOutput, step.Offsets, step.EndTxnSent, step.EndTxnAnswered} {
		j.killAt(m, name, hits(j, name))
	}
	p := m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	if text := p.text(); !strings.Contains(text, "transaction.version is below 2") {
		t.Error("the node does not say that the version is old")
	}
	load.awaitMore(300)
	set(2)
	load.awaitMore(500)
	p.kill()
	p = m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	if text := p.text(); strings.Contains(text, "transaction.version is below 2") {
		t.Error("the node says that the new version is old")
	}
	load.awaitMore(300)
	set(1)
	load.awaitMore(500)
	load.stop()
	j.verify(p)
	p.kill()
	j.verifyFromNothing(m)
}
