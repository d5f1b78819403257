package check

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// counters are the values of the groups of one partition.
type counters struct {
	width  int
	places map[string]int // in all, in units of width
	all    []decimal
	digest uint64 // the sum of groupHash
}

func newCounters(width int) *counters { return &counters{width: width, places: map[string]int{}} }

func (c *counters) len() int { return len(c.places) }

// get gives the values, which are c's own; nil when there are none.
func (c *counters) get(group string) []decimal {
	place, ok := c.places[group]
	if !ok {
		return nil
	}
	return c.all[place*c.width : (place+1)*c.width]
}

// set replaces a group's values.
func (c *counters) set(group string, values []decimal) {
	if len(values) != c.width {
		panic(fmt.Sprintf("check: %d values where %d belong", len(values), c.width))
	}
	had := c.get(group)
	if had == nil {
		c.places[group] = len(c.places)
		c.all = append(c.all, values...)
	} else {
		c.digest -= groupHash(group, encodeAll(had))
		copy(had, values)
	}
	c.digest += groupHash(group, encodeAll(values))
}

func encodeAll(values []decimal) (b []byte) {
	for _, d := range values {
		b = d.encode(b)
	}
	return b
}

// sumOf adds increments to values; nil are none.
func sumOf(values, adds []decimal) ([]decimal, error) {
	if values == nil {
		return slices.Clone(adds), nil
	}
	sum := make([]decimal, len(values))
	for i := range values {
		var err error
		if sum[i], err = values[i].add(adds[i]); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func showValues(values []decimal) string {
	if values == nil {
		return "nothing"
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, "/")
}

// groupHash is a group's share of the digest in a position record: of its length, itself and its
// values.
func groupHash(group string, values []byte) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(group)+len(values)), uint64(len(group)))
	return xxhash.Sum64(append(append(b, group...), values...))
}
