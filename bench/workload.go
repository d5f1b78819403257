package bench

import (
	"encoding/hex"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
)

// A Workload is what is counted. Its events are the same at every run.
type Workload struct {
	Name       string
	Events     int
	Keys       int
	Words      int // of each event's text, drawn by Zipf's law; 0: a JSON object that nobody splits
	Bytes      int // of a JSON object, of digits where one has no room; 0: 100
	Partitions int
	Each       bool // the first Keys events have one key each, so that there are Keys groups
	Skewed     bool // keys are drawn by Zipf's law, not evenly
	ByWord     bool // words are counted whatever the event's key, so that the groups have to be spread anew
}

const (
	vocabulary   = 50_000 // of texts
	objectLeast  = 86     // bytes of an object: its names, and values that are not cut
	zipfExponent = 1.1
	// Seed is that of every workload.
	Seed = 1
)

// Counts is how many increments all events make together.
func (w Workload) Counts() int { return w.Events * max(1, w.Words) }

// GroupsMost is how many groups there are at most.
func (w Workload) GroupsMost() int {
	switch {
	case w.ByWord:
		return vocabulary
	case w.Words > 0:
		return min(w.Keys*vocabulary, w.Counts())
	}
	return w.Keys
}

// Spec counts topic by key, by key and word, or by word, into another topic. lanes 0: as tally
// chooses.
func (w Workload) Spec(app, topic string, lanes int) string {
	split, group := "none", "[key]"
	if w.Words > 0 {
		split, group = "words", "[key, item]"
	}
	if w.ByWord {
		group = "[item]"
	}
	text := fmt.Sprintf("app: %s\ninput: {topic: %s}\nsplit: %s\ngroup: %s\noutput: {topic: %s-out}\n",
		app, topic, split, group, app)
	if lanes > 0 {
		text += fmt.Sprintf("lanes: %d\n", lanes)
	}
	return text
}

// Items are the groups that an event counts in, as outputs are read back: the output's key, and
// where words are counted a zero byte and the word. That key is the event's, or the group as JSON.
func (w Workload) Items(key, value []byte, each func(group string)) {
	if w.Words == 0 {
		each(string(key))
		return
	}
	for word := range strings.FieldsSeq(string(value)) {
		if w.ByWord {
			each(`["` + word + "\"]\x00" + word)
		} else {
			each(string(key) + "\x00" + word)
		}
	}
}

// A Source draws a workload's events one after the other.
type Source struct {
	w           Workload
	draw        chance
	words, keys zipf
	drawn       int
}

// Source begins at the first event.
func (w Workload) Source() *Source {
	s := &Source{w: w, draw: Seed}
	if w.Words > 0 {
		s.words = newZipf(vocabulary)
	}
	if w.Skewed {
		s.keys = newZipf(w.Keys)
	}
	return s
}

// Next draws an event.
func (s *Source) Next() (key, value []byte) {
	n := s.drawn
	switch {
	case s.w.Each && n < s.w.Keys:
	case s.w.Skewed:
		n = s.keys.rank(&s.draw)
	default:
		n = s.draw.below(s.w.Keys)
	}
	s.drawn++
	key = strconv.AppendInt([]byte("key-"), int64(n), 10)
	if s.w.Words == 0 {
		return key, s.object()
	}
	for i := range s.w.Words {
		if i > 0 {
			value = append(value, ' ')
		}
		value = append(value, 'w')
		value = strconv.AppendInt(value, int64(s.words.rank(&s.draw)), 10)
	}
	return key, value
}

// object is a small JSON event that a compressor halves: names that repeat around random values.
func (s *Source) object() []byte {
	size := s.w.Bytes
	if size == 0 {
		size = 100
	}
	if size < objectLeast {
		return s.hex(nil, size)
	}
	kinds := [...]string{"view", "cart", "sale", "back"}
	v := append(make([]byte, 0, size+16), `{"kind":"`...)
	v = append(v, kinds[s.draw.below(len(kinds))]...)
	v = fmt.Appendf(v, `","amount":%03d.%02d,"session":"`, s.draw.below(1000), s.draw.below(100))
	v = s.hex(v, 20)
	v = append(v, `","country":"DE","id":"`...)
	v = s.hex(v, max(0, size-len(v)-2))
	return append(v, `"}`...)
}

func (s *Source) hex(to []byte, digits int) []byte {
	var raw [8]byte
	for digits > 0 {
		x := s.draw.next()
		for i := range raw {
			raw[i] = byte(x >> (8 * i))
		}
		n := min(digits, 16)
		to = append(to, hex.EncodeToString(raw[:])[:n]...)
		digits -= n
	}
	return to
}

// chance is a xorshift generator: the same events each time, and no seam needed.
type chance uint64

func (c *chance) next() uint64 {
	x := *c
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*c = x
	// The multiplier spreads the low entropy of the first numbers.
	return uint64(x) * 0x2545f4914f6cdd1d
}

func (c *chance) below(n int) int { return int(c.next() >> 11 % uint64(n)) }

// zipf holds the sums of the weights 1/rank^exponent.
type zipf []float64

func newZipf(n int) zipf {
	z, sum := make(zipf, n), 0.0
	for i := range z {
		sum += math.Pow(float64(i+1), -zipfExponent)
		z[i] = sum
	}
	return z
}

func (z zipf) rank(c *chance) int {
	at := float64(c.next()>>11) / (1 << 53) * z[len(z)-1]
	return min(sort.SearchFloat64s(z, at), len(z)-1)
}
