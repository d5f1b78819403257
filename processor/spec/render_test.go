package spec

import "testing"

// The canonical form of any text is the same with every release of Go, whatever its Unicode has.
func TestQuoteIsFrozen(t *testing.T) {
	for text, want := range map[string]string{
		"\U0001fae9": "\"\U0001fae9\"", // of Unicode 16
		"\u0378":     "\"\u0378\"",     // of none
		"a\u00adb":   `"a\u00adb"`,
		"\u2028":     `"\u2028"`,
		"\u202ex":    `"\u202ex"`,
		"\u00a0":     `"\u00a0"`,
		"é\t":        `"é\u0009"`,
		"\U000e0041": `"\U000e0041"`,
	} {
		if got := quote(text); got != want {
			t.Errorf("%+q is written %s, want %s", text, got, want)
		}
	}
}
