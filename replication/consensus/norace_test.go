//go:build !race

package consensus

// slow stretches the timeouts of tests: under the race detector everything takes longer.
const slow = 1
