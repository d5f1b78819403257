package audit

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/seam"
)

// An audit beside an app's first start waits for the first positions.
func TestFirstStartIsAwaited(t *testing.T) {
	p := onFake(t)
	p.topic(p.in, 2)
	p.topic(p.out, 2)
	p.topic(p.app+".changelog", 2, "cleanup.policy", "compact")
	p.send(p.in, event(0, "a", "x"), event(1, "b", "x"))
	type result struct {
		r   *Report
		err error
	}
	audited := make(chan result, 1)
	cfg := Config{Spec: p.sp, Kafka: p.cfg, Seam: seam.World(), TempDir: t.TempDir(), StageWait: patience, CutWait: patience, OffsetsWait: patience}
	go func() {
		r, err := Run(p.ctx(), cfg)
		audited <- result{r, err}
	}()
	p.start()
	got := <-audited
	p.must(got.err)
	if got.r.Verdict != Exact || len(got.r.Partitions) != 2 {
		t.Error(p.dump(got.r))
	}
}

// Of a partition that has no position record yet nothing is said but that: what its lane writes
// while the audit runs is no difference.
func TestFirstStartThatHasNotComeToItsEnd(t *testing.T) {
	p := onFake(t)
	p.small()
	p.rewrite(p.app+".changelog", func(all []*kgo.Record) []*kgo.Record {
		return slices.DeleteFunc(all, func(r *kgo.Record) bool { return r.Partition == 1 })
	})
	p.node = nil
	moved := p.audit()
	p.finds(moved, OffsetMoved, p.in, 1, 2, "no position record of the partition")
	if moved.Found != 1 {
		t.Error(p.dump(moved))
	}
	var set kadm.TopicsSet
	set.Add(p.in, 1)
	answer, err := p.adm.DeleteOffsets(p.ctx(), p.app, set)
	p.must(err)
	p.must(answer.Error())
	began := time.Now()
	p.undecides(p.audit(), "nothing is counted yet of "+p.in+", partitions [1]")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("it did not wait: %s", took)
	}
}

// An input that was made again with fewer partitions has the same said of it as any that was made
// again: what the app has written in the others is no difference.
func TestInputMadeAgainWithFewerPartitions(t *testing.T) {
	p := onFake(t)
	p.small()
	before, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	p.must(p.admin.DeleteTopics(p.ctx(), p.in))
	p.topic(p.in, 1)
	after, _, err := p.admin.Topic(p.ctx(), p.in)
	p.must(err)
	r := p.audit()
	p.undecides(r, "the input "+p.in+" was deleted and made again", before.ID, after.ID, "tally reset "+p.app)
	if len(r.Partitions) != 2 {
		t.Error(p.dump(r))
	}
}
