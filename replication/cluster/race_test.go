//go:build race

package cluster

// slow stretches the timeouts of tests: under the race detector everything takes longer.
const slow = 4
