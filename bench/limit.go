package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/internal/seam"
)

const (
	limitPoll  = 20_000 // records a poll takes at most
	recordRoom = 80     // bytes of both records of a counter beside its group twice
)

// Threads are how many a program uses that is told its number: one a core, as far as there are
// partitions to share. On two cores that is with how many each did best.
func Threads(partitions int) int { return min(runtime.NumCPU(), partitions) }

// A LimitJob is what the limit does, in a process of its own as tally does.
type LimitJob struct {
	Brokers  []string
	Workload Workload
	Topic    string
	Name     string        // makes topics and transactional ids its own
	Interval time.Duration // between commits
}

// Run folds what a workload's topic holds into one output and one changelog record a changed group,
// in a transaction each interval: what each adds to its group, since nothing is kept from one
// transaction to the next. It returns the sum of all outputs.
func (j LimitJob) Run(ctx context.Context, sm seam.Seam) (sum int64, err error) {
	cfg, w, topic, name := kafka.Config{Brokers: j.Brokers, Seam: sm}, j.Workload, j.Topic, j.Name
	admin, err := kafka.NewAdmin(cfg)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	for _, t := range []string{name + "-out", name + "-changelog"} {
		if err := admin.Create(ctx, kafka.TopicSpec{Name: t, Partitions: w.Partitions, Replication: -1}); err != nil {
			return 0, err
		}
	}
	ends, err := admin.EndOffsets(ctx, topic, true)
	if err != nil {
		return 0, err
	}
	lanes := make([]*limitLane, Threads(w.Partitions))
	g, ctx := errgroup.WithContext(ctx)
	for k := range lanes {
		l := &limitLane{
			cfg: cfg, w: w, interval: j.Interval, topic: topic, name: name, id: fmt.Sprintf("%s-%d", name, k),
			added: map[int32]map[string]*int64{}, next: map[int32]int64{}, ends: map[int32]int64{},
			headers: [2]kgo.RecordHeader{
				{Key: "tally.generation", Value: []byte("1")}, {Key: "tally.partition", Value: []byte("0")},
			},
		}
		for p := int32(k); p < int32(w.Partitions); p += int32(len(lanes)) {
			l.ends[p], l.added[p] = ends[p], map[string]*int64{}
		}
		lanes[k] = l
		g.Go(func() error { return l.run(ctx) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for _, l := range lanes {
		sum += l.sum
	}
	return sum, nil
}

type limitLane struct {
	cfg             kafka.Config
	w               Workload
	interval        time.Duration
	topic, name, id string
	cl              *kgo.Client
	added           map[int32]map[string]*int64 // by partition and group, of the open transaction
	next, ends      map[int32]int64
	headers         [2]kgo.RecordHeader
	group           []byte // of the event being folded
	sum             int64
}

func (l *limitLane) run(ctx context.Context) (err error) {
	at := map[int32]kgo.Offset{}
	for p := range l.ends {
		at[p] = kgo.NewOffset().AtStart()
	}
	l.cl, err = l.cfg.Client(
		kgo.TransactionalID(l.id), kgo.TransactionTimeout(10*time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ManualFlushing(), kgo.MaxBufferedRecords(4<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(1<<20), kgo.FetchMaxPartitionBytes(300<<10),
		kgo.WithPools(&kafka.RecordPool{}),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: at}),
	)
	if err != nil {
		return err
	}
	defer l.cl.Close()
	for !l.done() {
		if err := l.fold(ctx); err != nil {
			return err
		}
		if err := l.commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *limitLane) done() bool {
	for p, end := range l.ends {
		if l.next[p] < end {
			return false
		}
	}
	return true
}

// fold reads for an interval, or until nothing is left.
func (l *limitLane) fold(ctx context.Context) error {
	until := l.cfg.Seam.Now().Add(l.interval)
	for !l.done() && l.cfg.Seam.Now().Before(until) {
		fetches := l.cl.PollRecords(ctx, limitPoll)
		if err := fetches.Err(); err != nil {
			return err
		}
		for r := range fetches.RecordsAll() {
			l.count(l.added[r.Partition], r)
			l.next[r.Partition] = r.Offset + 1
			r.Recycle()
		}
	}
	return nil
}

// count adds an event to the groups of its partition. They are Items, by bytes: a group that was
// met before costs no memory. The limit has no second stage, so that nobody asks it for words by
// themselves.
func (l *limitLane) count(added map[string]*int64, r *kgo.Record) {
	add := func(group []byte) {
		n := added[string(group)]
		if n == nil {
			n = new(int64)
			added[string(group)] = n
		}
		*n++
	}
	if l.w.Words == 0 {
		add(r.Key)
		return
	}
	for word := range bytes.FieldsSeq(r.Value) {
		l.group = append(append(append(l.group[:0], r.Key...), 0), word...)
		add(l.group)
	}
}

// commit writes each changed group twice and moves the offsets, in one transaction.
func (l *limitLane) commit(ctx context.Context) error {
	if err := l.cl.BeginTransaction(); err != nil {
		return err
	}
	promise := kgo.AbortingFirstErrPromise(l.cl)
	for partition, added := range l.added {
		for group, n := range added {
			output, changelog := l.records(partition, group, *n)
			l.cl.Produce(ctx, output, promise.Promise())
			l.cl.Produce(ctx, changelog, promise.Promise())
			l.sum += *n
		}
		clear(added)
	}
	if err := l.cl.Flush(ctx); err != nil {
		return err
	}
	if err := promise.Err(); err != nil {
		return err
	}
	if err := l.commitOffsets(ctx); err != nil {
		return err
	}
	return l.cl.EndTransaction(ctx, kgo.TryCommit)
}

// records are the output and the changelog record of a group: of as many bytes each, headers among
// them, as tally writes, so that what Kafka costs is the same for both.
func (l *limitLane) records(partition int32, group string, n int64) (output, changelog *kgo.Record) {
	key, item, worded := strings.Cut(group, "\x00")
	buf := make([]byte, 0, 2*len(group)+recordRoom)
	part := func() (cut []byte) {
		cut, buf = buf[:len(buf):len(buf)], buf[len(buf):]
		return cut
	}
	buf = append(buf, key...)
	outputKey := part()
	if worded {
		buf = append(append(append(buf, `{"item":"`...), item...), `","count":`...)
	} else {
		buf = append(buf, `{"count":`...)
	}
	buf = append(strconv.AppendInt(buf, n, 10), '}')
	outputValue := part()
	buf = append(append(append(buf, "group."...), group...), '.')
	changelogKey := part()
	buf = binary.AppendVarint(append(buf, "v."...), n)
	return &kgo.Record{
			Topic: l.name + "-out", Partition: partition, Key: outputKey, Value: outputValue, Headers: l.headers[:],
		}, &kgo.Record{
			Topic: l.name + "-changelog", Partition: partition, Key: changelogKey, Value: part(), Headers: l.headers[:1],
		}
}

func (l *limitLane) commitOffsets(ctx context.Context) error {
	id, epoch, err := l.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = l.id, l.name, id, epoch
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = l.topic
	for p, next := range l.next {
		rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = p, next
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	for {
		resp, err := req.RequestWith(ctx, l.cl)
		if err != nil {
			return err
		}
		if err = offsetsError(resp); err == nil || !kerr.IsRetriable(err) {
			return err
		}
		if err := l.cfg.Seam.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

func offsetsError(resp *kmsg.TxnOffsetCommitResponse) error {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
