package spec

// ScalarKind is the type of a JSON scalar.
type ScalarKind uint8

// The kinds, in the order of groups.
const (
	ScalarNull ScalarKind = iota
	ScalarBool
	ScalarNumber
	ScalarString
)

// A Scalar is a JSON scalar. Two are equal when type and value are: 1 equals 1.0, and not "1".
type Scalar struct {
	Kind   ScalarKind
	Bool   bool
	Number Decimal
	Text   string
}
