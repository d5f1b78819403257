package seam_test

import (
	"testing"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
	"github.com/tally-kafka/tally/internal/seam/seamtest"
)

// TestAge: what was promised for a time is over when either clock says so.
func TestAge(t *testing.T) {
	now := time.Now()
	s := seam.Seam{Now: func() time.Time { return now }}
	for _, c := range []struct {
		name       string
		then       time.Time
		since, age time.Duration
	}{
		{"time passes", now.Add(-time.Second), time.Second, time.Second},
		{"the machine was suspended", seamtest.WallAhead(now, -time.Hour), 0, time.Hour},
		{"the wall clock was set back", seamtest.WallAhead(now.Add(-time.Second), time.Hour), time.Second, time.Second},
		{"no monotonic reading", now.Round(0).Add(-time.Minute), time.Minute, time.Minute},
	} {
		if since, age := s.Since(c.then), s.Age(c.then); since != c.since || age != c.age {
			t.Errorf("%s: Since is %v, Age %v; want %v, %v", c.name, since, age, c.since, c.age)
		}
	}
}
