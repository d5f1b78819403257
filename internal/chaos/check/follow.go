package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// TopicDir is where, in a run's folder, the follower leaves what it has read.
const TopicDir = "topics"

// Follower reads, from the beginning of a run and as they grow, the topics of which a part may be
// gone at its end: changelogs, repartition topics, and the offsets of consumer groups.
type Follower struct {
	dir    string
	client *kgo.Client
	quit   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	places map[Place]*spoolWriter
	err    error // the first of writing; nothing is followed after it
}

// Follow begins to follow the apps of a run into its folder. It waits for no topic: one that is not
// there yet is read once it is.
func Follow(ctx context.Context, run history.Run, dir string) (*Follower, error) {
	f := &Follower{dir: filepath.Join(dir, TopicDir), done: make(chan struct{}), places: map[Place]*spoolWriter{}}
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, err
	}
	from := map[string]map[int32]kgo.Offset{}
	for _, p := range followed(run.Apps) {
		w, err := createSpool(f.dir, p)
		if err != nil {
			return nil, err
		}
		f.places[p] = w
		if from[p.Topic] == nil {
			from[p.Topic] = map[int32]kgo.Offset{}
		}
		from[p.Topic][p.Partition] = kgo.NewOffset().AtStart()
	}
	client, err := newClient(run.Brokers, kgo.ConsumePartitions(from))
	if err != nil {
		return nil, err
	}
	f.client = client
	ctx, f.quit = context.WithCancel(ctx)
	go f.follow(ctx)
	return f, nil
}

func newClient(brokers []string, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("chaos-check"),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(2 * time.Second),
		// What a broker leads that hangs is soon led by another, and trimmed.
		kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // what was trimmed before it was read is a gap
	}, more...)...)
}

// offsetsPartitions is how many partitions the offsets of consumer groups have in a chaos run and
// in tests: all of them are followed, as they are few.
const offsetsPartitions = 8

func followed(apps []history.App) (all []Place) {
	for _, a := range apps {
		if a.Passing {
			continue
		}
		for p := range a.Partitions {
			all = append(all, Place{a.Changelog, p})
			if a.Repartition != "" {
				all = append(all, Place{a.Repartition, p})
			}
		}
	}
	for p := range int32(offsetsPartitions) {
		all = append(all, Place{OffsetsTopic, p})
	}
	return all
}

func (f *Follower) follow(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		fetches := f.client.PollFetches(ctx)
		if err := f.take(fetches); err != nil {
			return
		}
	}
}

func (f *Follower) take(fetches kgo.Fetches) error {
	seen := time.Now().UnixMilli()
	f.mu.Lock()
	defer f.mu.Unlock()
	fetches.EachRecord(func(rec *kgo.Record) {
		if w := f.places[Place{rec.Topic, rec.Partition}]; w != nil && f.err == nil {
			r := recordOf(rec)
			r.SeenMs = seen
			f.err = w.write(&r)
		}
	})
	return f.err
}

// recordOf is a client's record as the checks have it.
func recordOf(rec *kgo.Record) Record {
	r := Record{Offset: rec.Offset, Producer: rec.ProducerID, Epoch: rec.ProducerEpoch, Txn: rec.Attrs.IsTransactional(),
		TimeMs: rec.Timestamp.UnixMilli(), Key: rec.Key, Value: rec.Value}
	if rec.Attrs.IsControl() && len(rec.Key) >= 4 {
		switch binary.BigEndian.Uint16(rec.Key[2:]) {
		case 0:
			r.Control = Abort
		case 1:
			r.Control = Commit
		}
	}
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, Header{h.Key, string(h.Value)})
	}
	return r
}

// Stop reads on to what are the ends now, at most until ctx ends, and closes the files.
func (f *Follower) Stop(ctx context.Context) error {
	err := f.catchUp(ctx)
	f.quit()
	<-f.done
	f.client.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.places {
		err = errors.Join(err, w.close())
	}
	return errors.Join(f.err, err)
}

// catchUp waits until the follower has what was there when it was asked to stop.
func (f *Follower) catchUp(ctx context.Context) error {
	ends := map[Place]int64{}
	for p := range f.places {
		end, err := endOf(ctx, f.client, p)
		if err != nil {
			return fmt.Errorf("end of %s: %w", p, err)
		}
		ends[p] = end
	}
	for {
		behind := f.behind(ends)
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the follower is behind: %s: %w", behind, ctx.Err())
		case <-f.done:
			return errors.New("the follower has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *Follower) behind(ends map[Place]int64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, end := range ends {
		if next := f.places[p].next; next < end {
			return fmt.Sprintf("%s is read up to %d of %d", p, next, end)
		}
	}
	return ""
}

var errNoEnd = errors.New("there is no end of it now")

// endOf is where a partition ends; 0 where there is none.
func endOf(ctx context.Context, client *kgo.Client, p Place) (int64, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, p.Topic)
	if err != nil {
		return 0, err
	}
	end, ok := ends.Lookup(p.Topic, p.Partition)
	switch {
	case !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition):
		return 0, nil
	case end.Err != nil:
		return 0, end.Err
	case end.Offset < 0:
		return 0, errNoEnd
	}
	return end.Offset, nil
}
