package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// storeOf is a task of whose store there are copies.
type storeOf struct {
	stage     uint8
	partition int32
}

func (a *app) storesOf(stage uint8, p int32) []history.Store {
	all := a.stores[storeOf{stage, p}]
	slices.SortStableFunc(all, func(x, y history.Store) int { return cmp.Compare(x.Changelog, y.Changelog) })
	return all
}

// What a check says of copies of stores: of all, and of those whose nodes died in mid-run.
const (
	openedStores = "opened stores"
	killedStores = "opened stores of killed nodes"
)

// storesUpTo judges the copies that end in a part of the changelog which is not folded yet, or
// before it: a copy may end in the middle of a transaction that its node was just reading.
func (c *column) storesUpTo(offset int64, values []Record) {
	s := c.rep.Of(Stores)
	for len(c.copies) > 0 && c.copies[0].Changelog <= offset {
		of := c.copies[0]
		c.copies = c.copies[1:]
		if s.saw(1, openedStores); of.Start > 0 {
			s.saw(1, killedStores)
		}
		groups, digest := c.upTo(of.Changelog, values)
		switch {
		case of.Groups == groups && of.Digest == digest:
		case c.holed() || c.astray:
			s.undecidedOf(1, openedStores, "the store of %s that %s had%s is not what was read of the changelog, of which a part is lost",
				c.changelog.place, of.Node, whenCopied(&of))
		case c.amidCompacted(&of):
			kind := openedStores
			if of.Start > 0 {
				kind = killedStores
			}
			s.undecidedOf(1, kind, "the store of %s that %s had%s may have been on its way through a compacted changelog, at offset %d",
				c.changelog.place, of.Node, whenCopied(&of), of.Changelog)
		default:
			s.differ(sides(groups, digest, of.Groups, of.Digest),
				"the store of %s at %s%s has %d groups, digest %d, at changelog offset %d; the changelog below it has %d, digest %d",
				c.changelog.place, of.Node, whenCopied(&of), of.Groups, of.Digest, of.Changelog, groups, digest)
		}
	}
}

// amidCompacted reports whether a copy of a store may lie where the changelog below it was no
// prefix of history when it was read: a compaction has taken what was set there and is set anew
// further on. It has not where the copy goes on behind all that was there to be compacted, since of
// that the newest of each group stays; nor where the node had all of it before, and ever since.
//
// What was there at a moment the markers of transactions say: a broker dates them by its own clock,
// which is never off, and what lies behind one of a later moment was written later.
func (c *column) amidCompacted(s *history.Store) bool {
	until, ever := c.troubles.compactedUntil(s)
	if !ever || c.troubles.settled(s, laneOf{c.Name, int(c.partition) % c.Lanes}) {
		return false
	}
	return !slices.ContainsFunc(c.markers, func(m dated) bool { return m.offset < s.Changelog && m.ms > until })
}

// dated is a marker of the changelog, and when its broker has written it.
type dated struct{ offset, ms int64 }

// sides are what two sets of groups are known by.
func sides(groups int64, digest uint64, foundGroups int64, foundDigest uint64) versus {
	return versus{"", fmt.Sprintf("%d groups, digest %d", groups, digest), fmt.Sprintf("%d, digest %d", foundGroups, foundDigest)}
}

func whenCopied(s *history.Store) string {
	if s.Start == 0 {
		return ""
	}
	return fmt.Sprintf(" when its start %d ended", s.Start)
}

// upTo is the state with those of the values that lie below an offset.
func (c *column) upTo(offset int64, values []Record) (groups int64, digest uint64) {
	groups, digest = int64(c.counts.len()), c.counts.digest
	for _, rec := range values {
		text, err := valueOf(rec.Value, kindValue)
		if rec.Offset >= offset || err != nil {
			continue
		}
		group := string(rec.Key)
		if had := c.counts.get(group); had != nil {
			digest -= groupHash(group, encodeAll(had))
		} else {
			groups++
		}
		digest += groupHash(group, text)
	}
	return groups, digest
}

// AddDigest adds one group of an opened store to a digest, as a Store of the history has it.
func AddDigest(digest uint64, group, values []byte) uint64 {
	return digest + groupHash(string(group), values)
}

// judgeUnopened: a store may be damaged where something from outside has damaged its node's files,
// and nothing else keeps one from being opened.
func (j *judge) judgeUnopened() {
	c := j.rep.Of(Stores)
	for i := range j.unopened {
		s := &j.unopened[i]
		switch {
		case s.Refused != "":
			c.fail("the store of %s/%d at %s%s cannot be opened: %s", s.App, s.Partition, s.Node, whenCopied(s), s.Refused)
		case j.troubles.damage(s):
			c.saw(1, "opened stores that say that they are damaged")
		default:
			c.fail("the store of %s/%d at %s%s is damaged, and nothing has damaged it: %s", s.App, s.Partition, s.Node, whenCopied(s), s.Damaged)
		}
	}
}
