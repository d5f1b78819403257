package spec

import "fmt"

// An Event is one input record. Nil is null.
type Event struct {
	Key, Value []byte
	Partition  int32
}

// Verdict is what became of an event.
type Verdict uint8

// The verdicts.
const (
	Counted    Verdict = iota // its items count; there may be none of them
	Filtered                  // `where` does not hold
	Unreadable                // it gets what on_error says
)

// An Item is one increment of one group. It is valid until the next Eval with the same Scratch, and
// must not be changed: items of one event share memory.
type Item struct {
	Group []byte
	Inc   []Decimal // in aggregate order
}

// An EventError says why an event cannot be read.
type EventError struct {
	Field  string // of the spec: input.format, split, group, group.NAME or aggregates.NAME
	Reason string // short
}

func (e *EventError) Error() string { return e.Field + ": " + e.Reason }

// A Scratch holds the buffers of Eval, for one goroutine at a time. The zero value is ready.
type Scratch struct {
	items []Item
	buf   []byte // the groups of items, one behind the other
	room  int    // capacity of buf when the last item was added
	head  []byte // the encoded parts before item; without item, all parts: the event's one group
	tail  []byte // the encoded parts after item
	inc   []Decimal
	json  jsonScan
}

func (sc *Scratch) reset() {
	const itemBytes = 48
	if cap(sc.buf) > scratchKeepMax {
		sc.buf = nil
		clear(sc.items[:cap(sc.items)]) // the groups of before lie there
	}
	if cap(sc.items)*itemBytes > scratchKeepMax {
		sc.items = nil
	}
	if cap(sc.json.name) > scratchKeepMax {
		sc.json.name = nil
	}
	if cap(sc.head)+cap(sc.tail) > scratchKeepMax {
		sc.head, sc.tail = nil, nil
	}
	sc.items, sc.buf, sc.head, sc.tail, sc.inc = sc.items[:0], sc.buf[:0], sc.head[:0], sc.tail[:0], sc.inc[:0]
}

// Eval filters, splits and groups one event. err is an *EventError if and only if the verdict is
// Unreadable; then there are no items: an event counts as a whole or not at all.
//
// `where` comes first: an event that it filters needs none of the other fields.
func (p *Program) Eval(ev Event, sc *Scratch) ([]Item, Verdict, error) {
	sc.reset()
	var root span
	if p.json {
		var reason string
		if root, reason = sc.json.scan(ev.Value, p.trie); reason != "" {
			return nil, Unreadable, &EventError{"input.format", reason}
		}
		if !p.holds(sc) {
			return nil, Filtered, nil
		}
	}
	err := p.increment(sc)
	if err == nil {
		err = p.surround(ev, sc)
	}
	if err == nil {
		err = p.split(ev, root, sc)
	}
	if err != nil {
		return nil, Unreadable, err
	}
	return sc.items, Counted, nil
}

func (p *Program) holds(sc *Scratch) bool {
	for i := range p.where {
		if p.where[i].holds(sc) == p.where[i].not {
			return false
		}
	}
	return true
}

// holds is the condition without its `not`. What is missing, no scalar, or a number too wide to be
// in a spec is in no list.
func (c *condition) holds(sc *Scratch) bool {
	v := sc.json.slots[c.slot]
	if c.set == nil {
		return v.kind != jsonMissing
	}
	encoded, reason := sc.json.appendScalar(sc.head[:0], v)
	sc.head = encoded[:0]
	return reason == "" && c.set[string(encoded)]
}

// increment fills sc.inc: every item of an event brings the same.
func (p *Program) increment(sc *Scratch) *EventError {
	for i := range p.aggs {
		a := &p.aggs[i]
		if a.slot < 0 {
			sc.inc = append(sc.inc, Decimal{coef: 1})
			continue
		}
		v := sc.json.slots[a.slot]
		if v.kind != jsonNumber {
			return &EventError{a.field, wrongKind(v.kind, "a number")}
		}
		n, ok := readNumber(v.in(sc.json.data))
		if !ok {
			return &EventError{a.field, tooWide}
		}
		sc.inc = append(sc.inc, n.decimal())
	}
	return nil
}

// surround encodes the parts that all items of the event share.
func (p *Program) surround(ev Event, sc *Scratch) (err *EventError) {
	if sc.head, err = p.appendParts(sc.head, p.head, ev, sc); err == nil && len(p.tail) > 0 {
		sc.tail, err = p.appendParts(sc.tail, p.tail, ev, sc)
	}
	return err
}

func (p *Program) appendParts(dst []byte, parts []source, ev Event, sc *Scratch) ([]byte, *EventError) {
	for i := range parts {
		switch src := &parts[i]; src.kind {
		case PartKey:
			dst = appendText(dst, ev.Key)
		case PartPartition:
			dst = appendNumber(dst, partitionNumber(ev.Partition))
		default:
			var reason string
			if dst, reason = sc.json.appendScalar(dst, sc.json.slots[src.slot]); reason != "" {
				return dst, &EventError{src.field, reason}
			}
		}
	}
	return dst, nil
}

