package processor

import (
	"io"
	"testing"
	"time"
)

// A broker takes so many bytes a second, and aborts what takes longer than ten seconds. Whatever it
// takes, and whenever that changes, a lane soon sends transactions that it can commit, and those of
// a fast one soon grow to the limit.
func TestSizeFitsTheBroker(t *testing.T) {
	const most, timeout = 512 << 20, 10 * time.Second
	var s size
	for _, rate := range []float64{100 << 20, 1 << 20, 200 << 10, 4 << 20, 50 << 10, 200 << 20} {
		aborted, full := 0, 0
		for range 40 {
			bytes := s.limit(most) // there is always more
			took := time.Duration(float64(bytes) / rate * float64(time.Second))
			if took > timeout {
				s.ended(bytes, timeout, io.ErrUnexpectedEOF)
				aborted++
				continue
			}
			s.ended(bytes, took, nil)
			full++
		}
		if aborted > 6 {
			t.Errorf("at %.0f bytes a second %d of 40 transactions were aborted", rate, aborted)
		}
		at := time.Duration(float64(s.limit(most)) / rate * float64(time.Second))
		if at > 2*commitAim && s.limit(most) > sizeLeast || at < commitQuick && s.limit(most) < most {
			t.Errorf("at %.0f bytes a second a batch of %d bytes takes %v", rate, s.limit(most), at)
		}
	}
}

// What little there was to commit says nothing of how much the broker would take.
func TestSizeKeepsWhatItKnows(t *testing.T) {
	s := size{most: 100 << 20}
	s.ended(1000, 10*time.Millisecond, nil)
	s.ended(1000, 10*time.Millisecond, io.ErrUnexpectedEOF)
	if got := s.limit(1 << 40); got != 100<<20 {
		t.Errorf("after a small commit the limit is %d", got)
	}
	if got := s.limit(1 << 20); got != 1<<20 {
		t.Errorf("the limit is %d, beyond the configured one", got)
	}
}
