package spec

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
	Field  string // the field of the spec that asked: "format", "split", "group.NAME", "aggregates.NAME"
	Reason string // short
}

func (e *EventError) Error() string { return e.Field + ": " + e.Reason }

// A Scratch holds the buffers of Eval, for one goroutine at a time. The zero value is ready.
type Scratch struct{ items []Item }

// A Program is a compiled spec. It is immutable and safe for concurrent use.
type Program struct{ spec *Spec }

// Compile prepares s, which Parse made, for evaluation.
func Compile(s *Spec) *Program { return &Program{spec: s} }

// Eval filters, splits and groups one event. err is an *EventError if and only if the verdict is
// Unreadable; then there are no items: an event counts as a whole or not at all.
func (p *Program) Eval(ev Event, sc *Scratch) ([]Item, Verdict, error) {
	panic("spec: not written yet")
}

// Fold folds inc into acc, in place. The values of a group's first increment are the increment.
func (p *Program) Fold(acc, inc []Decimal) { panic("spec: not written yet") }

// Compare is the order of `top`: by the first aggregate, larger first. It is negative when a comes
// before b.
func (p *Program) Compare(a, b []Decimal) int { return b[0].Cmp(a[0]) }

// AppendValues appends the canonical encoding of v: equal values have equal bytes.
func (p *Program) AppendValues(dst []byte, v []Decimal) []byte { panic("spec: not written yet") }

// DecodeValues appends to dst what AppendValues encoded.
func (p *Program) DecodeValues(b []byte, dst []Decimal) ([]Decimal, error) {
	panic("spec: not written yet")
}

// MaxRecordSize bounds the size of the output record and of the changelog record of any group whose
// encoding has groupLen bytes, whatever its values become.
func (p *Program) MaxRecordSize(groupLen int) int { panic("spec: not written yet") }