// appendText encodes a key or a value, which may be null.
func appendText(dst, text []byte) []byte {
	if text == nil {
		return append(dst, tagNull)
	}
	return appendString(dst, text)
}

func partitionNumber(partition int32) number {
	n := number{coef: uint64(partition)}
	for n.coef > 0 && n.coef%10 == 0 {
		n.coef, n.exp = n.coef/10, n.exp+1
	}
	return n
}

// split adds the event's items.
func (p *Program) split(ev Event, root span, sc *Scratch) *EventError {
	switch p.spec.Split.Kind {
	case SplitNone:
		return p.splitNone(ev, root, sc)
	case SplitEach:
		return p.splitEach(sc)
	}
	text := ev.Value
	if p.text >= 0 {
		var reason string
		if text, reason = sc.json.text(sc.json.slots[p.text]); reason != "" {
			return &EventError{"split", reason}
		}
	}
	if p.spec.Split.Kind == SplitLines {
		return p.splitLines(text, sc)
	}
	return p.splitWords(text, sc)
}

func (p *Program) splitNone(ev Event, root span, sc *Scratch) *EventError {
	start := p.begin(sc)
	switch {
	case !p.item:
	case p.json:
		var reason string
		if sc.buf, reason = sc.json.appendScalar(sc.buf, root); reason != "" {
			return &EventError{"group.item", reason}
		}
	default:
		sc.buf = appendText(sc.buf, ev.Value)
	}
	return p.end(start, sc)
}

func (p *Program) splitEach(sc *Scratch) *EventError {
	array := sc.json.slots[p.text]
	if array.kind != jsonArray {
		return &EventError{"split", wrongKind(array.kind, "an array")}
	}
	for v, i, ok := sc.json.next(array.start + 1); ok; v, i, ok = sc.json.next(i) {
		start := p.begin(sc)
		if p.item {
			var reason string
			if sc.buf, reason = sc.json.appendScalar(sc.buf, v); reason != "" {
				return &EventError{"group.item", reason}
			}
		}
		if err := p.end(start, sc); err != nil {
			return err
		}
	}
	return nil
}

func (p *Program) splitLines(text []byte, sc *Scratch) *EventError {
	for i := 0; i < len(text); {
		start := p.begin(sc)
		line, end := nextLine(text, i)
		if p.item {
			sc.buf = appendString(sc.buf, line)
		}
		if err := p.end(start, sc); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// splitWords appends each word to the buffer right where its group wants it: a word holds no byte
// that would need an escape.
func (p *Program) splitWords(text []byte, sc *Scratch) *EventError {
	for i := 0; ; {
		start := p.begin(sc)
		if p.item {
			sc.buf = append(sc.buf, tagString)
		}
		word := len(sc.buf)
		if sc.buf, i = nextWord(sc.buf, text, i); i < 0 {
			return &EventError{"split", "not UTF-8"}
		}
		if len(sc.buf) == word {
			sc.buf = sc.buf[:start]
			return nil
		}
		if p.item {
			sc.buf = append(sc.buf, escape, escapeEnd)
		} else {
			sc.buf = sc.buf[:word]
		}
		if err := p.end(start, sc); err != nil {
			return err
		}
	}
}

// begin starts a group in sc.buf. Without an item all items are in one group, which is sc.head.
func (p *Program) begin(sc *Scratch) int {
	start := len(sc.buf)
	if p.item {
		sc.buf = append(sc.buf, sc.head...)
	}
	return start
}

// end completes the group that begins at start, and adds its item.
func (p *Program) end(start int, sc *Scratch) *EventError {
	group := sc.head
	if p.item {
		sc.buf = append(sc.buf, sc.tail...)
		group = sc.buf[start:len(sc.buf):len(sc.buf)]
		if cap(sc.buf) != sc.room {
			sc.rebase()
		}
	}
	if len(group) > MaxGroupBytes || len(sc.buf) > MaxEventBytes || len(sc.items) == MaxItems {
		return tooLarge(group, sc)
	}
	sc.items = append(sc.items, Item{Group: group, Inc: sc.inc})
	return nil
}

// rebase moves the groups of the items so far to where the buffer has grown: those of a large event
// would else keep every array that it has been in.
func (sc *Scratch) rebase() {
	at := 0
	for i := range sc.items {
		end := at + len(sc.items[i].Group)
		sc.items[i].Group = sc.buf[at:end:end]
		at = end
	}
	sc.room = cap(sc.buf)
}

func tooLarge(group []byte, sc *Scratch) *EventError {
	switch {
	case len(group) > MaxGroupBytes:
		return &EventError{"group", fmt.Sprintf("a group of more than %d bytes", MaxGroupBytes)}
	case len(sc.buf) > MaxEventBytes:
		return &EventError{"group", fmt.Sprintf("groups of more than %d bytes together", MaxEventBytes)}
	}
	return &EventError{"split", fmt.Sprintf("more than %d items", MaxItems)}
}
