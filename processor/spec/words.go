package spec

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// Words are the longest runs of code points in the Unicode categories L, N or M that begin with L
// or N, each code point mapped by simple lower-casing; there is no normalization, and invalid UTF-8
// is an error. "Don't" is two words, "naïve" is one, "x_1" is two, "3.14" is two.
//
// The categories and mappings are those of Go's package unicode: Unicode 15.0.0 in Go 1.26 (see
// unicode.Version). Python's unicodedata is 14.0.0 in 3.11 and 15.0.0 in 3.12: a comparison with
// Python can differ in the 4,489 code points that 15.0 added. Simple lower-casing maps one code
// point to one (Go's unicode.ToLower); Python's str.lower is the full mapping and differs for
// U+0130 (İ) and for a capital sigma at the end of a word.

// asciiWord is 0 for what is in no word and for what is not ASCII, else the lower-case letter or
// digit. It has a place for every byte so that looking into it needs no check.
var asciiWord = func() (table [256]byte) {
	for c := byte('0'); c <= '9'; c++ {
		table[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		table[c], table[c-'a'+'A'] = c, c
	}
	return table
}()

// nextWord appends the first word of text at or after i, lower-cased, and returns the index after
// it. Without a word it returns dst as it is and the end of text; of invalid UTF-8, -1.
func nextWord(dst, text []byte, i int) ([]byte, int) {
	for i < len(text) {
		if c := text[i]; c < utf8.RuneSelf {
			if asciiWord[c] != 0 {
				return appendWord(dst, text, i)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return dst, -1
		}
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return appendWord(dst, text, i)
		}
		i += size
	}
	return dst, i
}

// appendWord appends the word that begins at i.
func appendWord(dst, text []byte, i int) ([]byte, int) {
	for {
		start, lower := i, len(dst)
		for i < len(text) && asciiWord[text[i]] != 0 {
			i++
		}
		dst = append(dst, text[start:i]...)
		for k, c := range dst[lower:] {
			dst[lower+k] = asciiWord[c]
		}
		if i == len(text) || text[i] < utf8.RuneSelf {
			return dst, i
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return dst, -1
		}
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) {
			return dst, i
		}
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
		i += size
	}
}

// nextLine is the line that begins at i, without its end, and the index after it. Lines end in \n;
// a \r before that is dropped. A last line may lack its \n.
func nextLine(text []byte, i int) (line []byte, end int) {
	line = text[i:]
	end = len(text)
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line, end = line[:n], i+n+1
	}
	return bytes.TrimSuffix(line, []byte{'\r'}), end
}
