package state

import (
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tally-kafka/tally/internal/seam"
)

// grantEvery is how often it is looked whether a compaction that waits may begin: flushes raise the
// number that Pebble allows, and tell nobody.
const grantEvery = 100 * time.Millisecond

// compactions lets a store run as many compactions at once as Pebble allows, and as there are
// places. It does what Pebble's own scheduler does, but looks at the clock only while a compaction
// waits: that one looks ten times a second for ever, and four lanes of a node at rest cost half a
// percent of a core by it. And it can be told to rest: while chunk after chunk is ingested, a
// compaction would write what the next one writes again, and hold up who waits for the load.
//
// Invariant: while a compaction waits, either one is running, whose end grants the next, or grants
// is.
type compactions struct {
	seam   seam.Seam
	places *Places
	db     pebble.DBForCompaction // set once, before all else is called

	mu       sync.Mutex // ordered after the DB's
	idle     *sync.Cond // granting has become false
	running  int
	rests    int           // nothing begins before grants has looked so often
	granting bool          // one at a time; the DB is called without mu
	looking  bool          // grants runs
	refused  bool          // since grants looked last
	ended    chan struct{} // closed by Unregister
}

// newCompactions is of a store with others that share the places; nil: it is alone, with as many as
// Pebble allows.
func newCompactions(s seam.Seam, places *Places) *compactions {
	if places == nil {
		places = NewPlaces(math.MaxInt / 2)
	}
	c := &compactions{seam: s, places: places, ended: make(chan struct{})}
	c.idle = sync.NewCond(&c.mu)
	return c
}

// Register is called once, by a DB that has opened.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister returns when nothing is granted any more.
func (c *compactions) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.ended)
	c.places.leave(c)
	for c.granting {
		c.idle.Wait()
	}
}

// rest lets nothing begin for d, from when it could; 0 ends a rest. What has begun goes on.
func (c *compactions) rest(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rests = int(d / grantEvery)
}

// enter reports whether one more may begin, which then has its place. It is called with mu.
func (c *compactions) enter() bool {
	if c.rests > 0 || c.over() {
		return false
	}
	allowed := c.db.GetAllowedWithoutPermission()
	return c.running < allowed && c.places.take(c, allowed > 1)
}

func (c *compactions) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// TrySchedule takes a place for a compaction. Who gets none waits for Schedule.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.enter() {
		c.running++
		return true, c
	}
	if c.over() {
		return false, nil
	}
	c.refused = true
	if !c.looking {
		c.looking = true
		go c.grants()
	}
	return false, nil
}

// UpdateGetAllowedWithoutPermission has nothing to do: while somebody waits, grants looks.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU and CumulativeStats are of schedulers that watch the CPU.
func (c *compactions) Started()                                                {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)               {}
func (c *compactions) CumulativeStats(stats pebble.CompactionGrantHandleStats) {}

// Done gives a place back, to one that waits: of the store that has waited longest.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	c.places.back()
	for _, other := range c.places.next() {
		other.grant()
	}
	c.grant()
}

// grants looks again and again, until nobody waits.
func (c *compactions) grants() {
	for {
		timer, stop := c.seam.Timer(grantEvery)
		select {
		case <-timer:
		case <-c.ended:
			stop()
			return
		}
		c.mu.Lock()
		c.refused, c.rests = false, max(c.rests-1, 0)
		c.mu.Unlock()
		waits := c.grant()
		c.mu.Lock()
		if !waits && !c.refused {
			c.looking = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// grant gives the free places to compactions that wait, and reports whether there may be one that
// got none.
func (c *compactions) grant() (waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.granting && !c.over() {
		c.idle.Wait()
	}
	if c.over() {
		return false
	}
	c.granting = true
	for waits = true; c.enter(); { // the DB is not made to choose one that cannot begin
		c.mu.Unlock()
		waits, _ = c.db.GetWaitingCompaction()
		took := waits && c.db.Schedule(c)
		c.mu.Lock()
		if !took {
			c.places.back()
			break
		}
		c.running++
	}
	c.granting = false
	c.idle.Broadcast()
	return waits
}
