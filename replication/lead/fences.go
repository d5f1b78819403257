package lead

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tally-kafka/tally/replication/ownership"
)

// fences are the calls that end what the last owners of ownerless lanes have open.
type fences struct {
	cfg Config

	mu      sync.Mutex
	age     int // of the leadership: calls of an earlier one are waited for, and count for nothing
	calls   map[ownership.LaneRef]*call
	running int // calls whose time is not over
	news    chan struct{}
}

// call is the last one for a lane.
type call struct {
	epoch   uint64 // of the lane when it began
	age     int
	under   bool // it has not returned
	overdue bool // although its time is over
	began   time.Time
	err     error // how it, or the one before it, ended
	done    bool  // it has ended well
	failed  int   // times running
	next    time.Time
}

func newFences(cfg Config) *fences {
	return &fences{cfg: cfg, calls: map[ownership.LaneRef]*call{}, news: make(chan struct{})}
}

// begin begins a leadership: what an earlier one has fenced says nothing.
func (f *fences) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.age++
	maps.DeleteFunc(f.calls, func(_ ownership.LaneRef, c *call) bool { return !c.under })
}

// changed is closed when a call has ended or its time is over.
func (f *fences) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

// ended are the lanes that were fenced, with the epochs they had.
func (f *fences) ended() map[ownership.LaneRef]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	fenced := map[ownership.LaneRef]uint64{}
	for ref, c := range f.calls {
		if c.done && c.age == f.age {
			fenced[ref] = c.epoch
		}
	}
	return fenced
}

// want begins calls for lanes that the log shows without owner, as many as may run at once, and
// forgets those that have ended for lanes that it shows otherwise.
func (f *fences) want(ctx context.Context, refs []ownership.LaneRef, state *ownership.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.calls, func(ref ownership.LaneRef, c *call) bool {
		lane, ok := state.Lane(ref)
		return !c.under && (!ok || !lane.Unfenced || lane.Epoch != c.epoch)
	})
	now := f.cfg.Seam.Now()
	for _, ref := range f.inTurn(refs) {
		if f.running >= f.cfg.FencesMax || f.overdue() >= f.cfg.OverdueMax || ctx.Err() != nil {
			return
		}
		c := f.calls[ref]
		if c != nil && (c.under || (c.age == f.age && (c.done || now.Before(c.next)))) {
			continue
		}
		lane, _ := state.Lane(ref)
		f.start(ctx, ref, lane.Epoch)
	}
}

// inTurn has those first that were tried the longest time ago, or never: else as many as may run at
// once, and hang, would keep the others waiting for ever.
func (f *fences) inTurn(refs []ownership.LaneRef) []ownership.LaneRef {
	began := func(ref ownership.LaneRef) (at time.Time) {
		if c := f.calls[ref]; c != nil {
			at = c.began
		}
		return at
	}
	turn := slices.Clone(refs)
	slices.SortStableFunc(turn, func(a, b ownership.LaneRef) int { return began(a).Compare(began(b)) })
	return turn
}

func (f *fences) overdue() (n int) {
	for _, c := range f.calls {
		if c.overdue {
			n++
		}
	}
	return n
}

func (f *fences) start(ctx context.Context, ref ownership.LaneRef, epoch uint64) {
	c := &call{epoch: epoch, age: f.age, under: true, began: f.cfg.Seam.Now()}
	if last := f.calls[ref]; last != nil && last.age == f.age {
		c.failed, c.err = last.failed, last.err
	}
	f.calls[ref] = c
	f.running++
	go f.run(ctx, ref, c)
}

// run is one call. A call that does not return when its time is over gives its place to another,
// and is still waited for: it may reach Kafka at any time until it has returned.
func (f *fences) run(ctx context.Context, ref ownership.LaneRef, c *call) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	returned := make(chan error, 1)
	go func() { returned <- f.cfg.Fence(ctx, ref.App, ref.Lane) }()
	timeout, stop := f.cfg.Seam.Timer(f.cfg.FenceTimeout)
	defer stop()
	select {
	case err := <-returned:
		f.end(ref, c, err)
		return
	case <-timeout:
		cancel()
		f.late(c)
	}
	f.end(ref, c, <-returned)
}

func (f *fences) late(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.overdue = true
	f.running--
	f.notify()
}

func (f *fences) end(ref ownership.LaneRef, c *call, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !c.overdue {
		f.running--
	}
	c.under, c.overdue, c.done, c.err = false, false, err == nil, err
	if err != nil {
		f.cfg.Log.Warn("a lane without owner was not fenced", "lane", ref, "err", err)
		pause := min(f.cfg.FenceRetry<<min(c.failed, 16), f.cfg.FenceWaitMax)
		c.failed, c.next = c.failed+1, f.cfg.Seam.Now().Add(pause)
	}
	f.notify()
}

func (f *fences) notify() {
	close(f.news)
	f.news = make(chan struct{})
}

// hindrancesMax bounds the lanes of hindrances.
const hindrancesMax = 20

// hindrances say what is wrong with the fences of lanes.
func (f *fences) hindrances() map[ownership.LaneRef]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	whys := map[ownership.LaneRef]string{}
	for _, ref := range slices.SortedFunc(maps.Keys(f.calls), ownership.LaneRef.Compare) {
		switch c := f.calls[ref]; {
		case len(whys) == hindrancesMax:
			return whys
		case c.overdue:
			whys[ref] = fmt.Sprintf("it waits for its fence, which Kafka has not answered for %v",
				f.cfg.Seam.Since(c.began).Round(time.Second))
		case c.err != nil:
			whys[ref] = fmt.Sprintf("its fence has failed %d times: %v; it is tried again", c.failed, c.err)
		}
	}
	return whys
}
