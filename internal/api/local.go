package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A node that is asked by another (local=true) answers for the lanes that it is asked for, out of
// its own copies, and never asks on: so a question makes one hop at most. What the two say to each
// other in the URL is here; both are of one cluster, and read it alike.
//
// The one that asks may be behind or ahead in what it knows of the owners. So who is asked for a
// lane that is not its own says so (CodeNotOwner) at once, and the other looks again.

// sub is the part of a read that concerns some lanes, as it is asked of who has them.
func (rd *read) sub(lanes []int) *read {
	sub := &read{s: rd.s, app: rd.app, begun: rd.begun, deadline: rd.deadline, freshUntil: rd.freshUntil,
		fresh: rd.fresh && rd.s.opt.Seam.Now().Before(rd.freshUntil), stale: rd.stale, local: true, lanes: lanes}
	if rd.proving {
		slice := rd.s.opt.Seam.Now().Add(rd.s.opt.ProveSlice)
		if sub.prove = true; slice.Before(sub.deadline) {
			sub.deadline = slice
		}
	}
	mine := func(partition int32) bool { return slices.Contains(lanes, rd.laneOf(partition)) }
	for _, b := range rd.bounds {
		switch {
		case !b.input && mine(b.partition):
			sub.bounds = append(sub.bounds, b)
		case b.input:
			for q, at := range b.sent {
				if mine(q) {
					sub.bounds = append(sub.bounds, bound{partition: q, position: at})
				}
			}
		}
	}
	for q, at := range rd.soft {
		if sub.fresh && mine(q) {
			sub.bounds = append(sub.bounds, bound{partition: q, position: at, soft: true})
		}
	}
	return sub
}

// laneOf is the lane that a partition, of either stage's source, belongs to.
func (rd *read) laneOf(partition int32) int { return int(partition) % rd.app.LaneCount }

// query is a sub-read as the other node reads it.
func (rd *read) query() url.Values {
	q := url.Values{
		"local": {"true"}, "lanes": {lanesText(rd.lanes)}, "wait": {max(rd.left(), 0).String()},
		"app_id": {rd.app.ID}, "generation": {strconv.Itoa(rd.app.Generation)},
	}
	for name, on := range map[string]bool{"fresh": rd.fresh, "stale": rd.stale, "prove": rd.prove} {
		if on {
			q.Set(name, "true")
		}
	}
	kinds := map[string][]string{}
	var carried []int // partitions: a release that does not know of them waits for the positions all the same
	for _, b := range rd.bounds {
		if b.carried {
			carried = append(carried, int(b.partition))
		}
		text := strconv.Itoa(int(b.partition)) + ":" + strconv.FormatInt(b.position, 10)
		kinds[b.kind()] = append(kinds[b.kind()], text)
	}
	for kind, texts := range kinds {
		q.Set(kind, strings.Join(texts, ","))
	}
	if len(carried) > 0 {
		q.Set("carried", lanesText(carried))
	}
	return q
}

// kind is the name that bounds of b's kind have in the query.
func (b *bound) kind() string {
	switch {
	case b.input:
		return "input"
	case b.soft:
		return "soft"
	}
	return "at"
}

func lanesText(lanes []int) string {
	texts := make([]string, len(lanes))
	for i, k := range lanes {
		texts[i] = strconv.Itoa(k)
	}
	return strings.Join(texts, ",")
}

// parseLocal reads what another node has written with query.
func (rd *read) parseLocal(r *http.Request, q url.Values) error {
	rd.prove = true // people want to know
	if q.Get("local") != "true" {
		return nil
	}
	if err := rd.s.authorize(r, scopeNode); err != nil {
		return err
	}
	rd.local, rd.prove = true, q.Get("prove") == "true"
	if id := q.Get("app_id"); id != "" && (id != rd.app.ID || q.Get("generation") != strconv.Itoa(rd.app.Generation)) {
		return rd.notOwner("another generation of it runs here")
	}
	var err error
	if text := q.Get("lanes"); text != "" {
		if rd.lanes, err = parseNumbers("lanes", text); err != nil {
			return err
		}
	}
	for _, kind := range []bound{{}, {input: true}, {soft: true}} {
		if err := rd.parseBounds(kind, q.Get(kind.kind())); err != nil {
			return err
		}
	}
	return rd.parseCarried(q.Get("carried"))
}

// parseCarried notes which of the bounds are a token's.
func (rd *read) parseCarried(text string) error {
	if text == "" {
		return nil
	}
	partitions, err := parseNumbers("carried", text)
	for i := range rd.bounds {
		b := &rd.bounds[i]
		b.carried = !b.input && !b.soft && slices.Contains(partitions, int(b.partition))
	}
	return err
}

func parseNumbers(name, text string) ([]int, error) {
	var numbers []int
	for part := range strings.SplitSeq(text, ",") {
		k, err := strconv.Atoi(part)
		if err != nil || k < 0 {
			return nil, badRequest("%s=%q are not numbers from 0", name, text)
		}
		numbers = append(numbers, k)
	}
	return numbers, nil
}

func (rd *read) parseBounds(kind bound, text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		p, at, _ := strings.Cut(part, ":")
		partition, err := strconv.ParseInt(p, 10, 32)
		position, err2 := strconv.ParseInt(at, 10, 64)
		if err != nil || err2 != nil || partition < 0 || position < 0 {
			return badRequest("%s=%q are not PARTITION:POSITION", kind.kind(), text)
		}
		kind.partition, kind.position = int32(partition), position
		rd.bounds = append(rd.bounds, kind)
	}
	return nil
}

// pick are the views that the read may use: of the lanes that it asks for, and no standby's unless
// it says so.
func (rd *read) pick(views []LaneView) ([]LaneView, error) {
	mayUse := func(v LaneView) bool { return v.Role() != RoleStandby || rd.stale && v.Store != nil }
	if rd.lanes == nil {
		return slices.DeleteFunc(views, func(v LaneView) bool { return !mayUse(v) }), nil
	}
	picked := make([]LaneView, 0, len(rd.lanes))
	for _, k := range rd.lanes {
		i := slices.IndexFunc(views, func(v LaneView) bool { return v.Lane == k })
		if i < 0 || !mayUse(views[i]) {
			return nil, rd.notOwner("lane " + strconv.Itoa(k) + " is not this node's")
		}
		picked = append(picked, views[i])
	}
	return picked, nil
}

// roleOf is the role of a view that is about to be read. It was picked as an owner's, and may have
// been given away since.
func (rd *read) roleOf(v LaneView) (Role, error) {
	role := v.Role()
	if role == RoleStandby && !rd.stale {
		return role, rd.notOwner(fmt.Sprintf("lane %d is not this node's any more", v.Lane))
	}
	return role, nil
}

func (rd *read) notOwner(why string) *Error {
	return &Error{Status: http.StatusMisdirectedRequest, Code: CodeNotOwner, Message: "app " + rd.app.Name + ": " + why,
		Next: "ask without local=true: any node answers any question"}
}
