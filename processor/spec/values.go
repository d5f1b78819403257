package spec

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// The encoding of values is one Decimal after another: a header byte, then the coefficient. There
// is one encoding of a number, and decoding accepts no other, so equal values have equal bytes.
//
//	0x00 + scale   a varint
//	0x40 + scale   a length byte and that many bytes, big endian: a positive big coefficient
//	0x60 + scale   the same, negative
const (
	valueBig      = 0x40
	valueNegative = 0x20
	valueScale    = 0x1f
)

// AppendValues appends the canonical encoding of v: equal values have equal bytes.
func (p *Program) AppendValues(dst []byte, v []Decimal) []byte {
	if len(v) != len(p.spec.Aggregates) {
		panic(fmt.Sprintf("spec: %d values for %d aggregates", len(v), len(p.spec.Aggregates)))
	}
	for _, d := range v {
		dst = appendValue(dst, d)
	}
	return dst
}

// Grows reports whether a group's values change only when the first aggregate, by which groups are
// ordered, rises: of two values of a group the newer is then the larger. Each event raises a count;
// one that does not raise a maximum may change what stands beside it.
func (p *Program) Grows() bool {
	first := p.aggs[0].kind
	return first == Count || first == Max && len(p.aggs) == 1
}

// CompareEncoded orders encoded values by their first aggregate: positive when a is the larger.
// What is not encoded values is the smallest.
func (p *Program) CompareEncoded(a, b []byte) int {
	x, _, errA := decodeValue(a)
	y, _, errB := decodeValue(b)
	switch {
	case errA != nil || errB != nil:
		return boolInt(errA == nil) - boolInt(errB == nil)
	case x.big == nil && y.big == nil && x.scale == y.scale:
		return cmp.Compare(x.coef, y.coef)
	}
	return x.Cmp(y)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func appendValue(dst []byte, d Decimal) []byte {
	if d.big == nil {
		return binary.AppendVarint(append(dst, d.scale), d.coef)
	}
	header, magnitude := valueBig|d.scale, d.big.Bytes()
	if d.big.Sign() < 0 {
		header |= valueNegative
	}
	return append(append(dst, header, byte(len(magnitude))), magnitude...)
}

// DecodeValues appends to dst what AppendValues encoded.
func (p *Program) DecodeValues(b []byte, dst []Decimal) ([]Decimal, error) {
	for i, a := range p.spec.Aggregates {
		d, rest, err := decodeValue(b)
		if err != nil {
			return nil, fmt.Errorf("value %d (%s): %w", i+1, a.Name, err)
		}
		dst, b = append(dst, d), rest
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes after the last value", len(b))
	}
	return dst, nil
}

var errValue = errors.New("not the canonical encoding of a number")

func decodeValue(b []byte) (Decimal, []byte, error) {
	if len(b) < 2 {
		return Decimal{}, nil, errValue
	}
	header, scale := b[0], b[0]&valueScale
	if scale > MaxExponent {
		return Decimal{}, nil, errValue
	}
	if header&^(valueBig|valueNegative|valueScale) != 0 || header&valueBig == 0 && header != scale {
		return Decimal{}, nil, errValue
	}
	if header&valueBig != 0 {
		return decodeBig(b[1:], header)
	}
	coef, n := binary.Varint(b[1:])
	if n <= 0 || n > 1 && b[n] == 0 || scale > 0 && coef%10 == 0 {
		return Decimal{}, nil, errValue
	}
	return Decimal{coef: coef, scale: scale}, b[1+n:], nil
}

func decodeBig(b []byte, header byte) (Decimal, []byte, error) {
	n := int(b[0])
	if n == 0 || n > maxBigBytes || len(b) < 1+n || b[1] == 0 {
		return Decimal{}, nil, errValue
	}
	c := new(big.Int).SetBytes(b[1 : 1+n])
	if header&valueNegative != 0 {
		c.Neg(c)
	}
	want := Decimal{big: c, scale: header & valueScale}
	if d := normalBig(new(big.Int).Set(c), want.scale); d.big == nil || d.scale != want.scale {
		return Decimal{}, nil, errValue
	}
	return want, b[1+n:], nil
}

// maxValueBytes bounds what appendValue appends.
const maxValueBytes = 2 + maxBigBytes
