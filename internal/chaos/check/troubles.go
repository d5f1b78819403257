package check

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// troubles say when something outside of the product was not as the checks take it to be.
type troubles struct {
	brokers  []period              // in which a broker was away, or cut off
	deposed  []period              // of them, those in which one may go on as a leader that the others have deposed
	clocks   map[string][]clockOff // by node
	damages  map[string][]harm     // by node: flipped bits
	wipes    map[string][]period   // by node: its stores were taken away
	compacts []period              // in which Kafka was made to compact changelogs, and may not have heard of the end
	behind   []period              // in which a node's clock was so far behind that what it wrote looked old
	dead     map[startOf]int64     // when the process of a start had ended
	began    int64                 // of the run
	ended    int64                 // of its history

	settlings *settlings
}

// period is a time in Unix ms.
type period struct{ began, ended int64 }

// forever is later than anything, with room for what is added to it.
const forever = int64(1) << 62

// harm is a time in which stores may have been damaged: these of their files, APP/LANE/FILE, or
// any.
type harm struct {
	period
	files []string
}

// met tells whether a store, APP/LANE, may have been damaged, and has a file still that was. What
// was turned over in a file does not come into another: whoever reads it there sees that it is
// wrong.
func (h harm) met(store string, s *history.Store) bool {
	return len(h.files) == 0 || slices.ContainsFunc(h.files, func(path string) bool {
		file, ofIt := strings.CutPrefix(path, store+"/")
		return ofIt && (len(s.Files) == 0 || slices.Contains(s.Files, file))
	})
}

// clockOff is a time in which a node's clock was off by so many ms.
type clockOff struct {
	period
	by int64
}

type startOf struct {
	node  string
	start int
}

// The times around a fault in which it counts as one.
const (
	faultEarly  = time.Second     // some are written down when they have begun
	brokerLate  = 6 * time.Second // the session of the run's brokers: until one that is back knows who leads
	clockLate   = 3 * time.Second
	compactLate = 5 * time.Second  // what has been cleaned may still be on its way
	compactsOwn = 50 * time.Minute // after that, Kafka compacts changelogs by itself
)

// newTroubles takes the faults, each of which is there when it begins and, unless the run was cut
// off, again when it is over. One that has failed may have begun all the same.
func newTroubles(run *Run, faults []history.Fault, processes []history.Process, s *settlings) *troubles {
	t := &troubles{clocks: map[string][]clockOff{}, damages: map[string][]harm{}, wipes: map[string][]period{}, dead: map[startOf]int64{},
		began: run.Began.UnixMilli(), ended: forever, settlings: s}
	last := map[int]history.Fault{}
	for _, f := range faults {
		last[f.ID] = f
	}
	for _, f := range last {
		t.fault(&f)
	}
	for i := range t.compacts {
		t.compacts[i].ended = t.heardOf(t.compacts[i].ended)
	}
	for _, p := range processes {
		if !p.Ended.IsZero() {
			t.dead[startOf{p.Name, p.Start}] = p.Ended.UnixMilli()
		}
	}
	return t
}

func (t *troubles) fault(f *history.Fault) {
	at := period{f.Began.Add(-faultEarly).UnixMilli(), f.Ended.UnixMilli()}
	if f.Ended.IsZero() {
		at.ended = forever
	}
	for _, e := range f.Emptied {
		t.wipes[e.Node] = append(t.wipes[e.Node], period{e.Began.UnixMilli(), e.Ended.UnixMilli()})
	}
	nodes := strings.Fields(f.Target)
	switch f.Kind {
	case "broker-kill", "controller-kill":
		t.brokers = append(t.brokers, at)
	case "broker-stop", "broker-cut":
		t.brokers, t.deposed = append(t.brokers, at), append(t.deposed, at)
	case "clock":
		for _, n := range nodes {
			t.clocks[n] = append(t.clocks[n], clockOff{at, secondsOf(f.Line) * 1000})
		}
		if secondsOf(f.Line) <= -int64(compactsOwn.Seconds()) {
			t.behind = append(t.behind, at)
		}
	case "flip": // a full disk damages nothing
		for _, n := range nodes {
			t.damages[n] = append(t.damages[n], harm{at, f.Flipped})
		}
	case "wipe":
		for _, n := range nodes {
			if f.Failed == "" && !f.Ended.IsZero() {
				t.wipes[n] = append(t.wipes[n], at)
			}
		}
	case "compact":
		t.compacts = append(t.compacts, at)
	}
}

var parameter = regexp.MustCompile(`param="(-?[0-9]+)"`)

// secondsOf is by how much a line of the schedule sets a clock off.
func secondsOf(line string) int64 {
	found := parameter.FindStringSubmatch(line)
	if found == nil {
		return 0
	}
	n, _ := strconv.ParseInt(found[1], 10, 64)
	return n
}

// broker reports whether between two moments a broker was away, or had been until a while before:
// the markers of a transaction may be late then.
func (t *troubles) broker(fromMs, toMs int64) bool { return meets(t.brokers, fromMs, toMs) }

