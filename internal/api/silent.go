package api

import (
	"errors"
	"slices"
)

// A lane is silent when nobody answers for it: it has no owner, or no node that may answer is alive
// or to be reached. That a cluster has lost most of its voters is no reason for the living lanes to
// say nothing. So a get that has waited in vain answers with the parts that came, and names the
// silent lanes: an answer never leaves out, without a word, what a lane may have.
//
// It does so only where the parts are likely to be all: the lanes in which the group's key has its
// place have answered, and have values. That there are none is not said of a group while a lane is
// silent; nor is anything said to be as new as what was asked for of one.
//
// A watch of one group does as a get: see watchone.go.

// silence is the error of lanes for which nobody answers.
type silence struct{ said *Error }

func (s *silence) Error() string { return s.said.Error() }

func (s *silence) Unwrap() error { return s.said }

func isSilence(err error) bool {
	var s *silence
	return errors.As(err, &s)
}

// missed are silent lanes that a read leaves out, and the error that says why; the zero value is of
// none.
type missed struct {
	lanes []int
	why   error
}

// silent reports whether err says that nobody answers for the shard's lanes: of several copies that
// may, each must have been asked by this try, the first being 0.
func (sh *shard) silent(err error, try int) bool {
	return isSilence(err) && try+1 >= sh.copies
}

// mayMiss reports whether parts of a group may be answered with, although there are these silent
// lanes.
func (rd *read) mayMiss(group []byte, silent []int) bool {
	if len(silent) == 0 || rd.app.Repartitions > 0 { // of two stages one lane has the group
		return false
	}
	known := rd.s.hints.last(rd.app)
	homes, one, ok := rd.homes(group, known)
	if !ok || slices.ContainsFunc(homes, func(lane int) bool { return slices.Contains(silent, lane) }) {
		return false
	}
	for _, b := range rd.bounds {
		// What the question's token has seen of a silent lane must be known to have been without
		// strays: an answer may not be older than the token's.
		k := rd.laneOf(b.partition)
		if slices.Contains(silent, k) && (!b.carried || !one || b.position > known[k].positions[b.partition]) {
			return false
		}
	}
	return true
}

// homes are the lanes in which the known partitioners put the group's key, by what was last heard
// of each lane, however long ago: of the partitioner that explains all events, and then one is
// true, or else of both. ok is false where the key alone does not say them.
func (rd *read) homes(group []byte, known map[int]lanesKnown) (lanes []int, one, ok bool) {
	key, null := rd.app.Program.GroupKey(group)
	if null || len(rd.app.Partitioners) != 2 || rd.app.Partitions == 0 || rd.app.LaneCount == 0 {
		return nil, false, false
	}
	var all []laneHints
	for _, k := range known {
		for p := range k.positions {
			if int(p) >= rd.app.Partitions {
				return nil, false, false // the input has grown: by how much is not known of silent lanes
			}
		}
		all = append(all, k.laneHints)
	}
	sum := sumHints(all)
	elsewhere := []int64{sum.Murmur2, sum.CRC32}
	for i, place := range rd.app.Partitioners {
		if elsewhere[i] == 0 || sum.span() {
			lanes = append(lanes, rd.laneOf(place(key, rd.app.Partitions)))
		}
	}
	return lanes, !sum.span(), true
}

// asksInput reports whether the read asks for a position in the input that nobody has said to be
// read.
func (rd *read) asksInput() bool {
	return slices.ContainsFunc(rd.bounds, func(b bound) bool { return b.input && b.sent == nil })
}
