package spec

import (
	"slices"
	"strings"
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// suggest ends the sentence about an unknown field.
func suggest(name string, known []string) string {
	if s := didYouMean(name, known); s != "" {
		return s
	}
	return "; the fields are " + strings.Join(known, ", ")
}

// didYouMean names the nearest of known, when one is near.
func didYouMean(name string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		d := distance(strings.ToLower(name), k)
		if d < bestDistance && d < len(k) {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return `; did you mean "` + best + `"?`
}

// distance is the number of letters to insert, drop, change or swap with their neighbour to turn a
// into b. Long names are nowhere near a field's, and cost nothing.
func distance(a, b string) int {
	if len(a) > len(b)+3 {
		return len(a)
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
