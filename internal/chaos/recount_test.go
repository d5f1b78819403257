package chaos

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// group is what is counted, as the canonical JSON array of its parts.
type group string

// counter is a group in the partition that it is counted in.
type counter struct {
	partition int32
	group     group
}

// value is a counter's value; sum and top are nil where nothing is summed.
type value struct {
	count    int64
	sum, top *big.Rat
}

func (v value) equal(o value) bool {
	same := func(a, b *big.Rat) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }
	return v.count == o.count && same(v.sum, o.sum) && same(v.top, o.top)
}

func (v value) String() string {
	if v.sum == nil {
		return fmt.Sprint(v.count)
	}
	return fmt.Sprintf("%d sum %s top %s", v.count, v.sum.FloatString(4), v.top.FloatString(4))
}

// recount is what the input says that everything else has to say.
type recount struct {
	counts     map[counter]value
	events     int64
	unreadable int64
	keyless    int64           // events with items and no key: no partitioner says where they belong
	next, ends map[int32]int64 // of the input: behind the last event, and the very end
}

// groups adds the partitions up: a key without a partitioner's blessing may have several.
func (r recount) groups() map[group]value {
	sums := map[group]value{}
	for c, v := range r.counts {
		sums[c.group] = add(sums[c.group], v)
	}
	return sums
}

func add(a, b value) value {
	sum := value{count: a.count + b.count, sum: b.sum, top: b.top}
	if a.sum != nil && b.sum != nil {
		sum.sum = new(big.Rat).Add(a.sum, b.sum)
		if a.top.Cmp(b.top) > 0 {
			sum.top = a.top
		}
	}
	return sum
}

// recountInput reads the whole input from the offsets in from (0 where there is none) and counts
// it, plainly: one event after another, one item after another.
func (j *job) recountInput(from map[int32]int64) recount {
	j.t.Helper()
	ends, err := j.s.admin.EndOffsets(j.ctx, j.input(), false)
	must(j.t, err)
	r := recount{counts: map[counter]value{}, next: map[int32]int64{}, ends: ends}
	for p, end := range ends {
		must(j.t, j.s.admin.Read(j.ctx, j.input(), p, from[p], end, func(rec *kgo.Record) error {
			r.events++
			r.next[p] = rec.Offset + 1
			items, ok := j.items(rec.Value)
			if !ok || j.poisoned(rec) {
				r.unreadable++
				return nil
			}
			if rec.Key == nil && len(items) > 0 {
				r.keyless++
			}
			for _, it := range items {
				c := counter{p, groupOf(rec.Key, it.parts...)}
				r.counts[c] = add(r.counts[c], it.value)
			}
			return nil
		}))
	}
	return r
}

type item struct {
	parts []string
	value value
}

// items takes an event apart; ok is false for one that cannot be read, which has none.
func (j *job) items(v []byte) (items []item, ok bool) {
	if j.spec.amounts {
		var event struct{ Amount json.Number }
		if json.Unmarshal(v, &event) != nil {
			return nil, false
		}
		amount, ok := new(big.Rat).SetString(event.Amount.String())
		return []item{{value: value{1, amount, amount}}}, ok
	}
	if !utf8.Valid(v) {
		return nil, false
	}
	for _, w := range wordsOf(string(v)) {
		items = append(items, item{parts: []string{w}, value: value{count: 1}})
	}
	return items, true
}

// A word: the longest run of letters, numbers and marks that begins with a letter or a number.
var word = regexp.MustCompile(`[\p{L}\p{N}][\p{L}\p{N}\p{M}]*`)

func wordsOf(text string) []string {
	words := word.FindAllString(text, -1)
	for i, w := range words {
		words[i] = strings.Map(unicode.ToLower, w)
	}
	return words
}

// groupOf is the JSON of a key that may be null and further parts.
func groupOf(key []byte, parts ...string) group {
	all := []any{nil}
	if key != nil {
		all[0] = string(key)
	}
	for _, p := range parts {
		all = append(all, p)
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return group(text)
}

// parseValue reads a JSON object of aggregates: of an output record, or of the API.
func parseValue(text []byte) (item string, v value, err error) {
	var out struct {
		Item       string
		Count      int64
		Total, Top json.Number
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return "", value{}, fmt.Errorf("%s: %w", text, err)
	}
	v.count = out.Count
	if out.Total != "" {
		v.sum, _ = new(big.Rat).SetString(out.Total.String())
		v.top, _ = new(big.Rat).SetString(out.Top.String())
	}
	return out.Item, v, nil
}
