package seamtest

import "time"

// Fast is a clock that from now on runs so many times as fast as the other: who waits by it has
// waited soon.
func Fast(clock func() time.Time, times int) func() time.Time {
	began := clock()
	return func() time.Time { return began.Add(time.Duration(times) * clock().Sub(began)) }
}
