package dead

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/tally-kafka/tally/internal/kafka"
)

// planMax bounds the letters of one replay: of each, its place is held.
const planMax = 1_000_000

// errLost is impossible: a letter that was planned is there, since nothing deletes dead letters but
// a reset.
var errLost = errors.New("the dead letters have changed meanwhile, perhaps by a reset; look with `tally dead list`")

// Choice says which letters are replayed.
type Choice struct {
	Places []Place           // these; none: all that Match accepts
	Match  func(Letter) bool // nil: all
	Again  bool              // also those whose replay is in the input already
}

// Plan is a replay that is about to be sent.
type Plan struct {
	// Before are the letters that are left out, since their replay is in the input already.
	Before []Place
	// Unsure are left out too: the input no longer holds all that came after them, so a replay of
	// them may have been there.
	Unsure []Place
	box    *Box
	sends  []send
	again  bool
	// searched is where the inputs' partitions ended when they were searched last.
	searched map[string][]int64
}

// send is one letter to be sent.
type send struct {
	Place
	topic     string
	to        int32  // partition
	keyless   bool   // then it goes where it was, however many partitions there are
	hash      uint32 // of the key
	source    int32  // that the event was read from
	after     int64  // the event: no replay of it lies before this offset there
	writtenMs int64  // of the letter: no replay of it was written before
	sum       uint64 // of key and value: a marker alone may be of the time before a reset
}

// Len is how many letters will be sent.
func (p *Plan) Len() int { return len(p.sends) }

// Plan chooses letters, and leaves out those that were replayed before: the input is searched for
// their markers, from behind the event on.
func (b *Box) Plan(ctx context.Context, c Choice) (*Plan, error) {
	p := &Plan{box: b, again: c.Again, searched: map[string][]int64{}}
	partitions := map[string]int{}
	add := func(l Letter) error {
		if len(p.sends) == planMax {
			return fmt.Errorf("more than %d dead letters are chosen: replay them in parts, with --where-error or by their places", planMax)
		}
		s, err := b.plan(ctx, l, partitions)
		p.sends = append(p.sends, s)
		return err
	}
	if err := b.choose(ctx, c, add); err != nil {
		return nil, err
	}
	if c.Again {
		return p, nil
	}
	return p, p.leaveOut(ctx)
}

func (b *Box) choose(ctx context.Context, c Choice, add func(Letter) error) error {
	if len(c.Places) == 0 {
		return b.Each(ctx, func(l Letter) error {
			if l.Foreign || c.Match != nil && !c.Match(l) {
				return nil
			}
			return add(l)
		})
	}
	chosen := map[Place]bool{}
	for _, at := range c.Places {
		if chosen[at] {
			continue
		}
		chosen[at] = true
		l, err := b.Get(ctx, at)
		if err != nil {
			return err
		}
		if l.Foreign {
			return fmt.Errorf("%s of %s is no dead letter of tally: another program wrote it", at, b.topic.Name)
		}
		if err := add(l); err != nil {
			return err
		}
	}
	return nil
}

// plan finds where the event goes: where its key's hash puts it, as tally produce does, and an
// event without a key where it was.
func (b *Box) plan(ctx context.Context, l Letter, partitions map[string]int) (send, error) {
	n, known := partitions[l.Topic]
	if !known {
		t, ok, err := b.admin.Topic(ctx, l.Topic)
		if err == nil && !ok {
			err = fmt.Errorf("dead letter %s is an event of topic %s, which is no more", l.Place, l.Topic)
		}
		if err != nil {
			return send{}, err
		}
		n, partitions[l.Topic] = t.Partitions, t.Partitions
	}
	if int(l.SourcePartition) >= n {
		return send{}, fmt.Errorf("dead letter %s is an event of partition %d of topic %s, which has %d partitions now: the topic was made again since, "+
			"and what was replayed into the one before cannot be told; replay the others by their places, or send its event anew with `tally produce`",
			l.Place, l.SourcePartition, l.Topic, n)
	}
	s := send{
		Place: l.Place, topic: l.Topic, to: l.SourcePartition, source: l.SourcePartition, after: l.SourceOffset + 1,
		writtenMs: l.WrittenMs, sum: sum(l.Key, l.Value), keyless: l.Key == nil, hash: kafka.Murmur2(l.Key),
	}
	if l.Key != nil {
		s.to = kafka.PartitionMurmur2(l.Key, n)
	}
	return s, nil
}

func sum(key, value []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(value)
	return h.Sum64()
}

// Send sends the events of the plan and returns how many the input has acknowledged. Those that
// another replay has sent since the plan was made are left out, and are in Before then.
func (p *Plan) Send(ctx context.Context) (int, error) {
	if !p.again {
		if err := p.leaveOut(ctx); err != nil {
			return 0, err
		}
	}
	if len(p.sends) == 0 {
		return 0, nil
	}
	t, _, err := p.box.admin.Topic(ctx, p.sends[0].topic)
	if err != nil {
		return 0, err
	}
	var failed error
	sent, err := kafka.Send(ctx, p.box.cfg, t.RecordLimit(), func(yield func(kafka.Record) bool) { failed = p.each(ctx, yield) })
	return sent, errors.Join(failed, err)
}

// each reads the planned letters again, in runs of one partition.
func (p *Plan) each(ctx context.Context, yield func(kafka.Record) bool) error {
	for i := 0; i < len(p.sends); {
		n := 1
		for i+n < len(p.sends) && p.sends[i+n].Partition == p.sends[i].Partition && p.sends[i+n].Offset > p.sends[i+n-1].Offset {
			n++
		}
		switch err := p.run(ctx, p.sends[i:i+n], yield); {
		case errors.Is(err, ErrEnough):
			return nil
		case err != nil:
			return err
		}
		i += n
	}
	return nil
}

func (p *Plan) run(ctx context.Context, sends []send, yield func(kafka.Record) bool) error {
	last := sends[len(sends)-1].Offset
	err := p.box.admin.Records(ctx, p.box.topic.Name, sends[0].Partition, sends[0].Offset, last+1, func(r kafka.Record) error {
		if len(sends) == 0 || r.Offset < sends[0].Offset {
			return nil
		}
		l, s := read(r), sends[0]
		if r.Offset != s.Offset || sum(l.Key, l.Value) != s.sum {
			return errLost
		}
		sends = sends[1:]
		if !yield(p.event(l, s)) {
			return ErrEnough // the failure is told by who took the records
		}
		return nil
	})
	if err == nil && len(sends) > 0 {
		err = errLost
	}
	return err // ErrEnough: nothing more is to be yielded
}

// event is the letter's event, to be sent.
func (p *Plan) event(l Letter, s send) kafka.Record {
	own := append(l.Headers[:len(l.Headers):len(l.Headers)],
		kafka.Header{Key: ReplayHeader, Value: []byte(marker(p.box.topic.Name, l.Place))})
	return kafka.Record{
		Topic: l.Topic, Partition: s.to, TimestampMs: l.EventMs, Key: l.Key, Value: l.Value, Headers: own,
	}
}
