//go:build !race

package node

// slow stretches the bounds on how long a node may take: under the race detector all takes longer.
const slow = 1
