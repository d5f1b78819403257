package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// The roles of who answers.
const (
	roleOwner   = "owner"
	roleStandby = "standby"
)

// reads are an app's answers: each is held to the state of each partition at the position that it
// names there.
type reads struct {
	app    *app
	asks   map[int32][]ask
	chains map[string]map[int32]int64 // by reader: the positions that its token stands for
	owned  map[owned][]span           // of answers as owner
	acks   map[int32][]ack            // of the input, in the order in which they were written down
	rank   int                        // of tops: how many of a partition were compared with all groups
}

// ask is what one answer says of one partition.
type ask struct {
	at     int64 // the position
	of     *answered
	values []decimal // of a get: nil for none
	node   string
	role   string
}

// answered is an answer on its way through the partitions.
type answered struct {
	what    string // kind of question
	where   string // for people
	group   string // of a get
	listed  map[string][]decimal
	digest  uint64 // of a scan, still to be explained
	groups  int
	left    int  // partitions
	unknown bool // what it had to be, in one of them
}

type owned struct {
	partition int32
	node      string
	epoch     uint64
}

// span is an answer as owner in time, with its position.
type span struct {
	began, ended int64
	at           int64
}

func newReads(a *app) *reads {
	return &reads{app: a, asks: map[int32][]ask{}, chains: map[string]map[int32]int64{}, owned: map[owned][]span{}, acks: map[int32][]ack{}}
}

// add takes one line of the history.
func (r *reads) add(h *history.Read) error {
	if h.Error != "" {
		return nil
	}
	a := &answered{what: h.Ask, left: len(h.Parts)}
	a.where = fmt.Sprintf("%s of %s by %s at %s, %s", h.Ask, r.app.Name, h.Reader, h.Node, h.Began.UTC().Format(time.RFC3339Nano))
	if err := r.take(a, h); err != nil {
		return fmt.Errorf("%s: %w", a.where, err)
	}
	c := r.app.rep.Of(Reads)
	c.saw(1, h.Ask+"s")
	positions := map[int32]int64{}
	for _, p := range h.Parts {
		at, ok := p.Position[r.app.source(r.app.lastStage())+"/"+strconv.Itoa(int(p.Partition))]
		if !ok {
			c.fail("%s: it names no position in partition %d", a.where, p.Partition)
			a.left--
			continue
		}
		positions[p.Partition] = at
		if err := r.addPart(a, h, &p, at); err != nil {
			return fmt.Errorf("%s: %w", a.where, err)
		}
	}
	r.judgeChain(a, h, positions)
	r.judgeAfter(a, h, positions)
	return nil
}

// take reads what was answered.
func (r *reads) take(a *answered, h *history.Read) (err error) {
	if h.Ask == "get" {
		a.group, err = groupFromJSON(h.Asked)
		return err
	}
	a.listed = map[string][]decimal{}
	for _, n := range h.Counts {
		group, err := groupFromJSON(n.Group)
		if err != nil {
			return err
		}
		values, err := r.app.spec.values(n.Values)
		if err != nil {
			return err
		}
		if h.Ask == "top" {
			a.listed[group] = values
			continue
		}
		a.digest += groupHash(group, encodeAll(values))
		a.groups++
	}
	return nil
}

func (r *reads) addPart(a *answered, h *history.Read, p *history.Part, at int64) (err error) {
	c := r.app.rep.Of(Reads)
	n := ask{at: at, of: a, node: p.Node, role: p.Role}
	if len(p.Values) > 0 {
		if n.values, err = r.app.spec.values(p.Values); err != nil {
			return err
		}
	}
	r.asks[p.Partition] = append(r.asks[p.Partition], n)
	r.judgeAge(a, h, p, at)
	c.saw(1, "parts of answers as "+p.Role)
	if p.Role == roleStandby && !h.Stale {
		c.fail("%s: a standby's copy answers for partition %d, and nobody asked for that", a.where, p.Partition)
	}
	if p.Role == roleOwner {
		of := owned{p.Partition, p.Node, p.Epoch}
		r.owned[of] = append(r.owned[of], span{h.Began.UnixNano(), h.Ended.UnixNano(), at})
	}
	return nil
}

// ack says below which offset all was known to be in the input, and when.
type ack struct{ atMs, next int64 }

