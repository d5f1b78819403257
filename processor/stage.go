package processor

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tally-kafka/tally/processor/spec"
)

// stageItems are folded together, so that their waits for memory overlap.
const stageItems = 32

// stage holds items between their event and the batch: their groups' memory is on its way. It is
// empty whenever the loop does something else than fold.
type stage struct {
	n       int
	items   [stageItems]stagedItem
	groups  []byte         // of the items
	numbers []spec.Decimal // the increments of each event whose aggregates are not all counts
	touched uint64         // so that the compiler keeps the reads that touch
}

type stagedItem struct {
	task     *taskDelta
	rec      *kgo.Record
	hash     uint64
	from, to int // of groups
	inc      int // of numbers
	ms       int64
	first    bool // of its event
}

// full reports whether the stage is to be folded before it takes a further item.
func (s *stage) full() bool { return s.n == stageItems }

// add takes an item, whose increments are the numbers from inc on.
func (s *stage) add(t *taskDelta, rec *kgo.Record, group []byte, inc int, ms int64, first bool) {
	from := len(s.groups)
	s.groups = append(s.groups, group...)
	s.items[s.n] = stagedItem{t, rec, hashGroup(group), from, len(s.groups), inc, ms, first}
	s.n++
}

func (s *stage) group(item *stagedItem) []byte { return s.groups[item.from:item.to] }

// touch brings what the items will need into the processor's caches.
func (s *stage) touch() {
	var words [stageItems]uint64
	for i := range s.items[:s.n] {
		item := &s.items[i]
		words[i] = item.task.groups.touchSlot(item.hash)
	}
	for i := range s.items[:s.n] {
		if words[i] != 0 {
			item := &s.items[i]
			s.touched += uint64(item.task.groups.touchDelta(item.hash, words[i]))
		}
	}
}

func (s *stage) reset() {
	clear(s.items[:s.n]) // of the event's pointers
	clear(s.numbers)
	s.n, s.groups, s.numbers = 0, s.groups[:0], s.numbers[:0]
}

// foldItems takes an event's items into the stage.
func (l *Lane) foldItems(t *taskDelta, rec *kgo.Record, items []spec.Item) {
	s := &l.stage
	inc, ms := 0, rec.Timestamp.UnixMilli()
	for i := range items {
		if s.full() {
			l.foldStaged()
		}
		if s.n == 0 || i == 0 { // an event's increments are the same for all its items
			inc = len(s.numbers)
			if l.numbers > 0 || l.every {
				s.numbers = append(s.numbers, items[i].Inc...)
			}
		}
		s.add(t, rec, items[i].Group, inc, ms, i == 0)
	}
}

// foldStaged folds what is in the stage into the batch.
func (l *Lane) foldStaged() {
	s := &l.stage
	s.touch()
	for i := range s.items[:s.n] {
		l.foldItem(&s.items[i])
	}
	s.reset()
}

func (l *Lane) foldItem(item *stagedItem) {
	b, t := l.filling, item.task
	group := l.stage.group(item)
	place := t.groups.find(item.hash, group)
	known := place != 0
	if !known {
		// Its key is placed by each known partitioner here, not once an event: all events of one
		// group with a key have that key.
		place = t.groups.add(item.hash, group, item.ms, l.strays(item.rec))
		b.groups++
		b.bytes += int64(len(group)) + deltaOverhead
	}
	d := t.groups.at(place)
	d.take(item.ms)
	if l.numbers > 0 {
		l.foldNumbers(t, d, known, l.stage.inc(item, l.numbers))
	}
	if item.first {
		for k := range t.strays {
			if d.stray(k) {
				t.strays[k]++
			}
		}
	}
	if l.every {
		b.increments = append(b.increments, increment{item.rec.Partition, place, b.copyNumbers(l.stage.inc(item, len(l.cfg.Spec.Aggregates))), item.ms})
		b.bytes += incrementOverhead
	}
}

func (s *stage) inc(item *stagedItem, width int) []spec.Decimal {
	return s.numbers[item.inc : item.inc+width]
}

func (l *Lane) foldNumbers(t *taskDelta, d delta, known bool, inc []spec.Decimal) {
	if known {
		l.cfg.Program.Fold(t.groups.sum(d, nil), inc)
	} else {
		t.groups.numbers = append(t.groups.numbers, inc...)
	}
}
