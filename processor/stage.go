package processor

import (
	"errors"

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
	set      *deltas // the task's own, or what is sent to a partition of the repartition topic
	rec      *kgo.Record
	hash     uint64
	from, to int // of groups
	inc      int // of numbers
	ms       int64
	count    int64 // of increments that it stands for: several in a partial
	first    bool  // of its event
}

// full reports whether the stage is to be folded before it takes a further item.
func (s *stage) full() bool { return s.n == stageItems }

// add takes an item and its group.
func (s *stage) add(item stagedItem, group []byte) {
	item.from = len(s.groups)
	s.groups = append(s.groups, group...)
	s.put(item)
}

// put takes an item whose group is the end of groups already.
func (s *stage) put(item stagedItem) {
	item.hash, item.to = hashGroup(s.groups[item.from:]), len(s.groups)
	s.items[s.n] = item
	s.n++
}

func (s *stage) group(item *stagedItem) []byte { return s.groups[item.from:item.to] }

// touch brings what the items will need into the processor's caches.
func (s *stage) touch() {
	var words [stageItems]uint64
	for i := range s.items[:s.n] {
		item := &s.items[i]
		words[i] = item.set.touchSlot(item.hash)
	}
	for i := range s.items[:s.n] {
		if words[i] != 0 {
			item := &s.items[i]
			s.touched += uint64(item.set.touchDelta(item.hash, words[i]))
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
			inc = l.stageNumbers(items[i].Inc)
		}
		set := t.groups
		if l.twoStages() {
			set = l.filling.send(spec.Partition(items[i].Group, l.cfg.Repartitions))
		}
		s.add(stagedItem{task: t, set: set, rec: rec, inc: inc, ms: ms, count: 1, first: i == 0}, items[i].Group)
	}
}

// stageNumbers keeps an item's increments where they are needed, and returns from where on they
// are.
func (l *Lane) stageNumbers(inc []spec.Decimal) (from int) {
	s := &l.stage
	from = len(s.numbers)
	if l.numbers > 0 || l.every {
		s.numbers = append(s.numbers, inc...)
	}
	return from
}

// stagePartial takes a partial into the stage, as if it were an event of one item.
func (l *Lane) stagePartial(t *taskDelta, rec *kgo.Record, group []byte, inc []spec.Decimal, ms int64) error {
	count := int64(1)
	if l.numbers == 0 {
		var whole bool
		if count, whole = inc[0].Int64(); !whole || count < 1 {
			return errors.New("its count is not a whole number")
		}
	}
	if l.stage.full() {
		l.foldStaged()
	}
	from := l.stageNumbers(inc)
	l.stage.add(stagedItem{task: t, set: t.groups, rec: rec, inc: from, ms: ms, count: count, first: true}, group)
	return nil
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
	b, t, set := l.filling, item.task, item.set
	group := l.stage.group(item)
	place := set.find(item.hash, group)
	known := place != 0
	if !known {
		// Its key is placed by each known partitioner here, not once an event: all events of one
		// group with a key have that key.
		place = set.add(item.hash, group, item.ms, l.strays(item.rec))
		b.groups++
		b.bytes += groupCopies*int64(len(group)) + deltaOverhead
	}
	d := set.at(place)
	d.take(item.count, item.ms)
	if l.numbers > 0 {
		l.foldNumbers(set, d, known, l.stage.inc(item, l.numbers))
	}
	if item.first {
		for k := range t.strays {
			if d.stray(k) {
				t.strays[k]++
			}
		}
	}
	if l.every && set == t.groups { // what is sent is emitted where it is counted
		b.increments = append(b.increments, increment{l.taskOf(item.rec), place, b.copyNumbers(l.stage.inc(item, len(l.cfg.Spec.Aggregates))), item.ms})
		b.bytes += incrementOverhead
	}
}

func (s *stage) inc(item *stagedItem, width int) []spec.Decimal {
	return s.numbers[item.inc : item.inc+width]
}

func (l *Lane) foldNumbers(set *deltas, d delta, known bool, inc []spec.Decimal) {
	if known {
		l.cfg.Program.Fold(set.sum(d, nil), inc)
	} else {
		set.numbers = append(set.numbers, inc...)
	}
}