// sent takes what Kafka has acknowledged.
func (r *reads) sent(at time.Time, h *history.Sent) {
	for _, e := range h.Events {
		all := r.acks[e.Partition]
		next := e.Offset + 1
		if n := len(all); n > 0 {
			if next = max(next, all[n-1].next); all[n-1].atMs == at.UnixMilli() {
				all[n-1].next = next
				continue
			}
		}
		r.acks[e.Partition] = append(all, ack{at.UnixMilli(), next})
	}
}

// ageSlack is by how much an answer may be wrong about its age: clocks jump, and a deposed broker
// names an old end for as long as it does not know.
const ageSlack = time.Minute

// judgeAge: an answer says when it was proved that no more than its lag was missing; what the input
// had been known to hold long before that is in it, or in the lag.
func (r *reads) judgeAge(a *answered, h *history.Read, p *history.Part, at int64) {
	asOf := p.AsOfMs - ageSlack.Milliseconds()
	if r.app.stages() == 2 || p.AsOfMs > h.Ended.Add(time.Second).UnixMilli() { // of a clock that was set ahead
		return
	}
	all := r.acks[p.Partition]
	n, _ := slices.BinarySearchFunc(all, asOf, func(x ack, asOf int64) int { return cmp.Compare(x.atMs, asOf) })
	if n == 0 {
		return
	}
	c := r.app.rep.Of(Reads)
	c.saw(1, "ages")
	if known := all[n-1].next; at+p.Lag < known {
		c.fail("%s: position %d and lag %d in partition %d, as of %s; the input was known to go up to %d long before", a.where, at,
			p.Lag, p.Partition, time.UnixMilli(p.AsOfMs).UTC().Format(time.RFC3339Nano), known)
	}
}

// judgeChain: who passes on its token is never shown anything older than before.
func (r *reads) judgeChain(a *answered, h *history.Read, positions map[int32]int64) {
	if h.TokenIn == "" {
		r.chains[h.Reader] = map[int32]int64{}
	} else {
		r.app.rep.Of(Reads).saw(1, "answers to a token")
	}
	chain := r.chains[h.Reader]
	if chain == nil { // its first answer was not written down
		chain = map[int32]int64{}
		r.chains[h.Reader] = chain
	}
	for p, at := range positions {
		if at < chain[p] {
			r.app.rep.Of(Reads).fail("%s: position %d of partition %d, and its token was of position %d", a.where, at, p, chain[p])
		}
		chain[p] = max(chain[p], at)
	}
}

// judgeAfter: an answer that had to be after an event is.
func (r *reads) judgeAfter(a *answered, h *history.Read, positions map[int32]int64) {
	if h.After == "" || r.app.stages() == 2 {
		return
	}
	place, text, _ := strings.Cut(h.After, ":")
	_, number, _ := strings.Cut(place, "/")
	p, err := strconv.Atoi(number)
	offset, err2 := strconv.ParseInt(text, 10, 64)
	if at, ok := positions[int32(p)]; err != nil || err2 != nil || ok && at <= offset {
		r.app.rep.Of(Reads).fail("%s: position %d, and it was asked for after %s", a.where, at, h.After)
	}
	r.app.rep.Of(Reads).saw(1, "answers after an event")
}

// of gives what the answers say of a partition, in the order of their positions.
func (r *reads) of(p int32) []ask {
	slices.SortStableFunc(r.asks[p], func(a, b ask) int { return cmp.Compare(a.at, b.at) })
	return r.asks[p]
}

// askUpTo judges the answers below the position to which the task comes next: the state is still
// that of its last position.
func (c *column) askUpTo(next int64) error {
	if len(c.asks) == 0 || c.asks[0].at >= next {
		return nil
	}
	e, err := c.events.peek()
	if err != nil {
		return err
	}
	for len(c.asks) > 0 && c.asks[0].at < next {
		n := &c.asks[0]
		c.asks = c.asks[1:]
		switch {
		case c.adopt:
			n.of.unknown = true
			c.rep.Of(Reads).undecided("%s: of what was answered at position %d the events are lost", c.source, n.at)
		case n.at > c.last.Input && c.holed():
			n.of.unknown = true
			c.rep.Of(Reads).undecided("%s: the position %d is perhaps one whose record nobody has read", c.source, n.at)
		case n.at < c.last.Input || e != nil && e.sources == nil && n.at > e.offset:
			c.rep.Of(Reads).fail("%s: %s says position %d in %s as %s, where no transaction ended", n.of.where, n.node, n.at, c.source, n.role)
		default:
			c.answer(n)
		}
		n.of.left--
	}
	return nil
}

