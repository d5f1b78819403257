package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// Topics are a run's topics: what the follower has left in its folder, and the rest out of Kafka,
// which must have kept it.
type Topics struct {
	ctx     context.Context
	brokers []string
	dir     string // of the follower's files
}

// OpenTopics takes a run's topics, whose follower has stopped.
func OpenTopics(ctx context.Context, run history.Run, dir string) *Topics {
	return &Topics{ctx: ctx, brokers: run.Brokers, dir: filepath.Join(dir, TopicDir)}
}

// Open reads what was followed from its file, and anything else from Kafka.
func (t *Topics) Open(p Place) (Reader, error) {
	r, err := openSpool(t.dir, p)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	return t.fetch(p)
}

// OffsetsOf is the partition that has the offsets of a consumer group.
func (t *Topics) OffsetsOf(group string) (Place, bool) {
	p := Place{OffsetsTopic, offsetsPartition(group, offsetsPartitions)}
	r, err := openSpool(t.dir, p)
	if err != nil {
		return p, false
	}
	defer r.Close()
	_, err = r.Next()
	return p, err == nil
}

// AppID is the id in the first record of an app's changelog.
func (t *Topics) AppID(a history.App) (string, error) {
	for p := range a.Partitions {
		log, err := openParts(t, Place{a.Changelog, p})
		if err != nil {
			return "", err
		}
		first, err := log.read()
		log.close()
		if err != nil || first == nil {
			continue
		}
		for _, rec := range first.records {
			k, err := parseKey(rec.Key)
			if err != nil || k.kind != kindBarrier && k.kind != kindPosition {
				continue
			}
			if pos, err := parsePosition(rec.Value, k.kind); err == nil { // else check 6 says so
				return pos.AppID, nil
			}
		}
	}
	return "", fmt.Errorf("the changelog %s has no barrier", a.Changelog)
}

// Save copies a place that is in Kafka alone into the folder, so that the run can be judged without
// its brokers.
func (t *Topics) Save(p Place) error {
	if r, err := openSpool(t.dir, p); err == nil {
		return r.Close()
	}
	r, err := t.fetch(p)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := createSpool(t.dir, p)
	if err != nil {
		return err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w.close()
		}
		if err == nil {
			err = w.write(&rec)
		}
		if err != nil {
			return errors.Join(err, w.close())
		}
	}
}

// SaveAll copies all places of the apps that were not followed; where nobody has followed any, all
// of what is there of them. Of those that come and go it copies what there is.
func (t *Topics) SaveAll(run history.Run) error {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	all := followed(run.Apps)
	var passing []Place
	for _, a := range run.Apps {
		for p := range a.Partitions {
			if a.Passing {
				passing = append(passing, Place{a.Changelog, p}, Place{a.Output, p}, Place{a.Dead, p})
			} else {
				all = append(all, Place{a.Input, p}, Place{a.Output, p}, Place{a.Dead, p})
			}
		}
	}
	for _, p := range all {
		if err := t.Save(p); err != nil {
			return fmt.Errorf("save %s: %w", p, err)
		}
	}
	for _, p := range passing {
		_ = t.Save(p) // it is deleted, or was never submitted
	}
	return nil
}

// fetched reads a partition from Kafka up to the end that it had when it was opened.
type fetched struct {
	ctx    context.Context
	client *kgo.Client
	place  Place
	next   int64
	end    int64
	left   []*kgo.Record
}

func (t *Topics) fetch(p Place) (Reader, error) {
	client, err := newClient(t.brokers, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.Topic: {p.Partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	end, err := endOf(t.ctx, client, p)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("end of %s: %w", p, err)
	}
	return &fetched{ctx: t.ctx, client: client, place: p, end: end}, nil
}

// fetchWait bounds how long nothing may come of a partition that has more.
const fetchWait = 30 * time.Second

func (f *fetched) Next() (Record, error) {
	for len(f.left) == 0 {
		if f.next >= f.end {
			return Record{}, io.EOF
		}
		if err := f.poll(); err != nil {
			return Record{}, err
		}
	}
	rec := f.left[0]
	f.left = f.left[1:]
	f.next = rec.Offset + 1
	if rec.Offset >= f.end {
		return Record{}, io.EOF
	}
	return recordOf(rec), nil
}

func (f *fetched) poll() error {
	ctx, cancel := context.WithTimeout(f.ctx, fetchWait)
	defer cancel()
	for ctx.Err() == nil {
		if f.left = f.client.PollFetches(ctx).Records(); len(f.left) > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s: nothing comes from offset %d on, and it ends at %d: %w", f.place, f.next, f.end, ctx.Err())
}

func (f *fetched) Close() error {
	f.client.Close()
	return nil
}
