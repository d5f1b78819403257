package node

import (
	"context"
	"fmt"
	"time"

	"github.com/tally-kafka/tally/state"
)

// look asks for a look at the input's end, now or as soon as lookSpacing allows.
func (a *app) look() {
	wake(a.nudge)
}

// lookAtEnds asks for the last stable offsets of what the tasks read, so that lag is known while
// nothing arrives.
func (a *app) lookAtEnds(ctx context.Context) {
	if !a.findEnds(ctx) {
		return
	}
	a.passGaps(ctx)
	a.trim(ctx)
	a.warn()
}

// findEnds notes the ends, unless Kafka does not tell.
func (a *app) findEnds(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, a.node.cfg.UnreachableAt)
	defer cancel()
	at := a.node.cfg.Seam.Now()
	ends, err := a.endsOfSources(bounded)
	if ctx.Err() != nil {
		return false // the node is stopping
	}
	if err != nil {
		a.node.reached(err)
		return false
	}
	a.node.reached(nil)
	a.mu.Lock()
	a.ends, a.endsAt = ends, at
	a.mu.Unlock()
	return true
}

// endsOfSources asks for the ends of what the tasks read, in the order of the stages: what has left
// the lag of the first is below the end of what the second reads.
func (a *app) endsOfSources(ctx context.Context) (map[state.Task]int64, error) {
	all := map[state.Task]int64{}
	for stage, topic := range a.sources() {
		ends, err := a.node.admin.EndOffsets(ctx, topic.Name, true)
		if err != nil {
			return nil, err
		}
		for p, end := range ends {
			all[state.Task{Stage: uint8(stage), Partition: p}] = end
		}
	}
	if !a.standsBy() {
		return all, nil
	}
	ends, err := a.node.admin.EndOffsets(ctx, a.changelog.Name, true)
	if err == nil {
		a.mu.Lock()
		a.changelogEnds = ends
		a.mu.Unlock()
	}
	return all, err
}

// standsBy reports whether this node has a standby of a lane.
func (a *app) standsBy() bool {
	for _, l := range a.lanes {
		if g, _ := l.granted(); g.part == partStandby {
			return true
		}
	}
	return false
}

// inputPartitions is how many the input had at the last look.
func (a *app) inputPartitions() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for t := range a.ends {
		if t.Stage == 0 {
			n++
		}
	}
	return n
}

// warn says once a node what the counts cannot show: groups that are spread over partitions, and
// partitions that are not counted yet.
func (a *app) warn() {
	log := a.node.cfg.Log.With("app", a.name())
	if now := a.inputPartitions(); now > a.input.Partitions && !a.warned.grown {
		a.warned.grown = true
		log.Warn(fmt.Sprintf("the input %s has %d partitions now, of which %d are counted: restart this node to count the new ones from their beginning; the keys whose events go there now have counters in both places, which are exact for themselves and which queries add up",
			a.input.Name, now, a.input.Partitions))
	}
	if a.warned.strays {
		return
	}
	if st := a.status(); st.Strays > 0 {
		a.warned.strays = true
		log.Warn("strays: events of one key lie in several partitions, since clients place keys differently or keys are null; the counts are exact per partition, and queries add the partitions up, but the output has a counter in each",
			"strays", st.Strays, "example", st.StrayExample)
	}
}

// newPartitionsLag is what lies in partitions that the input got after this node's start: they are
// counted after the next one.
func (a *app) newPartitionsLag() (lag int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for t, end := range a.ends {
		if t.Stage == 0 && int(t.Partition) >= a.input.Partitions {
			lag += end
		}
	}
	return lag
}

// lag of a task whose read position is at, and when the fetch that proves it was made. Before
// the first such fetch nothing is known, and all of it counts as lag.
//
// What the first stage has sent since the last look counts as well: else there would be a moment in
// which an event is in neither lag although it is not counted.
func (a *app) lag(t state.Task, at int64) (lag int64, asOf time.Time) {
	end := int64(0)
	if t.Stage == state.SecondStage {
		end = a.sent(t.Partition)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(a.ends[t]-at, end-at, 0), a.endsAt
}
