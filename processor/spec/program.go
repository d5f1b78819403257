package spec

import "fmt"

// A Program is a compiled spec. It is immutable and safe for concurrent use.
type Program struct {
	spec  *Spec
	json  bool
	trie  *pathTrie
	where []condition
	text  int         // the slot of the text or array to split, or -1: the event's value
	head  []source    // the parts before item, or all parts
	item  bool        // item is a part of the group
	tail  []source    // the parts after item
	aggs  []aggregate // in the order of the spec
	names [][]byte    // of parts, then of aggregates, as `"name":`
	key   int         // the index of the part `key`, or -1
}

// A source is where a part of a group, other than item, comes from.
type source struct {
	kind  PartKind
	slot  int
	field string // for an EventError
}

type aggregate struct {
	kind  AggregateKind
	slot  int // -1: count
	field string
}

// A condition's set holds encoded scalars: those are equal when type and value are.
type condition struct {
	slot int
	set  map[string]bool // nil: exists
	not  bool
}

// Compile prepares s, which Parse made, for evaluation.
func Compile(s *Spec) *Program {
	p := &Program{spec: s, json: s.Input.Format == FormatJSON, trie: newPathTrie(s.paths()), key: s.KeyPart()}
	p.text = p.trie.slot(s.Split.Path)
	for _, c := range s.Where {
		p.where = append(p.where, p.compileCondition(c))
	}
	for _, part := range s.Group {
		p.names = append(p.names, jsonName(part.Name()))
		src := source{kind: part.Kind, slot: p.trie.slot(part.Path), field: "group." + part.Name()}
		switch {
		case part.Kind == PartItem:
			p.item = true
		case p.item:
			p.tail = append(p.tail, src)
		default:
			p.head = append(p.head, src)
		}
	}
	for _, a := range s.Aggregates {
		p.names = append(p.names, jsonName(a.Name))
		p.aggs = append(p.aggs, aggregate{a.Kind, p.trie.slot(a.Path), "aggregates." + a.Name})
	}
	return p
}

func jsonName(name string) []byte { return append(appendJSONString(nil, []byte(name)), ':') }

func (p *Program) compileCondition(c Condition) condition {
	cond := condition{slot: p.trie.slot(c.Path), not: c.Not}
	if len(c.In) > 0 {
		cond.set = make(map[string]bool, len(c.In))
	}
	for _, v := range c.In {
		cond.set[string(v.append(nil))] = true
	}
	return cond
}

func (s *Spec) paths() []Path {
	paths := []Path{s.Split.Path}
	for _, c := range s.Where {
		paths = append(paths, c.Path)
	}
	for _, part := range s.Group {
		paths = append(paths, part.Path)
	}
	for _, a := range s.Aggregates {
		paths = append(paths, a.Path)
	}
	return paths
}

// Counts reports whether every aggregate is a count: then a group's increments add up to their
// number, in each of its values.
func (p *Program) Counts() bool {
	for _, a := range p.aggs {
		if a.kind != Count {
			return false
		}
	}
	return true
}

// Direct reports whether each event is one increment, of counts alone, of a group that its key and
// its partition make. AppendDirect is then all that Eval does.
func (p *Program) Direct() bool {
	return !p.json && len(p.where) == 0 && p.spec.Split.Kind == SplitNone && !p.item && p.Counts()
}

// AppendDirect appends an event's group, of a Direct program.
func (p *Program) AppendDirect(dst []byte, ev Event) []byte {
	for i := range p.head {
		if p.head[i].kind == PartKey {
			dst = appendText(dst, ev.Key)
		} else {
			dst = appendNumber(dst, partitionNumber(ev.Partition))
		}
	}
	return dst
}

// Fold folds inc into acc, in place. Combining two increments and folding one into a group's values
// are the same operation; the values of a new group are its first increment.
func (p *Program) Fold(acc, inc []Decimal) {
	if len(acc) != len(p.aggs) || len(inc) != len(p.aggs) {
		panic(fmt.Sprintf("spec: fold of %d into %d values for %d aggregates", len(inc), len(acc), len(p.aggs)))
	}
	for i := range p.aggs {
		switch p.aggs[i].kind {
		case Min:
			if inc[i].Cmp(acc[i]) < 0 {
				acc[i] = inc[i]
			}
		case Max:
			if inc[i].Cmp(acc[i]) > 0 {
				acc[i] = inc[i]
			}
		default:
			acc[i] = acc[i].Add(inc[i])
		}
	}
}

// Compare is the order of `top`: by the first aggregate, larger first. It is negative when a comes
// before b.
func (p *Program) Compare(a, b []Decimal) int { return b[0].Cmp(a[0]) }

// Room for what surrounds groups and values in a record: a batch's and a record's own fields, the
// headers that processor adds, format and kind bytes, punctuation of the JSON.
const recordOverhead = 512

// MaxRecordSize bounds the size of the output record and of the changelog record of any group whose
// encoding has groupLen bytes, whatever its values become.
func (p *Program) MaxRecordSize(groupLen int) int {
	const (
		perByte   = 6  // a control character is \u00XX; base64 and doubled escapes take less
		perPart   = 64 // a number of 3 bytes can have 38 digits; {"b64":""} around a string
		perRecord = 2  // with `key: group` the parts stand in the key and in the value
	)
	output := perRecord * (perByte*groupLen + perPart*len(p.spec.Group))
	for _, name := range p.names {
		output += len(name) + 1
	}
	output += len(p.aggs) * maxDecimalText
	changelog := groupLen + len(p.aggs)*maxValueBytes
	return recordOverhead + max(output, changelog)
}
