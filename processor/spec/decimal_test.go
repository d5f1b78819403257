package spec

import (
	"bytes"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseDecimal(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.000": "0", "0e999999999999999999999": "0",
		"7": "7", "-7": "-7", "10": "10", "1200": "1200", "1.0": "1", "2.50": "2.5", "-0.05": "-0.05",
		"100.01": "100.01", "1e3": "1000", "1E+3": "1000", "12.5e-1": "1.25", "10e-1": "1", "1e-18": "0.000000000000000001",
		"999999999999999999": "999999999999999999", "999999999999999999e18": "999999999999999999" + strings.Repeat("0", 18),
		"0.999999999999999999": "0.999999999999999999", "1.00000000000000000000000": "1",
		"1000000000000000000": "1000000000000000000", "0.0000000000000000000000001e10": "0.000000000000001",
		"9223372036854775e3": "9223372036854775000", "-9223372036854776e3": "-9223372036854776000",
	} {
		d, err := ParseDecimal([]byte(text))
		if err != nil || d.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, d, err, want)
		}
	}
}

func TestParseDecimalRefusals(t *testing.T) {
	for _, text := range []string{
		"1234567890123456789", "0.1234567890123456789", "1000000000000000001", "1.0000000000000000001",
		"1e19", "10e18", "1e-19", "0.0000000000000000001", "1e99999999999999999999", "-1e-99999999999999999999",
	} {
		if d, err := ParseDecimal([]byte(text)); err == nil || err.Error() != tooWide {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "-", "+1", ".5", "1.", "01", "1e", "1e+", "0x1", "1_0", " 1", "1 ", "NaN", "--1", "1a"} {
		if d, err := ParseDecimal([]byte(text)); err == nil || err.Error() != "not a JSON number" {
			t.Errorf("%q: %s, %v", text, d, err)
		}
	}
}

// drawNumber draws the text of a number within the limits, often at their edges.
func drawNumber(t *rapid.T) string {
	coef := rapid.OneOf(
		rapid.Int64Range(-999, 999), rapid.Int64Range(-999999999999999999, 999999999999999999),
		rapid.SampledFrom([]int64{0, 1, -1, 999999999999999999, -999999999999999999, 922337203685477580, 100000000000000000}),
	).Draw(t, "coef")
	exp := rapid.OneOf(rapid.Just(0), rapid.IntRange(-MaxExponent, 0), rapid.IntRange(-MaxExponent, MaxExponent)).Draw(t, "exp")
	text := big.NewInt(coef).String() + "e" + big.NewInt(int64(exp)).String()
	if _, err := ParseDecimal([]byte(text)); err != nil {
		return "1" // trailing zeros carried the exponent over the edge
	}
	return text
}

func drawDecimal(t *rapid.T) Decimal { return num(drawNumber(t)).Number }

func rat(t *rapid.T, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("not a number for math/big: %s", text)
	}
	return r
}

func checkCanonical(t *rapid.T, d Decimal) {
	text := d.String()
	if strings.ContainsAny(text, "eE") || strings.Contains(text, ".") && strings.HasSuffix(text, "0") || text == "-0" {
		t.Fatalf("not canonical: %s", text)
	}
	if d.big != nil && d.big.IsInt64() {
		t.Fatalf("%s is big without need", text)
	}
}

func TestDecimalAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sum Decimal
		want := new(big.Rat)
		for _, text := range rapid.SliceOfN(rapid.Custom(drawNumber), 1, 30).Draw(t, "numbers") {
			d := num(text).Number
			if c := rat(t, d.String()).Cmp(rat(t, text)); c != 0 {
				t.Fatalf("%s printed as %s", text, d)
			}
			if got, want := sum.Cmp(d), want.Cmp(rat(t, text)); got != want {
				t.Fatalf("%s compared with %s: %d, want %d", sum, d, got, want)
			}
			sum = sum.Add(d)
			want.Add(want, rat(t, text))
			checkCanonical(t, sum)
			if rat(t, sum.String()).Cmp(want) != 0 {
				t.Fatalf("after %s: %s, want %s", text, sum, want.FloatString(18))
			}
		}
	})
}

