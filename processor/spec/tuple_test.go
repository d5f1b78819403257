package spec

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func hexText(b []byte) string { return hex.EncodeToString(b) }

func drawScalar(t *rapid.T) Scalar {
	switch rapid.SampledFrom([]ScalarKind{ScalarNull, ScalarBool, ScalarNumber, ScalarString, ScalarString}).Draw(t, "kind") {
	case ScalarBool:
		return Scalar{Kind: ScalarBool, Bool: rapid.Bool().Draw(t, "bool")}
	case ScalarNumber:
		return Scalar{Kind: ScalarNumber, Number: drawDecimal(t)}
	case ScalarString:
		// Few bytes, so that prefixes, escapes and ends meet.
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 'b', 0xfe, 0xff}), 0, 5).Draw(t, "text")
		return str(string(b))
	}
	return Scalar{}
}

func compareScalars(a, b Scalar) int {
	if a.Kind != b.Kind {
		return cmp.Compare(a.Kind, b.Kind)
	}
	switch a.Kind {
	case ScalarBool:
		if a.Bool == b.Bool {
			return 0
		} else if b.Bool {
			return -1
		}
		return 1
	case ScalarNumber:
		return a.Number.Cmp(b.Number)
	}
	return strings.Compare(a.Text, b.Text)
}

func encodeTuple(tuple []Scalar) []byte {
	var b []byte
	for _, s := range tuple {
		b = s.append(b)
	}
	return b
}

func TestTupleOrderIsByteOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "parts")
		tuples := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawScalar), n, n), 2, 2).Draw(t, "tuples")
		want := 0
		for i := 0; i < n && want == 0; i++ {
			want = compareScalars(tuples[0][i], tuples[1][i])
		}
		a, b := encodeTuple(tuples[0]), encodeTuple(tuples[1])
		if got := bytes.Compare(a, b); got != want {
			t.Fatalf("%v and %v: %x and %x compare as %d, want %d", tuples[0], tuples[1], a, b, got, want)
		}
	})
}

// The tuples with given first parts are exactly the encodings with that prefix.
func TestTuplePrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SliceOfN(rapid.Custom(drawScalar), 3, 3).Draw(t, "whole")
		first := rapid.SliceOfN(rapid.Custom(drawScalar), 1, 3).Draw(t, "first")
		if rapid.Bool().Draw(t, "related") {
			first = whole[:len(first)]
		}
		want := true
		for i := range first {
			want = want && compareScalars(first[i], whole[i]) == 0
		}
		if got := bytes.HasPrefix(encodeTuple(whole), encodeTuple(first)); got != want {
			t.Fatalf("%v begins with %v: %v, want %v", whole, first, got, want)
		}
	})
}

func TestTupleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tuple := rapid.SliceOfN(rapid.Custom(drawScalar), 1, 5).Draw(t, "tuple")
		rest := encodeTuple(tuple)
		for i, want := range tuple {
			got, next, err := nextPart(rest)
			if err != nil {
				t.Fatalf("part %d of %v: %v", i, tuple, err)
			}
			back := Scalar{Kind: got.kind, Bool: got.truth, Number: got.num.decimal(), Text: string(got.text)}
			if compareScalars(back, want) != 0 {
				t.Fatalf("part %d of %v became %v", i, tuple, back)
			}
			rest = next
		}
		if len(rest) > 0 {
			t.Fatalf("%x is left", rest)
		}
	})
}

// These bytes are in people's changelogs.
func TestTupleIsStable(t *testing.T) {
	for _, c := range []struct {
		scalar Scalar
		want   string
	}{
		{Scalar{}, "10"}, {Scalar{Kind: ScalarBool}, "20"}, {Scalar{Kind: ScalarBool, Bool: true}, "21"},
		{str(""), "400001"}, {str("ab"), "4061620001"}, {str("a\x00"), "406100ff0001"},
		{num("0"), "3080"}, {num("1"), "309314"}, {num("10"), "309414"}, {num("1234"), "30961944"}, {num("-1"), "306ceb"},
		{num("1e-18"), "308114"}, {num("999999999999999999e18"), "30b6" + strings.Repeat("c7", 8) + "c6"},
	} {
		if got := c.scalar.append(nil); hexText(got) != c.want {
			t.Errorf("%v: %x, want %s", c.scalar, got, c.want)
		}
	}
}

func TestNextPartRefusesAllOthers(t *testing.T) {
	for _, text := range []string{
		"", "00", "11", "22", "31", "41", "40", "4061", "406100", "40610002", "3000", "30", "3093", "3093c8", "309301", "309300",
		"309302", "3095150100", "30b714", "30ff14", "3094" + strings.Repeat("15", 10) + "14",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if p, _, err := nextPart(b); err == nil {
			t.Errorf("%s became %+v", text, p)
		}
	}
}