// answer holds one answer to the state at its position.
func (c *column) answer(n *ask) {
	a := n.of
	switch a.what {
	case "get":
		if want := c.counts.get(a.group); !slices.Equal(n.values, want) {
			c.rep.Of(Reads).fail("%s: %s says as %s that %s is %s at position %d of %s, where it is %s", a.where, n.node, n.role,
				show(a.group), showValues(n.values), n.at, c.source, showValues(want))
		}
	case "scan":
		a.digest -= c.counts.digest
		a.groups -= c.counts.len()
		c.rep.Of(Stores).saw(1, "stores of "+n.role+"s, by a scan")
		c.reads.explain(a)
	case "top":
		c.top(n)
	}
}

// explain judges a scan once all of its partitions are known.
func (r *reads) explain(a *answered) {
	if a.left > 1 || a.unknown || a.digest == 0 && a.groups == 0 {
		return
	}
	r.app.rep.Of(Stores).fail("%s: its groups are not those of the changelog at its positions (%+d groups)", a.where, a.groups)
}

// ranksMax bounds how many tops of a partition are compared with all groups: each costs a walk.
const ranksMax = 50

// top: what is listed is what the groups have, and nothing larger is missing.
func (c *column) top(n *ask) {
	a := n.of
	smallest, full := int64(1<<63-1), len(a.listed) > 0
	for _, group := range slices.Sorted(maps.Keys(a.listed)) {
		listed := a.listed[group]
		if len(listed) > 0 {
			smallest = min(smallest, listed[0].coef)
		}
		if want := c.counts.get(group); want != nil && !slices.Equal(want, listed) {
			c.rep.Of(Reads).fail("%s: %s says that %s is %s at position %d of %s, where it is %s", a.where, n.node, show(group),
				showValues(listed), n.at, c.source, showValues(want))
		}
	}
	if c.reads.rank++; !full || c.reads.rank > ranksMax*int(c.Partitions) || c.spec.sums[0] != "" {
		return
	}
	for group := range c.counts.places {
		if values := c.counts.get(group); a.listed[group] == nil && values[0].coef > smallest {
			c.rep.Of(Reads).fail("%s: %s is %s in %s, and is not listed above %d", a.where, show(group), showValues(values), c.source, smallest)
			return
		}
	}
}

// judgeOwned: one owner's answers never go back: one that was asked for after another had come is
// not older.
func (r *reads) judgeOwned() {
	c := r.app.rep.Of(Reads)
	for of, all := range r.owned {
		c.saw(int64(len(all)), "answers of one owner after another")
		byEnd := slices.SortedFunc(slices.Values(all), func(a, b span) int { return cmp.Compare(a.ended, b.ended) })
		slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.began, b.began) })
		i, seen := 0, int64(-1)
		for _, s := range all {
			for ; i < len(byEnd) && byEnd[i].ended < s.began; i++ {
				seen = max(seen, byEnd[i].at)
			}
			if s.at < seen {
				c.fail("app %s: %s, owner of partition %d under epoch %d, answers at position %d after it has answered at %d",
					r.app.Name, of.node, of.partition, of.epoch, s.at, seen)
			}
		}
	}
}

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

// storesUpTo judges the copies that end in a part of the changelog which is not folded yet, or
// before it: a copy may end in the middle of a transaction that its node was just reading.
func (c *column) storesUpTo(offset int64, values []Record) {
	s := c.rep.Of(Stores)
	for len(c.copies) > 0 && c.copies[0].Changelog <= offset {
		of := c.copies[0]
		c.copies = c.copies[1:]
		s.saw(1, "opened stores")
		groups, digest := c.upTo(of.Changelog, values)
		if (of.Groups != groups || of.Digest != digest) && !c.holed() {
			s.fail("the store of %s at %s has %d groups, digest %d, at changelog offset %d; the changelog below it has %d, digest %d",
				c.changelog.place, of.Node, of.Groups, of.Digest, of.Changelog, groups, digest)
		}
	}
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
