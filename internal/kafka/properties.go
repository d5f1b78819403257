package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// property is one entry of a properties file.
type property struct {
	key, value string
	line       int // where it begins
}

// parseProperties reads the format of java.util.Properties, in UTF-8. Of two entries with one key
// the later wins, as in Java.
func parseProperties(text string) ([]property, error) {
	var out []property
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for i := 0; i < len(lines); i++ {
		first := i
		logical := trimLine(lines[i])
		if logical == "" || logical[0] == '#' || logical[0] == '!' {
			continue
		}
		for continues(logical) {
			logical = logical[:len(logical)-1]
			if i++; i == len(lines) {
				break
			}
			logical += trimLine(lines[i])
		}
		rawKey, rawValue := divide(logical)
		key, err := unescape(rawKey)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first+1, err)
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", first+1, key, err)
		}
		out = append(out, property{key, value, first + 1})
	}
	return out, nil
}

// trimLine drops leading white space, as Java does, and the CR of a file from Windows.
func trimLine(s string) string {
	return strings.TrimLeft(strings.TrimSuffix(s, "\r"), " \t\f")
}

// continues says whether a line ends in an odd number of backslashes.
func continues(s string) bool {
	n := len(s) - len(strings.TrimRight(s, `\`))
	return n%2 == 1
}

// divide finds the end of the key: the first =, : or white space that is not escaped.
func divide(s string) (key, value string) {
	end := len(s)
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", s[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(s[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return s[:end], rest
}

// unescape never puts the text into its error: it may be a password.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, used, err := unescapeUTF16(s[i-1:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += used - 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// unescapeUTF16 reads \uXXXX, or two of them that are a surrogate pair, from the beginning of s.
func unescapeUTF16(s string) (r rune, used int, err error) {
	unit := func(s string) (rune, bool) {
		if len(s) < 6 || s[:2] != `\u` {
			return 0, false
		}
		n, err := strconv.ParseUint(s[2:6], 16, 16)
		return rune(n), err == nil
	}
	high, ok := unit(s)
	if !ok {
		return 0, 0, errors.New(`a \u is not followed by four hexadecimal digits`)
	}
	if utf16.IsSurrogate(high) {
		if low, ok := unit(s[6:]); ok {
			return utf16.DecodeRune(high, low), 12, nil
		}
	}
	return high, 6, nil
}

// expandEnv replaces each ${env:NAME}.
func expandEnv(value string, env func(string) string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(value, "${env:")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return "", errors.New("${env: has no closing brace")
		}
		v := env(name)
		if v == "" {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		b.WriteString(v)
		value = after
	}
}
