package node

import (
	"testing"

	"github.com/tally-kafka/tally/state"
)

// A lane's share of the memory is one that a store takes, however much or little there is.
func TestCacheShare(t *testing.T) {
	for _, memory := range []int64{1, 16 << 20, 512 << 20, 23e9, 1 << 42} {
		for _, lanes := range []int{1, 4, 1000} {
			if got := cacheShare(memory, lanes); got < state.CacheBytesMin || got > state.CacheBytesMax {
				t.Errorf("%d bytes for %d lanes: a cache of %d", memory, lanes, got)
			}
		}
	}
}
