package state

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tally-kafka/tally/internal/seam"
)

// demand is a DB with compactions that wait for a place.
type demand struct {
	mu               sync.Mutex
	allowed, waiting int
	begun            []pebble.CompactionGrantHandle
	asked            int
}

func (d *demand) GetAllowedWithoutPermission() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.allowed
}

func (d *demand) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return d.waiting > 0, pebble.WaitingCompaction{}
}

func (d *demand) Schedule(h pebble.CompactionGrantHandle) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == 0 {
		return false
	}
	d.waiting--
	d.begun = append(d.begun, h)
	return true
}

// want is a compaction that the DB would like to begin now.
func (d *demand) want(c *compactions) {
	ok, h := c.TrySchedule()
	d.mu.Lock()
	defer d.mu.Unlock()
	if ok {
		d.begun = append(d.begun, h)
	} else {
		d.waiting++
	}
}

// end ends the i-th that has begun.
func (d *demand) end(i int) {
	d.mu.Lock()
	h := d.begun[i]
	d.mu.Unlock()
	h.Done()
}

func (d *demand) allow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allowed = n
}

func (d *demand) counts() (begun, waiting, asked int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.begun), d.waiting, d.asked
}

// TestCompactions: what waits begins at the end of another, or when more are allowed; and where
// nothing waits nobody looks at the clock.
func TestCompactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &demand{allowed: 1}
		timers := 0
		s := seam.World()
		world := s.Timer
		s.Timer = func(after time.Duration) (<-chan time.Time, func()) {
			timers++
			return world(after)
		}
		c := newCompactions(s, nil)
		c.Register(1, d)
		expect := func(what string, begun, waiting int) {
			t.Helper()
			synctest.Wait()
			if b, w, _ := d.counts(); b != begun || w != waiting {
				t.Errorf("%s: %d have begun and %d wait, not %d and %d", what, b, w, begun, waiting)
			}
		}
		d.want(c)
		expect("the first", 1, 0)
		if timers > 0 {
			t.Error("the clock is looked at although nothing waits")
		}
		d.want(c)
		d.want(c)
		expect("two more", 1, 2)
		d.begun[0].Done()
		expect("the first has ended", 2, 1)
		d.allow(2)
		<-time.After(2 * grantEvery)
		expect("one more is allowed", 3, 0)
		d.begun[1].Done()
		d.begun[2].Done()
		<-time.After(2 * grantEvery)
		synctest.Wait()
		before := timers
		<-time.After(time.Minute)
		if timers != before {
			t.Errorf("at rest the clock is looked at %d times a minute", timers-before)
		}
		d.want(c)
		d.want(c)
		d.want(c)
		expect("three again", 5, 1)
		c.rest(time.Second)
		d.begun[3].Done()
		d.begun[4].Done()
		<-time.After(900 * time.Millisecond)
		expect("in a rest", 5, 1)
		<-time.After(300 * time.Millisecond)
		expect("behind it", 6, 0)
		c.rest(time.Hour)
		d.want(c)
		expect("in another one", 6, 1)
		c.rest(0)
		<-time.After(2 * grantEvery)
		expect("which was ended", 7, 0)
		d.want(c)
		c.Unregister()
		d.begun[5].Done()
		<-time.After(time.Second)
		expect("after the end", 7, 1)
	})
}
