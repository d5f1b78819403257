package api

import (
	"maps"
	"sync"
	"time"

	"github.com/tally-kafka/tally/state"
)

// A known partitioner that explains all events of an app says which lane has a key's groups, and
// the others need not be asked. What the other lanes have seen is known from their last answers:
// for a short while that is taken as it was.
//
// That cannot make an answer older than one that its reader has seen before: a token that names a
// position beyond what is known of a lane has that lane asked, and a read that is to be fresh, or
// that finds nothing, asks all.

// laneHints are the events of a lane that the known partitioners would have put elsewhere.
type laneHints struct {
	Lane    int   `json:"lane"`
	Murmur2 int64 `json:"murmur2"`
	CRC32   int64 `json:"crc32"`
}

// add counts what a task's position says.
func (h *laneHints) add(app *App, pos state.Position) {
	h.Murmur2 += pos.Record.Hints.Murmur2
	h.CRC32 += pos.Record.Hints.CRC32
	if app.Partitions > 0 && app.Repartitions == 0 && int(pos.Record.Partition) >= app.Partitions {
		// The input has grown: keys lie where they lay before and where they lie now, each time as
		// the partitioner says.
		h.Murmur2, h.CRC32 = h.Murmur2+pos.Record.Input, h.CRC32+pos.Record.Input
	}
}

// span says whether groups may have counters in several partitions.
func (h laneHints) span() bool { return min(h.Murmur2, h.CRC32) > 0 }

// sumHints are the hints of all lanes together.
func sumHints(lanes []laneHints) (sum laneHints) {
	for _, h := range lanes {
		sum.Murmur2 += h.Murmur2
		sum.CRC32 += h.CRC32
	}
	return sum
}

// hintsTTL is how long a lane's hints are taken as they were.
const hintsTTL = time.Second

// knownHints are what the last answers said of the lanes of each app.
type knownHints struct {
	mu   sync.Mutex
	apps map[string]*appHints
}

type appHints struct {
	id         string
	generation int
	lanes      map[int]lanesKnown
}

type lanesKnown struct {
	laneHints
	at        time.Time
	positions map[int32]int64
}

// learn keeps what an answer says of the lanes that were asked.
func (k *knownHints) learn(app *App, now time.Time, got *getParts) {
	if len(app.Partitioners) == 0 || app.Repartitions > 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.apps == nil {
		k.apps = map[string]*appHints{}
	}
	a := k.apps[app.Name]
	if a == nil || a.id != app.ID || a.generation != app.Generation {
		a = &appHints{id: app.ID, generation: app.Generation, lanes: map[int]lanesKnown{}}
		k.apps[app.Name] = a
	}
	for _, h := range got.Hints {
		known := lanesKnown{laneHints: h, at: now, positions: map[int32]int64{}}
		standby := false
		for _, p := range got.Parts {
			if p.Lane == h.Lane {
				known.positions[p.Partition] = p.Position[sourceName(app, p.Partition)]
				standby = standby || p.Role == RoleStandby
			}
		}
		if !standby { // its hints may be much older than the answer
			a.lanes[h.Lane] = known
		}
	}
}

// lanes are the hints of all lanes as far as they are young enough; nil when one is missing.
func (k *knownHints) lanes(app *App, now time.Time) map[int]lanesKnown {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.apps[app.Name]
	if a == nil || a.id != app.ID || a.generation != app.Generation {
		return nil
	}
	all := make(map[int]lanesKnown, app.LaneCount)
	for lane := range app.LaneCount {
		known, ok := a.lanes[lane]
		if !ok || now.Sub(known.at) > hintsTTL {
			return nil
		}
		all[lane] = known
	}
	return all
}

// last are the hints of lanes, however old: of those that have answered since this node runs.
func (k *knownHints) last(app *App) map[int]lanesKnown {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.apps[app.Name]
	if a == nil || a.id != app.ID || a.generation != app.Generation {
		return nil
	}
	return maps.Clone(a.lanes)
}

// keyLane is the one lane that has the groups of the group's key, where one partitioner explains
// all events. Of a group with the partition in it that proves nothing, but it has one counter,
// which is found there or, when all are asked, elsewhere.
func (rd *read) keyLane(group []byte) (lane int, ok bool) {
	if len(rd.app.Partitioners) != 2 || rd.app.Partitions == 0 || rd.app.LaneCount == 0 {
		return 0, false
	}
	all := rd.s.hints.lanes(rd.app, rd.s.opt.Seam.Now())
	key, null := rd.app.Program.GroupKey(group)
	if all == nil || null {
		return 0, false
	}
	var sum laneHints
	for _, h := range all {
		sum.Murmur2 += h.Murmur2
		sum.CRC32 += h.CRC32
	}
	if sum.span() {
		return 0, false
	}
	which := 0
	if sum.Murmur2 > 0 {
		which = 1
	}
	lane = rd.laneOf(rd.app.Partitioners[which](key, rd.app.Partitions))
	for _, b := range rd.bounds {
		if k := rd.laneOf(b.partition); b.carried && k != lane && b.position > all[k].positions[b.partition] {
			return 0, false
		}
	}
	return lane, true
}
