package chaos

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tally-kafka/tally/internal/api"
	"github.com/tally-kafka/tally/internal/step"
)

// testTransactionalInput: the input is written in transactions, of which some are aborted, the last
// one among them. What was aborted is not counted, and the position passes it and all markers.
func testTransactionalInput(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: 2})
	m := j.machine("node")
	stop := j.transact(wordEvents(j.rand))
	for range 2 {
		j.killAt(m, step.EndTxnAnswered, 5+j.rand.IntN(10))
		j.killAt(m, step.Fold, 5+j.rand.IntN(10))
	}
	stop()
	p := m.start()
	j.verify(p)
	j.verifyCleanStop(m, p)
}

// transact writes transactions of twenty events until stop, whose last one is aborted.
func (j *job) transact(event func(i int) *kgo.Record) (stop func()) {
	j.t.Helper()
	cl, err := j.s.kafka.Client(kgo.DefaultProduceTopic(j.input()), kgo.TransactionalID(j.app+"-producer"),
		kgo.ConcurrentTransactionsBackoff(5*time.Millisecond))
	must(j.t, err)
	quit, done := make(chan struct{}), make(chan struct{})
	transaction := func(i int, commit kgo.TransactionEndTry) error {
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		for k := range 20 {
			cl.Produce(context.Background(), event(20*i+k), nil)
		}
		if err := cl.Flush(context.Background()); err != nil {
			return err
		}
		return cl.EndTransaction(context.Background(), commit)
	}
	go func() {
		defer close(done)
		defer cl.Close()
		for i, last := 0, false; !last; i++ {
			select {
			case <-quit:
				last = true
			default:
			}
			if err := transaction(i, kgo.TransactionEndTry(!last && i%4 != 3)); err != nil {
				j.t.Errorf("the load's transaction: %v", err)
				return
			}
		}
	}()
	stop = func() { close(quit); <-done }
	return stop
}

// testGrownInput: the input gets further partitions. They are counted from their beginning on, and
// keys that moved have a counter in both places.
func testGrownInput(t *testing.T, s *suite) {
	const more = partitions + 3
	j := newJob(t, s, jobSpec{lanes: 3})
	m := j.machine("node")
	j.send(1500, wordEvents(j.rand))
	p := m.start()
	j.verify(p)
	p.kill()
	must(t, s.admin.AddPartitions(j.ctx, j.input(), more))
	j.send(1500, wordEvents(j.rand))
	p = m.start()
	<-p.done
	if text := p.text(); p.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(text, fmt.Sprintf("--alter --topic %s --partitions %d", j.output(), more)) {
		t.Fatalf("a node with too few output partitions ended %v", p.cmd.ProcessState)
	}
	must(t, s.admin.AddPartitions(j.ctx, j.output(), more))
	j.killAt(m, step.ProducePosition, 2)
	j.killAt(m, step.ProduceOutput, 1000)
	p = m.start()
	j.verify(p)
	for group, want := range j.recountInput(nil).groups() {
		got, err := p.client().Get(j.ctx, j.app, []byte(group), api.ReadOptions{Wait: -1})
		must(t, err)
		if _, v, err := parseValue(got.Values); err != nil || !v.equal(want) {
			t.Fatalf("get %s is %s, the recount %s (%v)", group, v, want, err)
		}
		break // a scan has compared them all
	}
	p.kill()
	j.verifyFromNothing(m)
}

