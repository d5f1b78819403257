package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	readBytes  = 4 << 20 // of one answer, compressed
	readWaitMs = 500

	tailsAtOnce = 8 // partitions that Tails reads beside each other

	tailWindow = 100      // offsets of Tail's first look back; each further one is ten times as wide
	tailBytes  = 32 << 20 // records that Tail holds at once, at most
	// tailTries is how often Tail asks again where a broker does not have what another one has
	// named as the end: one that was deposed and has not heard of it, as it may be for seconds.
	tailTries = 10
)

// Read calls fn for each committed record of a partition from offset from up to, not including,
// to, in order. It ends when the read position has reached to, whether or not the last offsets
// before it hold a record: control records, aborted records and gaps of compaction count as read.
// That is the difference to a consumer, which tells only of records and cannot know that it has
// come to the end. An error of fn ends it and comes back as it is.
//
// While fn looks at one answer of the broker, the next is fetched.
func (a *Admin) Read(ctx context.Context, topic string, partition int32, from, to int64, fn func(*kgo.Record) error) error {
	ctx, stop := context.WithCancel(ctx)
	answers := make(chan fetched)
	go func() {
		defer close(answers)
		a.fetchAll(ctx, topic, partition, from, to, answers)
	}()
	defer func() {
		stop()
		for range answers {
		}
	}()
	for f := range answers {
		if f.err != nil {
			return f.err
		}
		for _, r := range f.records {
			if r.Offset >= to {
				return nil
			}
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// fetched is an answer of the broker, or why there is none and none will follow.
type fetched struct {
	records []*kgo.Record
	err     error
}

// fetchAll hands one answer after the other over until the read position has reached to.
func (a *Admin) fetchAll(ctx context.Context, topic string, partition int32, from, to int64, answers chan<- fetched) {
	for empty := 0; from < to; {
		fp, next, err := a.fetch(ctx, topic, partition, from)
		if err == nil && next == from {
			if fp.LastStableOffset >= to {
				empty++
			}
			if empty == emptyMax {
				return // below the last stable offset: nothing is left there
			}
			if err = a.cfg.Seam.Sleep(ctx, backoffMin); err != nil {
				err = fmt.Errorf("read %s/%d up to offset %d: it stays at %d, its last stable offset is %d: %w",
					topic, partition, to, from, fp.LastStableOffset, err)
			}
		}
		select {
		case answers <- fetched{fp.Records, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		if next > from {
			from, empty = next, 0
		}
	}
}

// emptyMax is how many empty answers running below the last stable offset say that nothing is left
// there. One may be a broker's that has to fetch it from a remote storage first.
const emptyMax = 3

// fetch reads one answer's worth of committed records from the partition's leader, and the offset
// that follows what was read.
func (a *Admin) fetch(ctx context.Context, topic string, partition int32, from int64) (fp kgo.FetchPartition, next int64, err error) {
	err = a.try(ctx, fmt.Sprintf("read %s/%d from offset %d", topic, partition, from), func() error {
		fp, next, err = a.fetchOnce(ctx, topic, partition, from)
		return err
	})
	return fp, next, err
}

func (a *Admin) fetchOnce(ctx context.Context, topic string, partition int32, from int64) (kgo.FetchPartition, int64, error) {
	none := kgo.FetchPartition{}
	t, ok, err := a.topicOnce(ctx, topic)
	if err != nil {
		return none, 0, err
	}
	leader := int32(-1)
	for _, p := range t.Partitions {
		if p.Partition == partition {
			leader = p.Leader
		}
	}
	if !ok || leader < 0 {
		return none, 0, fmt.Errorf("it has no leader: %w", kerr.LeaderNotAvailable)
	}
	resp, err := a.cl.Broker(int(leader)).Request(ctx, fetchRequest(t.TopicID, topic, partition, from))
	if err != nil {
		return none, 0, err
	}
	answer := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return none, 0, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return none, 0, fmt.Errorf("the broker's answer is not of one partition: %w", kerr.UnknownTopicOrPartition)
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: partition}
	fp, next := kgo.ProcessFetchPartition(opts, &answer.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return fp, next, fp.Err
}

func fetchRequest(id [16]byte, topic string, partition int32, from int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.SessionEpoch, req.IsolationLevel = -1, -1, 1
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = readWaitMs, 1, readBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, from, readBytes, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// Tail calls accept for the committed records of a partition from the newest to the oldest, each
// once, until accept says true or none is left. It looks back in windows that grow tenfold, and
// holds a bounded part of them in memory.
func (a *Admin) Tail(ctx context.Context, topic string, partition int32, accept func(*kgo.Record) bool) error {
	starts, ends, err := a.Bounds(ctx, topic, true)
	if err != nil {
		return err
	}
	end, ok := ends[partition]
	if !ok {
		return fmt.Errorf("topic %q has no partition %d", topic, partition)
	}
	return a.tail(ctx, topic, partition, starts[partition], end, accept)
}

// Tails is Tail of each partition of a topic, several beside each other. accept gives what accepts
// a partition's records: each is called from a goroutine of its own.
func (a *Admin) Tails(ctx context.Context, topic string, accept func(partition int32) func(*kgo.Record) bool) error {
	starts, ends, err := a.Bounds(ctx, topic, true)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, tailsAtOnce)
	errs := make(chan error, len(ends))
	for p, end := range ends {
		accept := accept(p)
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := a.tail(ctx, topic, p, starts[p], end, accept); err != nil {
				errs <- fmt.Errorf("read the end of %s/%d: %w", topic, p, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func (a *Admin) tail(ctx context.Context, topic string, partition int32, start, end int64, accept func(*kgo.Record) bool) error {
	window := int64(tailWindow)
	for end > start {
		from := max(start, end-window)
		records, whole, err := a.newest(ctx, topic, partition, from, end)
		for tries := 1; errors.Is(err, kerr.OffsetOutOfRange) && tries <= tailTries; tries++ {
			if ended := a.cfg.Seam.Sleep(ctx, a.cfg.backoff(tries)); ended != nil {
				break
			}
			records, whole, err = a.newest(ctx, topic, partition, from, end)
		}
		if err != nil {
			return err
		}
		for i := len(records) - 1; i >= 0; i-- {
			if accept(records[i]) {
				return nil
			}
		}
		if whole {
			end, window = from, window*10
			continue
		}
		// The window was too wide for memory: go on below the oldest record that was held.
		end, window = records[0].Offset, int64(len(records))
	}
	return nil
}

// newest holds the newest records of a window that fit into tailBytes, one at least; whole says
// whether these are all.
func (a *Admin) newest(ctx context.Context, topic string, partition int32, from, to int64) (held []*kgo.Record, whole bool, err error) {
	whole = true
	bytes := 0
	err = a.Read(ctx, topic, partition, from, to, func(r *kgo.Record) error {
		held = append(held, r)
		bytes += recordSize(r)
		for bytes > tailBytes && len(held) > 1 {
			bytes -= recordSize(held[0])
			held, whole = held[1:], false
		}
		return nil
	})
	return held, whole, err
}

// recordSize is about what a record takes in memory.
func recordSize(r *kgo.Record) int {
	n := 200 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
