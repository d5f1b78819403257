package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// decimal is coef / 10^scale; scale is 0, or the last digit of coef is not. What does not fit in it
// a workload must not have.
type decimal struct {
	coef  int64
	scale uint8
}

const maxScale = 18

var (
	errWide   = errors.New("a number has more digits than the checks can hold")
	errNumber = errors.New("not a number as values have them")
)

var tens = [maxScale + 1]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// parseDecimal reads digits with a sign and a point, and nothing else.
func parseDecimal(text string) (decimal, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > maxScale {
		return decimal{}, fmt.Errorf("%q: %w", text, errWide)
	}
	coef, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return decimal{}, fmt.Errorf("%q: %w", text, errNumber)
	}
	return decimal{coef, uint8(len(fraction))}.trimmed(), nil
}

func (d decimal) trimmed() decimal {
	for d.scale > 0 && d.coef%10 == 0 {
		d.coef, d.scale = d.coef/10, d.scale-1
	}
	return d
}

// at gives the coefficient for a scale that is not smaller.
func (d decimal) at(scale uint8) (int64, error) {
	by := tens[scale-d.scale]
	hi, lo := bits.Mul64(uint64(max(d.coef, -d.coef)), uint64(by))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, errWide
	}
	return d.coef * by, nil
}

func (d decimal) add(o decimal) (decimal, error) {
	scale := max(d.scale, o.scale)
	a, err := d.at(scale)
	if err != nil {
		return decimal{}, err
	}
	b, err := o.at(scale)
	if err != nil {
		return decimal{}, err
	}
	sum := a + b
	if a > 0 && b > 0 && sum < 0 || a < 0 && b < 0 && sum >= 0 {
		return decimal{}, errWide
	}
	return decimal{sum, scale}.trimmed(), nil
}

func (d decimal) String() string {
	if d.scale == 0 {
		return strconv.FormatInt(d.coef, 10)
	}
	digits := strconv.FormatInt(d.coef, 10)
	sign := ""
	if d.coef < 0 {
		sign, digits = "-", digits[1:]
	}
	if short := int(d.scale) + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	point := len(digits) - int(d.scale)
	return sign + digits[:point] + "." + digits[point:]
}

// encode is how values are in the changelog: the scale, then the coefficient as a varint.
func (d decimal) encode(dst []byte) []byte { return binary.AppendVarint(append(dst, d.scale), d.coef) }

// decodeDecimals takes the values of a changelog record apart.
func decodeDecimals(b []byte) (all []decimal, err error) {
	for len(b) > 0 {
		scale := b[0]
		if scale >= 0x40 && scale < 0x80 {
			return nil, errWide
		}
		coef, n := binary.Varint(b[1:])
		if scale > maxScale || n <= 0 {
			return nil, errNumber
		}
		all, b = append(all, decimal{coef, scale}), b[1+n:]
	}
	return all, nil
}
