package spec

// A Path leads to a value in a JSON event. Its zero value is no path.
type Path struct {
	steps []pathStep
}

type pathStep struct {
	name  string
	index int // -1: a name
}

// ParsePath reads names joined by dots, `a[0]` an index, `"a.b".c` a quoted name.
func ParsePath(text string) (Path, error) { panic("spec: not written yet") }

// String is the canonical form: ParsePath(p.String()) equals p.
func (p Path) String() string { panic("spec: not written yet") }

// IsZero reports whether p is no path.
func (p Path) IsZero() bool { return len(p.steps) == 0 }