// oldEnd reports whether a broker that was asked at a moment has perhaps named an old end: one that
// the others have deposed, and that has not heard of it. It was stopped, or is cut off from them.
// One that is killed answers nobody, and who leads in its place names no end until it knows where
// that is (KIP-207). A broken network between nodes and brokers only makes an answer late, which is
// dated by its question.
func (t *troubles) oldEnd(ms int64) bool { return meets(t.deposed, ms, ms) }

func meets(brokers []period, fromMs, toMs int64) bool {
	return slices.ContainsFunc(brokers, func(p period) bool {
		return p.began <= toMs && p.ended+brokerLate.Milliseconds() >= fromMs
	})
}

// clock reports whether a node may have read a time from its clock while that was off.
func (t *troubles) clock(node string, readMs int64) bool {
	return readWhileOff(t.clocks[node], period{-forever, forever}, 0, readMs)
}

// clockAhead reports whether at a moment any node's clock may have been ahead. Of an app of two
// stages others say too how far they are, and one of them then calls an old lag a new one.
func (t *troubles) clockAhead(ms int64) bool {
	for node := range t.clocks {
		if t.ahead(node, ms) {
			return true
		}
	}
	return false
}

// ahead reports whether a node's clock may have been ahead at a moment.
func (t *troubles) ahead(node string, ms int64) bool {
	late := clockLate.Milliseconds()
	return slices.ContainsFunc(t.clocks[node], func(c clockOff) bool { return c.by > 0 && c.began-late <= ms && ms <= c.ended+late })
}

// anyClock is clock of all nodes.
func (t *troubles) anyClock(readMs int64) bool {
	for node := range t.clocks {
		if t.clock(node, readMs) {
			return true
		}
	}
	return false
}

// readWhileOff reports whether a time may have been read within a period, while the clock was off
// by so much, and by some of the faults more: those that overlap add up.
func readWhileOff(faults []clockOff, within period, by, readMs int64) bool {
	late := clockLate.Milliseconds()
	for i, c := range faults {
		both := period{max(within.began, c.began-late), min(within.ended, c.ended+late)}
		at := readMs - by - c.by
		if both.began <= both.ended && (both.began <= at && at <= both.ended || readWhileOff(faults[i+1:], both, by+c.by, readMs)) {
			return true
		}
	}
	return false
}

// damage reports whether a store that says that it is damaged, of which Partition is the lane, may
// have been damaged from outside before a copy of it was made, and since it was last taken away.
// That its node has said since then that it has all is no sign of the contrary: some of a store is
// not read for long.
func (t *troubles) damage(s *history.Store) bool {
	at, name := t.copied(s), fmt.Sprintf("%s/%d", s.App, s.Partition)
	return slices.ContainsFunc(t.damages[s.Node], func(d harm) bool {
		gone := slices.ContainsFunc(t.wipes[s.Node], func(w period) bool { return d.ended <= w.began && w.ended <= at })
		return d.began <= at && !gone && d.met(name, s)
	})
}

// heardOf is when all brokers have heard of what is so since a moment: who was away then, or cut
// off from the others, hears of it when it is back. Until then it compacts as before.
func (t *troubles) heardOf(ms int64) int64 {
	brokers := slices.SortedFunc(slices.Values(t.brokers), func(a, b period) int { return cmp.Compare(a.began, b.began) })
	for _, b := range brokers {
		if b.began <= ms+compactLate.Milliseconds() {
			ms = max(ms, b.ended+brokerLate.Milliseconds())
		}
	}
	return ms
}

// compactedUntil is a moment before which all was written that Kafka may have compacted when a copy
// of a store was made; none was where it is not ever. Kafka leaves alone what looks younger than an
// hour, but while it is made to compact that too.
func (t *troubles) compactedUntil(s *history.Store) (ms int64, ever bool) {
	copied := min(t.copied(s), t.ended)
	if t.compactedFrom() > copied {
		return 0, false
	}
	ms = copied - compactsOwn.Milliseconds()
	for _, c := range t.compacts {
		if c.began <= copied {
			ms = max(ms, c.ended+compactLate.Milliseconds())
		}
	}
	for _, c := range t.behind {
		if c.began <= copied {
			ms = max(ms, c.ended+clockLate.Milliseconds())
		}
	}
	return ms, true
}

// compactedFrom is from when on changelogs may have been compacted.
func (t *troubles) compactedFrom() int64 {
	if t.began <= 0 {
		return -forever
	}
	from := t.began + compactsOwn.Milliseconds()
	for _, c := range t.compacts {
		from = min(from, c.began)
	}
	return from
}

// compacting reports whether Kafka was being made to compact changelogs at a moment, or a while
// before.
func (t *troubles) compacting(ms int64) bool {
	return slices.ContainsFunc(t.compacts, func(c period) bool { return c.began <= ms && ms <= c.ended+compactLate.Milliseconds() })
}

// copied is when a copy of a store was made; of one whose time is not known, it is the run's end.
func (t *troubles) copied(s *history.Store) int64 {
	if ms, known := t.dead[startOf{s.Node, s.Start}]; s.Start > 0 && known {
		return ms
	}
	return 1<<63 - 1
}
