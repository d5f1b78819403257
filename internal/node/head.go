package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/internal/kafka"
	"github.com/tally-kafka/tally/state"
)

// head is what the end of one changelog partition says.
type head struct {
	record *state.PositionRecord // the last position record, nil for none
	author author                // of the newest position record or barrier
}

// author is who wrote a record to the changelog.
type author struct {
	cluster, node, name, incarnation string
	epoch                            uint64
	atMs                             int64
	offset                           int64 // -1: nobody wrote
}

// readHeads reads the head of each changelog partition. It runs before the fence and so may be old:
// what it finds is used to refuse and to choose an epoch, never as a position.
func readHeads(ctx context.Context, admin *kafka.Admin, topic string) (map[int32]head, error) {
	found := map[int32]*heading{}
	err := admin.Tails(ctx, topic, func(p int32) func(*kgo.Record) bool {
		found[p] = &heading{head: head{author: author{offset: -1}}}
		return found[p].take
	})
	if err != nil {
		return nil, err
	}
	heads := map[int32]head{}
	for p, h := range found {
		if h.broken != nil {
			return nil, fmt.Errorf("read the end of %s/%d: %w", topic, p, h.broken)
		}
		heads[p] = h.head
	}
	return heads, nil
}

// soundHeads are none of a changelog that is missing or damaged; an error is one of a Kafka that
// does not answer.
func (n *Node) soundHeads(ctx context.Context, topic string) (map[int32]head, error) {
	heads, err := readHeads(ctx, n.admin, topic)
	if err != nil && (ctx.Err() != nil || unanswered(err)) {
		return nil, err
	}
	return heads, nil
}

func readHead(ctx context.Context, admin *kafka.Admin, topic string, partition int32) (head, error) {
	h := heading{head: head{author: author{offset: -1}}}
	err := admin.Tail(ctx, topic, partition, h.take)
	if err == nil {
		err = h.broken
	}
	return h.head, err
}

// heading is a head that is being read, from the newest record to the oldest.
type heading struct {
	head
	broken error // by a record that is not the app's
}

// take reports whether the head is complete.
func (h *heading) take(rec *kgo.Record) bool {
	a, pos, err := readAuthor(rec)
	if err != nil {
		h.broken = err
		return true
	}
	if a.offset > h.author.offset {
		h.author = a
	}
	h.record = pos
	return pos != nil
}

// readAuthor decodes a barrier or a position record; for a value it returns offset -1.
func readAuthor(rec *kgo.Record) (author, *state.PositionRecord, error) {
	kind, _, _, err := state.DecodeKey(rec.Key)
	if errors.Is(err, state.ErrNewer) {
		return author{}, nil, fmt.Errorf("%s/%d offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
	}
	if err != nil {
		return author{}, nil, fmt.Errorf("%s/%d offset %d is not a record of tally: %w; find the program that writes to %s and stop it, then use another `app:` name, or delete that topic, the offsets of the app's consumer group and the state directory to count anew",
			rec.Topic, rec.Partition, rec.Offset, err, rec.Topic)
	}
	switch kind {
	case state.KindPosition:
		p, err := state.DecodePosition(rec.Value)
		return author{p.ClusterID, p.Node, p.NodeName, p.Incarnation, p.Epoch, p.AtMs, rec.Offset}, &p, err
	case state.KindBarrier:
		b, err := state.DecodeBarrier(rec.Value)
		return author{b.ClusterID, b.Node, b.NodeName, b.Incarnation, b.Epoch, b.AtMs, rec.Offset}, nil, err
	default:
		return author{offset: -1}, nil, nil
	}
}

// called names the author to people; one that has this node's own name is told by its id.
func (a author) called(self string) string {
	if a.name == self {
		return fmt.Sprintf("%s (another of that name, id %.8s)", a.name, a.node)
	}
	return a.name
}

// foreign tells whether another cluster wrote the newest record, however old it looks: its age is
// what two clocks say, and by one that is fast whoever commits just now looks idle.
func (a author) foreign(cluster string) bool { return a.offset >= 0 && a.cluster != cluster }

// hasWatched reports whether this process has watched for others of an app a moment ago, when it
// was submitted here; the next time it has not.
func (n *Node) hasWatched(app string) (watched bool) {
	n.guarded(func() {
		at, ok := n.watched[app]
		watched = ok && n.cfg.Seam.Since(at) < n.cfg.WatchAge
		delete(n.watched, app)
	})
	return watched
}

// watchForeign refuses an app whose newest records are another cluster's and which goes on writing:
// fencing it would end a running job by accident. An idle one is not noticed; its node then finds
// itself fenced, says by whom, and does not fight back.
func (a *app) watchForeign(ctx context.Context, heads map[int32]head) error {
	cfg, watched := a.node.cfg, a.node.hasWatched(a.name())
	seen := map[int32]author{}
	for p, h := range heads {
		if h.author.foreign(a.node.clusterID()) {
			seen[p] = h.author
		}
	}
	if len(seen) == 0 || cfg.Takeover || watched {
		return nil
	}
	cfg.Log.Info("another cluster's node was the last to commit; watching whether it still runs", "app", a.name(), "for", cfg.Watch)
	for end := cfg.Seam.Now().Add(cfg.Watch); cfg.Seam.Now().Before(end); {
		if err := cfg.Seam.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		for p, before := range seen {
			h, err := readHead(ctx, a.node.admin, a.changelog.Name, p)
			if err != nil {
				return err
			}
			if h.author.offset > before.offset && h.author.foreign(a.node.clusterID()) {
				age := cfg.Seam.Now().Sub(time.UnixMilli(h.author.atMs))
				return &RunningElsewhereError{App: a.name(), Node: h.author.called(a.node.cfg.Name), Age: min(max(age, 0), cfg.Watch)}
			}
		}
	}
	return nil
}
