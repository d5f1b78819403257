package check

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tally-kafka/tally/internal/chaos/history"
)

// hold is a moment at which somebody owned a lane: an answer as owner, or a commit.
type hold struct {
	epoch uint64
	node  string
}

// owners are the moments of all lanes. Of the many of one epoch and one node two are enough: the
// answer that had come first and the one that was asked for last; what lies between follows.
type owners struct {
	lanes map[laneOf]map[hold]*[2]porcupine.Operation
	named map[laneOf]map[uint64]string // whom statuses call the owner under an epoch
}

func newOwners() *owners {
	return &owners{lanes: map[laneOf]map[hold]*[2]porcupine.Operation{}, named: map[laneOf]map[uint64]string{}}
}

func (o *owners) add(lane laneOf, h hold, began, ended int64) {
	if o.lanes[lane] == nil {
		o.lanes[lane] = map[hold]*[2]porcupine.Operation{}
	}
	op := porcupine.Operation{Input: h, Call: began, Return: ended}
	two := o.lanes[lane][h]
	switch {
	case two == nil:
		o.lanes[lane][h] = &[2]porcupine.Operation{op, op}
	default:
		if ended < two[0].Return {
			two[0] = op
		}
		if began > two[1].Call {
			two[1] = op
		}
	}
}

// read takes the parts of an answer.
func (o *owners) read(h *history.Read, c *Check) {
	if h.Error != "" {
		return
	}
	for _, p := range h.Parts {
		if p.Role == roleOwner {
			c.saw(1, "answers as owner")
			o.add(laneOf{h.App, p.Lane}, hold{p.Epoch, p.Node}, h.Began.UnixNano(), h.Ended.UnixNano())
		}
	}
}

// status takes what a node says of the owners: under one epoch all say the same.
func (o *owners) status(h *history.Status, c *Check) {
	for _, l := range h.Lanes {
		if l.Owner == "" || l.Epoch == 0 {
			continue
		}
		c.saw(1, "owners in statuses")
		lane := laneOf{l.App, l.Lane}
		o.name(lane, l.Epoch, l.Owner, "the status of "+h.Node, c)
	}
}

func (o *owners) name(lane laneOf, epoch uint64, node, who string, c *Check) {
	if o.named[lane] == nil {
		o.named[lane] = map[uint64]string{}
	}
	if before := o.named[lane][epoch]; before != "" && before != node {
		c.fail("%s/%d: %s says that %s owns it under epoch %d, and it was %s", lane.app, lane.lane, who, node, epoch, before)
	}
	o.named[lane][epoch] = node
}

// register is a lane to its clients: under rising epochs it has one owner after another.
var register = porcupine.Model{
	Init: func() any { return hold{} },
	Step: func(state, input, _ any) (bool, any) {
		now, h := state.(hold), input.(hold)
		return h.epoch > now.epoch || h == now, h
	},
}

// judge looks for an order in which the lanes could have been owned as all have seen it.
func (o *owners) judge(b *books, c *Check) {
	for lane, of := range b.writers {
		if o.lanes[lane] == nil {
			o.lanes[lane] = map[hold]*[2]porcupine.Operation{}
		}
		for epoch, w := range of {
			o.name(lane, epoch, w.node, "the changelog", c)
		}
	}
	for lane, holds := range o.lanes {
		c.saw(1, "lanes")
		var ops []porcupine.Operation
		for h, two := range holds {
			o.name(lane, h.epoch, h.node, "an answer", c)
			ops = append(ops, two[0], two[1])
		}
		commits := commitsOf(ops, b.writers[lane])
		c.saw(int64(len(commits)), "epochs with commits")
		ops = append(ops, commits...)
		switch porcupine.CheckOperationsTimeout(register, clients(ops), time.Minute) {
		case porcupine.Illegal:
			c.fail("%s/%d: %s", lane.app, lane.lane, overlap(ops))
		case porcupine.Unknown:
			c.undecidedOf(int64(len(commits)), "epochs with commits", "%s/%d: porcupine found no order within a minute", lane.app, lane.lane)
		}
	}
}

// commitsOf gives the first commit of each epoch a moment. It can have been at any time before it
// was seen; the latest that nothing of a later epoch forbids explains most, and leaves porcupine
// no choice to search through.
func commitsOf(answers []porcupine.Operation, writers map[uint64]*writer) (commits []porcupine.Operation) {
	latest := map[uint64]int64{} // by epoch, when an answer of it had come
	for epoch := range writers {
		latest[epoch] = math.MaxInt64
	}
	for _, op := range answers {
		epoch := op.Input.(hold).epoch
		before, known := latest[epoch]
		if !known || op.Return < before {
			latest[epoch] = op.Return
		}
	}
	bound := int64(math.MaxInt64)
	for _, epoch := range slices.Backward(slices.Sorted(maps.Keys(latest))) {
		if w := writers[epoch]; w != nil && w.firstSeenMs != 0 {
			at := min(bound, (w.firstSeenMs+1)*int64(time.Millisecond))
			commits = append(commits, porcupine.Operation{Input: hold{epoch, w.node}, Call: at, Return: at})
			bound = at
		}
		bound = min(bound, latest[epoch])
	}
	return commits
}

// clients gives each operation a client of its own: they overlap as they like.
func clients(ops []porcupine.Operation) []porcupine.Operation {
	for i := range ops {
		ops[i].ClientId = i
	}
	return ops
}

// overlap names two moments that no order explains.
func overlap(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(min(max(a.Return-b.Return, -1), 1)) })
	for _, late := range ops {
		for _, early := range ops {
			l, e := late.Input.(hold), early.Input.(hold)
			if early.Return < late.Call && (e.epoch > l.epoch || e.epoch == l.epoch && e.node != l.node) {
				return fmt.Sprintf("%s owned it under epoch %d %v after %s was seen to own it under epoch %d", l.node, l.epoch,
					time.Duration(late.Call-early.Return), e.node, e.epoch)
			}
		}
	}
	return "no order of owners explains what was seen"
}
