package state

import "slices"

// sortEntry stands for a key on its way to Pebble. Its two numbers decide most comparisons, so that
// sorting seldom waits for the memory of keys.
type sortEntry struct {
	order [2]uint64 // the group's bytes behind what all that are sorted with it have in common
	at    uint32    // where the key is
	task  uint32    // index of its task, where entries of several are together
}

// ordersOf are the two numbers of what is left of a group.
func ordersOf(rest []byte) [2]uint64 {
	return [2]uint64{orderOf(rest), orderOf(rest[min(8, len(rest)):])}
}

const (
	orderBytes = 16
	// insertMost is how many entries are sorted by insertion: a pass by bytes costs as much as 256
	// entries do, and slices.SortFunc half as much again.
	insertMost = 48
)

func (e *sortEntry) byteAt(i int) byte { return byte(e.order[i>>3&1] >> (56 - 8*(i&7))) }

// sortEntries sorts entries by their numbers, and by tie where those are equal. It goes from byte
// to byte (American flag sort: McIlroy, Bostic, McIlroy, Engineering Radix Sort, 1993), which takes
// a fifth of the time of comparisons: a commit's entries are more than a core's cache holds.
func sortEntries(entries []sortEntry, tie func(a, b sortEntry) int) {
	sortFrom(entries, 0, tie)
}

// sortFrom sorts entries that have their first i bytes in common.
func sortFrom(entries []sortEntry, i int, tie func(a, b sortEntry) int) {
	for ; i < orderBytes && len(entries) > insertMost; i++ {
		var ends [256]int
		for k := range entries {
			ends[entries[k].byteAt(i)]++
		}
		if ends[entries[0].byteAt(i)] == len(entries) {
			continue
		}
		deal(entries, i, &ends)
		from := 0
		for _, end := range ends {
			sortFrom(entries[from:end], i+1, tie)
			from = end
		}
		return
	}
	if i == orderBytes && len(entries) > insertMost {
		slices.SortFunc(entries, tie)
		return
	}
	insert(entries, tie)
}

// deal brings entries into the order of their byte i, of which there are so many each, and makes of
// these numbers where each byte's entries end.
func deal(entries []sortEntry, i int, ends *[256]int) {
	var next [256]int
	sum := 0
	for b, n := range ends {
		next[b] = sum
		sum += n
		ends[b] = sum
	}
	for b := range ends {
		for next[b] < ends[b] {
			e := entries[next[b]]
			for to := e.byteAt(i); int(to) != b; to = e.byteAt(i) {
				e, entries[next[to]] = entries[next[to]], e
				next[to]++
			}
			entries[next[b]] = e
			next[b]++
		}
	}
}

func insert(entries []sortEntry, tie func(a, b sortEntry) int) {
	for i := 1; i < len(entries); i++ {
		e, k := entries[i], i
		for ; k > 0 && e.before(&entries[k-1], tie); k-- {
			entries[k] = entries[k-1]
		}
		entries[k] = e
	}
}

func (e *sortEntry) before(other *sortEntry, tie func(a, b sortEntry) int) bool {
	switch {
	case e.order[0] != other.order[0]:
		return e.order[0] < other.order[0]
	case e.order[1] != other.order[1]:
		return e.order[1] < other.order[1]
	}
	return tie(*e, *other) < 0
}