// testCompactedChangelog: what is restored from a changelog that Kafka has compacted, with gaps
// where older values were, is the same.
func testCompactedChangelog(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{lanes: 2})
	m := j.machine("node")
	changelog := j.app + ".changelog"
	few := []string{"alpha", "beta", "gamma", "delta"}
	event := func(i int) *kgo.Record {
		return &kgo.Record{Key: fmt.Appendf(nil, "user-%d", j.rand.IntN(20)), Value: []byte(few[i%4] + " " + few[i/4%4])}
	}
	load := j.produce(500, event)
	p := m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	for key, v := range map[string]string{"min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "300"} {
		j.alterTopic(changelog, key, v)
	}
	eventually(t, 60*time.Second, "Kafka compacts the changelog", func() string {
		ends, err := s.admin.EndOffsets(j.ctx, changelog, true)
		must(t, err)
		var records, offsets int64
		j.readCommitted(changelog, func(*kgo.Record) { records++ })
		for _, end := range ends {
			offsets += end
		}
		if records > offsets/3 {
			return fmt.Sprintf("%d records at %d offsets", records, offsets)
		}
		return ""
	})
	p.kill()
	must(t, os.RemoveAll(filepath.Join(m.dir, "state")))
	j.killAt(m, step.CatchUp, 1)
	j.killAt(m, step.MemtableFlush, 1)
	load.awaitMore(300)
	load.stop()
	j.verify(m.start())
}

// testGroupOffsets: the consumer group is a mirror. Lost offsets are committed again; offsets ahead
// of the position records stop the lanes, with both numbers, until a person has decided.
func testGroupOffsets(t *testing.T, s *suite) {
	j := newJob(t, s, jobSpec{})
	m := j.machine("node")
	j.send(1000, wordEvents(j.rand))
	p := m.start()
	j.verify(p)
	p.kill()
	j.deleteOffsets()
	p = m.start()
	p.awaitStatus(30*time.Second, "the node runs", allRun)
	j.verify(p)
	p.kill()

	ends, err := s.admin.EndOffsets(j.ctx, j.input(), false)
	must(t, err)
	ahead := maps.Clone(ends)
	for p := range ahead {
		ahead[p] += 7
	}
	j.commitOffsets(ahead)
	p = m.start()
	st := p.awaitStatus(30*time.Second, "all lanes have stopped", allAre(api.LaneStopped))
	for _, l := range st.Lanes {
		at := int32(l.Lane) // four lanes of four partitions
		if !strings.Contains(l.Reason, fmt.Sprint("offset ", ahead[at], " ")) || !strings.Contains(l.Reason, fmt.Sprint("says ", ends[at], ":")) {
			t.Errorf("lane %d does not say both offsets, %d and %d: %q", l.Lane, ahead[at], ends[at], l.Reason)
		}
	}
	p.stop()
	j.deleteOffsets() // as the reason says
	j.send(500, wordEvents(j.rand))
	j.verify(m.start())
}

func (j *job) deleteOffsets() {
	j.t.Helper()
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = j.app
	topic := kmsg.NewOffsetDeleteRequestTopic()
	topic.Topic = j.input()
	for p := range int32(partitions) {
		part := kmsg.NewOffsetDeleteRequestTopicPartition()
		part.Partition = p
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(j.ctx, j.client())
	must(j.t, err)
	must(j.t, kerr.ErrorForCode(resp.ErrorCode))
}

func (j *job) commitOffsets(at map[int32]int64) {
	j.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = j.app, -1
	input, _, err := j.s.admin.Topic(j.ctx, j.input())
	must(j.t, err)
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = j.input()
	_, err = base64.RawURLEncoding.Decode(topic.TopicID[:], []byte(input.ID))
	must(j.t, err)
	for p, o := range at {
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = p, o
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(j.ctx, j.client())
	must(j.t, err)
	for _, p := range resp.Topics[0].Partitions {
		must(j.t, kerr.ErrorForCode(p.ErrorCode))
	}
}

func (j *job) alterTopic(topic, key, value string) {
	j.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = key, &value
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(j.ctx, j.client())
	must(j.t, err)
	must(j.t, kerr.ErrorForCode(resp.Resources[0].ErrorCode))
}

// client is a plain client for requests that only a test sends.
func (j *job) client() *kgo.Client {
	j.t.Helper()
	cl, err := j.s.kafka.Client()
	must(j.t, err)
	j.t.Cleanup(cl.Close)
	return cl
}
