package spec

import (
	"errors"
	"math"
	"math/big"
	"math/bits"
	"strconv"
)

// A Decimal is an exact decimal number. The zero value is 0. Equal numbers have one representation,
// but compare them by Cmp: a big one is behind a pointer.
//
// Numbers that are read have at most MaxDigits digits, so nearly every sum lives in coef; the rest
// falls back to big and stays exact. (A 128-bit middle form was left out: no workload needs it.)
type Decimal struct {
	coef  int64    // the number is coef / 10^scale
	big   *big.Int // in place of coef, and only when that does not fit; never changed once set
	scale uint8    // digits after the point; 0, or the last of them is not 0; at most MaxExponent
}

// maxBigBytes bounds a big coefficient: 2^64 numbers below 10^36, in units of 10^-18, need 31
// bytes.
const maxBigBytes = 32

// maxDecimalText bounds the text of a Decimal: its 78 digits, the sign, the point and a leading 0.
const maxDecimalText = 81

var pow10 = [19]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// DecimalOf is n as a Decimal.
func DecimalOf(n int64) Decimal { return Decimal{coef: n} }

// Int64 is d as an integer; ok is false when d is none, or too large for one.
func (d Decimal) Int64() (n int64, ok bool) { return d.coef, d.big == nil && d.scale == 0 }

// ParseDecimal reads a JSON number within MaxDigits and MaxExponent.
func ParseDecimal(text []byte) (Decimal, error) {
	if end := scanNumber(text, 0); end < 0 || end != len(text) {
		return Decimal{}, errors.New("not a JSON number")
	}
	n, ok := readNumber(text)
	if !ok {
		return Decimal{}, errors.New(tooWide)
	}
	return n.decimal(), nil
}

const tooWide = "a number of more than 18 significant digits, or with an exponent beyond 18"

// A number is a JSON number as read: coef * 10^exp, where coef is 0 or does not end in the digit 0.
// The limits are on this form, so 1, 1.0 and 10e-1 pass or fail alike.
type number struct {
	coef uint64 // below 10^18
	exp  int    // -MaxExponent to MaxExponent
	neg  bool
}

// readNumber reads text, which scanNumber has accepted. It reports false beyond the limits.
func readNumber(text []byte) (number, bool) {
	n := number{}
	i, zeros, digits, fraction := 0, 0, 0, 0 // zeros: read after the last other digit
	if text[0] == '-' {
		n.neg, i = true, 1
	}
	inFraction := false
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			inFraction = true
			continue
		}
		if c == 'e' || c == 'E' {
			break
		}
		if inFraction {
			fraction++
		}
		if c == '0' {
			if n.coef != 0 {
				zeros++
			}
			continue
		}
		if digits += zeros + 1; digits > MaxDigits {
			return number{}, false
		}
		n.coef = n.coef*uint64(pow10[zeros+1]) + uint64(c-'0')
		zeros = 0
	}
	if n.coef == 0 {
		return number{}, true
	}
	n.exp = zeros - fraction
	if i < len(text) {
		n.exp += readExponent(text[i+1:])
	}
	if n.exp > MaxExponent || n.exp < -MaxExponent {
		return number{}, false
	}
	return n, true
}

// readExponent stops far beyond every limit, and far from an overflow.
func readExponent(text []byte) int {
	e, neg := 0, false
	for _, c := range text {
		if c == '-' {
			neg = true
		} else if c != '+' && e < 1<<40 {
			e = e*10 + int(c-'0')
		}
	}
	if neg {
		return -e
	}
	return e
}

func (n number) decimal() Decimal {
	coef := int64(n.coef)
	if n.neg {
		coef = -coef
	}
	if n.exp <= 0 {
		return Decimal{coef: coef, scale: uint8(-n.exp)}
	}
	return scaled(Decimal{coef: coef}, n.exp)
}

// scaled multiplies d's coefficient by 10^by and leaves its scale alone.
func scaled(d Decimal, by int) Decimal {
	if d.big == nil {
		if p, ok := mul64(d.coef, pow10[by]); ok {
			d.coef = p
			return d
		}
	}
	return Decimal{big: new(big.Int).Mul(d.bigCoef(), big.NewInt(pow10[by])), scale: d.scale}
}

func mul64(a, b int64) (int64, bool) {
	ua := uint64(a)
	if a < 0 {
		ua = -ua
	}
	hi, lo := bits.Mul64(ua, uint64(b))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if a < 0 {
		return -int64(lo), true
	}
	return int64(lo), true
}

func (d Decimal) bigCoef() *big.Int {
	if d.big != nil {
		return d.big
	}
	return big.NewInt(d.coef)
}

// align gives both the larger scale of the two.
func align(d, e Decimal) (Decimal, Decimal) {
	if d.scale < e.scale {
		d, by := scaled(d, int(e.scale-d.scale)), e.scale
		d.scale = by
		return d, e
	}
	if e.scale < d.scale {
		e, by := scaled(e, int(d.scale-e.scale)), d.scale
		e.scale = by
		return d, e
	}
	return d, e
}

// Add is d + e, exactly.
func (d Decimal) Add(e Decimal) Decimal {
	if d.scale != e.scale {
		d, e = align(d, e)
	}
	if d.big == nil && e.big == nil {
		if sum := d.coef + e.coef; (sum > d.coef) == (e.coef > 0) { // else it overflowed
			if d.scale == 0 {
				return Decimal{coef: sum}
			}
			return normal(Decimal{coef: sum, scale: d.scale})
		}
	}
	return normalBig(new(big.Int).Add(d.bigCoef(), e.bigCoef()), d.scale)
}

func normal(d Decimal) Decimal {
	for d.scale > 0 && d.coef%10 == 0 {
		d.coef /= 10
		d.scale--
	}
	return d
}

// normalBig owns b.
func normalBig(b *big.Int, scale uint8) Decimal {
	ten, q, r := big.NewInt(10), new(big.Int), new(big.Int)
	for scale > 0 {
		if q.QuoRem(b, ten, r); r.Sign() != 0 {
			break
		}
		b, q = q, b
		scale--
	}
	if b.IsInt64() {
		return Decimal{coef: b.Int64(), scale: scale}
	}
	return Decimal{big: b, scale: scale}
}

// Cmp is -1, 0 or 1 as d is less than, equal to or greater than e.
func (d Decimal) Cmp(e Decimal) int {
	if d.scale != e.scale {
		d, e = align(d, e)
	}
	if d.big != nil || e.big != nil {
		return d.bigCoef().Cmp(e.bigCoef())
	}
	switch {
	case d.coef < e.coef:
		return -1
	case d.coef > e.coef:
		return 1
	}
	return 0
}

// Append appends d in decimal notation: no exponent, no trailing zeros.
func (d Decimal) Append(dst []byte) []byte {
	start := len(dst)
	if d.big != nil {
		dst = d.big.Append(dst, 10)
	} else {
		dst = strconv.AppendInt(dst, d.coef, 10)
	}
	if d.scale == 0 {
		return dst
	}
	if dst[start] == '-' {
		start++
	}
	for len(dst)-start <= int(d.scale) { // 0.05 has the coefficient 5
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	point := len(dst) - int(d.scale)
	dst = append(dst, 0)
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}

// String is Append as a string.
func (d Decimal) String() string { return string(d.Append(nil)) }