func TestAddAtTheEdgeOfInt64(t *testing.T) {
	for _, c := range []struct{ a, b int64 }{
		{math.MaxInt64, 1}, {math.MinInt64, -1}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, math.MinInt64},
		{math.MaxInt64, 0}, {math.MinInt64, 0}, {math.MaxInt64, math.MinInt64}, {math.MaxInt64 - 1, 1},
	} {
		want := new(big.Int).Add(big.NewInt(c.a), big.NewInt(c.b))
		got := DecimalOf(c.a).Add(DecimalOf(c.b))
		if got.String() != want.String() || (got.big != nil) == want.IsInt64() {
			t.Errorf("%d + %d = %s", c.a, c.b, got)
		}
		if back := got.Add(DecimalOf(-1)).Add(DecimalOf(1)); back.Cmp(got) != 0 {
			t.Errorf("%s - 1 + 1 = %s", got, back)
		}
	}
}

// widestSum is beyond every sum of 2^64 numbers: -(10^36 - 10^-18) * 2^64.
func widestSum() Decimal {
	units, _ := new(big.Int).SetString(strings.Repeat("9", 54), 10)
	return normalBig(units.Lsh(units, 64).Neg(units), MaxExponent)
}

// No sum is wider than its encoding and its text may be.
func TestWidestSum(t *testing.T) {
	d := widestSum()
	if n := len(appendValue(nil, d)); n > maxValueBytes {
		t.Errorf("%d bytes, more than %d", n, maxValueBytes)
	}
	if n := len(d.String()); n > maxDecimalText {
		t.Errorf("%d characters, more than %d", n, maxDecimalText)
	}
}

func TestValuesRoundTrip(t *testing.T) {
	p := Compile(mustParse(t, everythingText))
	rapid.Check(t, func(t *rapid.T) {
		v := make([]Decimal, 4)
		for i := range v {
			v[i] = drawDecimal(t).Add(drawDecimal(t))
		}
		b := p.AppendValues([]byte("x"), v)[1:]
		got, err := p.DecodeValues(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range v {
			if got[i].Cmp(v[i]) != 0 {
				t.Fatalf("%s became %s", v[i], got[i])
			}
		}
		if again := p.AppendValues(nil, got); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func TestValuesAreStable(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0000", "1": "0002", "-1": "0001", "300": "00d804", "2.5": "0132", "1e18": "008080a0f6f4acdbe01b",
		"123e18": "4009" + "06aaf7c8516d0c0000", "-123e18": "6009" + "06aaf7c8516d0c0000",
	} {
		if got := appendValue(nil, num(text).Number); hexText(got) != want {
			t.Errorf("%s: %x, want %s", text, got, want)
		}
	}
}

func TestDecodeValuesRefusesAllOthers(t *testing.T) {
	p := Compile(mustParse(t, wordcountText))
	for name, b := range map[string][]byte{
		"nothing":               {},
		"a header alone":        {0},
		"bytes after":           {0, 2, 0},
		"a scale beyond":        {19, 2},
		"an unknown header":     {0x80, 2},
		"negative without big":  {0x20, 2},
		"a trailing zero":       {1, 20},
		"a long varint":         {0, 0x82, 0},
		"an endless varint":     {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a big that is small":   {0x40, 1, 5},
		"a big with zeros":      {0x40, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8},
		"a big cut off":         {0x40, 9, 1, 2},
		"a big without bytes":   {0x40, 0},
		"a big that is too big": append([]byte{0x40, 33}, bytes.Repeat([]byte{1}, 33)...),
		"a big trailing zero":   append([]byte{0x41, 9}, new(big.Int).Mul(big.NewInt(1e18), big.NewInt(1000)).Bytes()...),
	} {
		if v, err := p.DecodeValues(b, nil); err == nil {
			t.Errorf("%s: %x became %v", name, b, v)
		}
	}
}
