// Package seam is the only place where tally takes the time, timers, random numbers and network
// connections from the world, so that a simulation can give its own.
//
// Invariant: no other non-test code of the project calls time.Now, makes a timer, draws a random
// number or dials; the linter in internal/lint keeps that. (A context's deadline that bounds one
// network call is allowed.)
//
// This package imports only the standard library.
package seam

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net"
	"time"
)

// Seam is what the outside world gives. All fields are set. It is passed down from the composition
// root; World is the real one.
type Seam struct {
	// Now is the wall clock, with Go's monotonic reading where there is one.
	Now func() time.Time
	// Timer sends once on its channel after d; stop frees it early.
	Timer func(d time.Duration) (c <-chan time.Time, stop func())
	// Rand fills b with random bytes.
	Rand func(b []byte)
	// Dial opens a network connection.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// World returns the real clock, timers, randomness and network.
func World() Seam {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return Seam{
		Now: time.Now,
		Timer: func(d time.Duration) (<-chan time.Time, func()) {
			t := time.NewTimer(d)
			return t.C, func() { t.Stop() }
		},
		Rand: func(b []byte) { _, _ = rand.Read(b) }, // crypto/rand.Read never fails since Go 1.24
		Dial: dialer.DialContext,
	}
}

// Since is the time that has passed since t.
func (s Seam) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// Age is how long ago t was, at most: unlike Since it also counts the time for which this machine
// was suspended, while its monotonic clock stood still. What was promised for a time goes by Age; a
// wall clock that is set forward ends such a promise early, and one that is set back does not
// lengthen it.
func (s Seam) Age(t time.Time) time.Duration { return Passed(t, s.Now()) }

// Passed is Age between two times.
func Passed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// Sleep waits for d or until ctx ends; then it returns ctx's error.
func (s Seam) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	c, stop := s.Timer(d)
	defer stop()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// InStep is the time until the clock next shows a multiple of d, or the one after where that is
// close. Who waits that long, again and again, wakes up with all others that do: at rest the waking
// up of a process costs far more than what a loop then does.
func (s Seam) InStep(d time.Duration) time.Duration {
	left := d - time.Duration(s.Now().UnixNano()%int64(d))
	if left < d/4 {
		left += d
	}
	return left
}

// Uint64 draws a random number.
func (s Seam) Uint64() uint64 {
	var b [8]byte
	s.Rand(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// NewID draws a random 96-bit id, printed as 24 hexadecimal digits.
func (s Seam) NewID() string {
	var b [12]byte
	s.Rand(b[:])
	return hex.EncodeToString(b[:])
}

// Jitter returns d times a random factor between 0.8 and 1.2, so that many clients do not retry in
// step.
func (s Seam) Jitter(d time.Duration) time.Duration {
	return d*4/5 + time.Duration(s.Uint64()%1000)*(d*2/5)/1000
}
