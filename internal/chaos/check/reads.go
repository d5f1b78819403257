package check

import (
	"cmp"
	"fmt"
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
	gets   []partly                   // those that have not asked all partitions
	silent []*history.Read            // that had no answer
}

// ask is what one answer says of one partition.
type ask struct {
	at     int64 // the position
	of     *answered
	values []decimal // of a get: nil for none
	node   string
	role   string

	asOfMs, lag, inputLag int64
}

// answered is an answer on its way through the partitions.
type answered struct {
	what    string // kind of question
	where   string // for people
	beganMs int64  // when the reader asked, by the reader's clock
	endedMs int64  // when it had the answer
	group   string // of a get
	listed  map[string]*listing
	most    int    // how many groups a top was asked for; 0: nobody knows
	after   *after // an event of the input that has to be in it, in an app of two stages
	digest  uint64 // of a scan, still to be explained
	groups  int    // of a scan, still to be explained; of a top, those that there are
	left    int    // partitions
	unknown bool   // what it had to be, in one of them
}

// listing is a group of a top.
type listing struct {
	values []decimal
	found  int // in so many partitions
}

// after is an event of the input.
type after struct {
	partition int32
	offset    int64
}

// partly is a get that has asked some of the partitions.
type partly struct {
	of   *answered
	seen []int // parts, by partition
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
	c := r.app.rep.Of(Reads)
	if h.Last {
		c.saw(1, lastQuestions)
	}
	if h.Error != "" {
		r.silent = append(r.silent, h)
		return nil
	}
	c.ask(kindOf(h), true)
	a := &answered{what: h.Ask, beganMs: h.Began.UnixMilli(), endedMs: h.Ended.UnixMilli(), most: h.N, left: len(h.Parts)}
	a.where = r.where(h)
	if h.Ask == "get" {
		var err error
		if a.group, err = groupFromJSON(h.Asked); err != nil {
			return fmt.Errorf("%s: %w", a.where, err)
		}
	} else if err := r.take(a, h); err != nil {
		c.fail("%s: nobody can read what it lists: %v", a.where, err)
		return nil
	}
	c.saw(1, h.Ask+"s")
	r.judgeWhole(a, h)
	positions, sum := map[int32]int64{}, []decimal(nil)
	for i := range h.Parts {
		p := &h.Parts[i]
		at, ok := p.Position[r.app.source(r.app.lastStage())+"/"+strconv.Itoa(int(p.Partition))]
		if !ok {
			c.fail("%s: it names no position in partition %d", a.where, p.Partition)
			a.left, a.unknown = a.left-1, true
			continue
		}
		positions[p.Partition] = at
		values, err := r.addPart(a, h, p, at)
		if err == nil && values != nil {
			sum, err = sumOf(sum, values)
		}
		if err != nil {
			c.fail("%s: nobody can read what it says of partition %d: %v", a.where, p.Partition, err)
			a.unknown = true
			return nil
		}
	}
	r.judgeChain(a, h, positions)
	r.judgeAfter(a, h, positions)
	if h.Ask == "get" {
		if err := r.judgeSum(a, h, sum); err != nil {
			c.fail("%s: nobody can read what it says: %v", a.where, err)
		}
	}
	return nil
}

// kindOf is what a question counts as.
func kindOf(h *history.Read) string {
	if h.Stale {
		return h.Ask + "s that standbys may answer"
	}
	return h.Ask + "s"
}

// judgeSilent counts the questions that had no answer, once it is known which processes ran.
func (r *reads) judgeSilent(ran func(node string, from, to time.Time) bool) {
	c := r.app.rep.Of(Reads)
	for _, h := range r.silent {
		if ran(h.Node, h.Began, h.Ended) {
			c.ask(kindOf(h), false)
		} else {
			c.questions(kindOf(h)).Nobody++
		}
	}
}

// where names a question to people.
func (r *reads) where(h *history.Read) string {
	return fmt.Sprintf("%s of %s by %s at %s, %s", h.Ask, r.app.Name, h.Reader, h.Node, h.Began.UTC().Format(time.RFC3339Nano))
}

// lastQuestions are those that readers ask when all is quiet again.
const lastQuestions = "last questions"

// judgeLast: once all is quiet every question is answered. Where it never was, that is a failure of
// another check.
func (r *reads) judgeLast(end *history.End) {
	if end == nil || end.QuietAfterMs < 0 {
		return
	}
	defer r.app.rep.by(0)
	for _, h := range r.silent {
		if !h.Last {
			continue
		}
		r.app.rep.by(h.Ended.UnixMilli())
		r.app.rep.Of(Reads).fail("%s: nothing was broken any more, and the last question had no answer: %s", r.where(h), h.Error)
	}
}

// take reads what a scan or a top has answered.
func (r *reads) take(a *answered, h *history.Read) error {
	a.listed = map[string]*listing{}
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
			if a.listed[group] != nil {
				r.app.rep.Of(Reads).differ(versus{show(group), "listed once", "twice"}, "%s: it lists %s twice", a.where, show(group))
			}
			a.listed[group] = &listing{values: values}
			continue
		}
		a.digest += groupHash(group, encodeAll(values))
		a.groups++
	}
	return nil
}

