package spec

import (
	"bytes"
	"errors"
)

// A group is encoded part by part: a tag byte, then the part. Byte order is the order of the tuples
// (null, false, true, numbers, strings), no part's encoding is a prefix of another's, and there is
// one encoding of each tuple. These bytes are in people's changelogs: they never change.
//
//	null     tagNull
//	bool     tagFalse or tagTrue
//	number   tagNumber, then a byte for sign and magnitude, then two decimal digits a byte
//	string   tagString, then the bytes with 0x00 as 0x00 0xFF, then the end 0x00 0x01
//
// An event's key, an item's text and a JSON string are all strings. Tags leave room on both sides.
const (
	tagNull   = 0x10
	tagFalse  = 0x20
	tagTrue   = 0x21
	tagNumber = 0x30
	tagString = 0x40

	escape    = 0x00
	escaped00 = 0xff
	escapeEnd = 0x01
)

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, tagTrue)
	}
	return append(dst, tagFalse)
}

func appendString(dst, s []byte) []byte {
	dst = append(dst, tagString)
	for {
		i := bytes.IndexByte(s, escape)
		if i < 0 {
			return append(append(dst, s...), escape, escapeEnd)
		}
		dst = append(append(dst, s[:i]...), escape, escaped00)
		s = s[i+1:]
	}
}

// A number is 0.d1d2d3... * 10^e with d1 not 0. The byte after the tag is magnitudeZero for 0,
// above it for positive numbers and growing with e. Each further byte is twice a pair of digits,
// plus 1 when more follow, so that a longer number is the larger one. A negative number is the
// complement.
const (
	magnitudeZero = 0x80
	magnitudeBias = magnitudeZero + MaxExponent // e is at least 1 - MaxExponent
)

func appendNumber(dst []byte, n number) []byte {
	dst = append(dst, tagNumber)
	if n.coef == 0 {
		return append(dst, magnitudeZero)
	}
	digits := digitsOf(n.coef)
	start := len(dst)
	dst = append(dst, byte(magnitudeBias+digits+n.exp))
	const top = uint64(1e16) // the weight of the first pair of 18 digits
	for rest, weight := n.coef*uint64(pow10[MaxDigits-digits]), top; rest > 0; weight /= 100 {
		pair := byte(rest / weight * 2)
		if rest %= weight; rest > 0 {
			pair++
		}
		dst = append(dst, pair)
	}
	if n.neg {
		complement(dst[start:])
	}
	return dst
}

func digitsOf(coef uint64) int {
	n := 1
	for n < len(pow10) && coef >= uint64(pow10[n]) {
		n++
	}
	return n
}

func complement(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// A part is one decoded part of a group. text shares memory with the group unless that has escapes.
type part struct {
	kind  ScalarKind
	truth bool
	num   number
	text  []byte
}

var errGroup = errors.New("not an encoded group")

// nextPart decodes the first part of group and gives the rest.
func nextPart(group []byte) (part, []byte, error) {
	if len(group) == 0 {
		return part{}, nil, errGroup
	}
	tag, rest := group[0], group[1:]
	switch tag {
	case tagNull:
		return part{kind: ScalarNull}, rest, nil
	case tagFalse, tagTrue:
		return part{kind: ScalarBool, truth: tag == tagTrue}, rest, nil
	case tagNumber:
		return nextNumber(rest)
	case tagString:
		return nextString(rest)
	}
	return part{}, nil, errGroup
}

func nextString(b []byte) (part, []byte, error) {
	var copied []byte
	for from := b; ; {
		i := bytes.IndexByte(from, escape)
		if i < 0 || i+1 == len(from) {
			return part{}, nil, errGroup
		}
		next := from[i+2:]
		switch {
		case from[i+1] == escapeEnd && copied == nil:
			return part{kind: ScalarString, text: b[:i:i]}, next, nil
		case from[i+1] == escapeEnd:
			return part{kind: ScalarString, text: append(copied, from[:i]...)}, next, nil
		case from[i+1] != escaped00:
			return part{}, nil, errGroup
		}
		copied = append(append(copied, from[:i]...), escape)
		from = next
	}
}

func nextNumber(b []byte) (part, []byte, error) {
	if len(b) == 0 {
		return part{}, nil, errGroup
	}
	if b[0] == magnitudeZero {
		return part{kind: ScalarNumber}, b[1:], nil
	}
	var flip byte
	if b[0] < magnitudeZero {
		flip = 0xff
	}
	n, digits, more := number{neg: flip != 0}, 0, true
	exponent := int(b[0]^flip) - magnitudeBias
	for b = b[1:]; more; b = b[1:] {
		if len(b) == 0 || digits == MaxDigits {
			return part{}, nil, errGroup
		}
		pair := b[0] ^ flip
		more = pair&1 != 0
		if pair/2 > 99 || digits == 0 && pair/2 < 10 || !more && pair == 0 {
			return part{}, nil, errGroup
		}
		n.coef, digits = n.coef*100+uint64(pair/2), digits+2
	}
	if n.coef%10 == 0 { // the last pair held one digit
		n.coef, digits = n.coef/10, digits-1
	}
	n.exp = exponent - digits
	if n.exp > MaxExponent || n.exp < -MaxExponent {
		return part{}, nil, errGroup
	}
	return part{kind: ScalarNumber, num: n}, b, nil
}
