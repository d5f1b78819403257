package spec

import "math/big"

// A Decimal is an exact decimal number. The zero value is 0; values are compared by Cmp.
type Decimal struct {
	coef  int64    // the number is coef / 10^scale
	big   *big.Int // instead of coef when that does not fit; never changed once set
	scale uint8    // digits after the point; 0, or the last of them is not 0
}

// DecimalOf is n as a Decimal.
func DecimalOf(n int64) Decimal { return Decimal{coef: n} }

// ParseDecimal reads a JSON number within MaxDigits and MaxExponent.
func ParseDecimal(text []byte) (Decimal, error) { panic("spec: not written yet") }

// Add is d + e, exactly.
func (d Decimal) Add(e Decimal) Decimal { panic("spec: not written yet") }

// Cmp is -1, 0 or 1 as d is less than, equal to or greater than e.
func (d Decimal) Cmp(e Decimal) int { panic("spec: not written yet") }

// Append appends d in decimal notation: no exponent, no trailing zeros.
func (d Decimal) Append(dst []byte) []byte { panic("spec: not written yet") }

// String is Append as a string.
func (d Decimal) String() string { return string(d.Append(nil)) }