// judgeWhole: a scan and a top are of all partitions, each once. Of which one a get has to be is
// known in the end.
func (r *reads) judgeWhole(a *answered, h *history.Read) {
	c := r.app.rep.Of(Reads)
	seen, missing := make([]int, r.app.Partitions), []int{}
	for _, p := range h.Parts {
		if p.Partition < 0 || p.Partition >= r.app.Partitions {
			c.fail("%s: it has a part of partition %d, and there are %d", a.where, p.Partition, r.app.Partitions)
			a.unknown = true
			continue
		}
		seen[p.Partition]++
	}
	for p, n := range seen {
		if n == 0 {
			missing = append(missing, p)
		}
		if n > 1 {
			c.fail("%s: it has %d parts of partition %d", a.where, n, p)
			a.unknown = true
		}
	}
	switch {
	case len(missing) == 0:
		c.saw(1, "answers of all partitions")
	case h.Ask == "get":
		r.gets = append(r.gets, partly{a, seen})
	default:
		a.unknown = true
		c.fail("%s: it has no part of the partitions %v", a.where, missing)
	}
}

// judgeGets: a get has asked the partition that counts its group.
func (r *reads) judgeGets() {
	c := r.app.rep.Of(Reads)
	for _, g := range r.gets {
		of, known := r.app.last[g.of.group]
		if !known { // nobody counts it
			continue
		}
		c.saw(1, "gets at the group's partition alone")
		if g.seen[of.partition] == 0 {
			c.differ(versus{show(g.of.group), fmt.Sprint("a part of partition ", of.partition), "none"},
				"%s: it has no part of partition %d, which counts %s", g.of.where, of.partition, show(g.of.group))
		}
	}
}

// judgeSum: a get says what its parts add up to. An error says that nobody can read it.
func (r *reads) judgeSum(a *answered, h *history.Read, sum []decimal) error {
	c := r.app.rep.Of(Reads)
	var said []decimal
	for _, n := range h.Counts {
		group, err := groupFromJSON(n.Group)
		if err != nil {
			return err
		}
		if group != a.group || said != nil {
			c.differ(versus{show(a.group), "an answer about it", "one about " + show(group)}, "%s: it is about %s, and %s was asked for", a.where, show(group), show(a.group))
		}
		if said, err = r.app.spec.values(n.Values); err != nil {
			return err
		}
	}
	if !slices.Equal(said, sum) {
		c.differ(versusOf(a.group, sum, said), "%s: it says %s, and its parts add up to %s", a.where, showValues(said), showValues(sum))
	}
	return nil
}

// addPart takes a part of an answer, and gives its values.
func (r *reads) addPart(a *answered, h *history.Read, p *history.Part, at int64) (values []decimal, err error) {
	c := r.app.rep.Of(Reads)
	n := ask{at: at, of: a, node: p.Node, role: p.Role, asOfMs: p.AsOfMs, lag: p.Lag, inputLag: p.InputLag}
	if len(p.Values) > 0 {
		if n.values, err = r.app.spec.values(p.Values); err != nil {
			return nil, err
		}
	}
	r.asks[p.Partition] = append(r.asks[p.Partition], n)
	c.saw(1, "parts of answers as "+p.Role)
	if p.Role == roleStandby && !h.Stale {
		c.fail("%s: a standby's copy answers for partition %d, and nobody asked for that", a.where, p.Partition)
	}
	if p.Role == roleOwner {
		of := owned{p.Partition, p.Node, p.Epoch}
		r.owned[of] = append(r.owned[of], span{h.Began.UnixNano(), h.Ended.UnixNano(), at})
	}
	return n.values, nil
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

// judgeAfter: an answer that had to be after an event is. In an app of two stages the repartition
// topic has to say so: judgeToldAfter.
func (r *reads) judgeAfter(a *answered, h *history.Read, positions map[int32]int64) {
	if h.After == "" {
		return
	}
	place, text, _ := strings.Cut(h.After, ":")
	_, number, _ := strings.Cut(place, "/")
	p, err := strconv.Atoi(number)
	offset, err2 := strconv.ParseInt(text, 10, 64)
	c := r.app.rep.Of(Reads)
	if err != nil || err2 != nil {
		c.fail("%s: nobody can ask for after %s", a.where, h.After)
		return
	}
	if r.app.stages() == 2 {
		a.after = &after{int32(p), offset}
		return
	}
	at, ok := positions[int32(p)]
	if !ok { // a get of a group that counts elsewhere
		return
	}
	c.saw(1, "answers after an event")
	if at <= offset {
		c.fail("%s: position %d, and it was asked for after %s", a.where, at, h.After)
	}
}

// of gives what the answers say of a partition, in the order of their positions.
func (r *reads) of(p int32) []ask {
	slices.SortStableFunc(r.asks[p], func(a, b ask) int { return cmp.Compare(a.at, b.at) })
	return r.asks[p]
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
