package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tally-kafka/tally/state"
)

// read is one query on its way: what it asks of the state before it may be answered.
type read struct {
	s        *Server
	app      *App
	bounds   []bound
	begun    time.Time
	deadline time.Time
	// allowed says why who asks may not do so any more.
	allowed func() error
	// fresh asks for what the input held when the question came; freshUntil bounds that wait.
	fresh      bool
	freshUntil time.Time
	stale      bool // standbys answer too
	// prove waits, where there are no values, for the proof of that; proving is what a second round
	// of questions to other nodes does, a while at a time.
	prove, proving bool

	// local: another node asks for these lanes of this one, or this one for its own; nil are all
	// that it has.
	local bool
	lanes []int

	ends ends // of Source: see prove.go

	// Of an app of two stages: the ends of the input. Of who asks other nodes beside that: what the
	// lanes say that read the input, whether all that there was at the question is read, how far
	// the source has what was read, and by lane how far it had what the lane had to read.
	inputEnds   ends
	input       *inputRead
	inputProved bool
	soft        map[int32]int64
	sent        map[int]map[int32]int64
}

// beginRead finds the app and reads what all queries have in common. more is what this one's query
// may say besides.
func (s *Server) beginRead(r *http.Request, more ...string) (*read, error) {
	q, err := readQuery(r, more...)
	if err != nil {
		return nil, err
	}
	wait, err := s.parseWait(q.Get("wait"))
	if err != nil {
		return nil, err
	}
	began := s.opt.Seam.Now()
	app, err := s.awaitApp(r.Context(), r.PathValue("app"), q.Get("local") == "true", began.Add(wait))
	if err != nil {
		return nil, err
	}
	rd := &read{s: s, app: app, begun: began, deadline: began.Add(wait)}
	if rd.bounds, err = rd.tokenBounds(r.Context(), q.Get("min_position")); err != nil {
		return nil, err
	}
	for _, text := range q["after"] {
		b, err := parseAfter(rd.app, text)
		if err != nil {
			return nil, err
		}
		rd.bounds = append(rd.bounds, b)
	}
	if rd.stale, err = parseBool(q, "stale"); err != nil {
		return nil, err
	}
	if rd.fresh, err = parseBool(q, "fresh"); err != nil {
		return nil, err
	}
	if err := rd.parseLocal(r, q); err != nil {
		return nil, err
	}
	rd.allowed = func() error { return s.authorize(r, rd.scope()) }
	if rd.fresh {
		rd.freshUntil = rd.begun.Add(min(wait, s.opt.FreshWait))
		rd.look()
	}
	return rd, nil
}

// scope is who may ask so.
func (rd *read) scope() scope {
	if rd.local {
		return scopeNode
	}
	return scopeRead
}

func (s *Server) parseWait(text string) (time.Duration, error) {
	if text == "" {
		return s.opt.WaitDefault, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > s.opt.WaitMax {
		return 0, badRequest("wait=%q is not a duration from 0s to %s, for example 500ms", text, s.opt.WaitMax)
	}
	return d, nil
}

// awaitApp finds an app by name. One that the cluster has and this node has not opened is answered
// by others, and waited for until late only where this node's own lanes are asked for. A node that
// has just started knows none before it is in its cluster again: what it does not know is unknown
// only then.
func (s *Server) awaitApp(ctx context.Context, name string, local bool, late time.Time) (*App, error) {
	for settled := s.opt.Cluster == nil; ; {
		app, err := s.app(name)
		switch {
		case err == nil:
			return app, nil
		case !notOpen(err) && !settled:
			if err := s.settle(ctx, late); err != nil {
				return nil, err
			}
			settled = true
			continue
		case !notOpen(err):
			return nil, err
		}
		if !local {
			if app := s.opt.Cluster.Listed(name); app != nil {
				return app, nil
			}
		}
		if !s.opt.Seam.Now().Before(late) || s.opt.Seam.Sleep(ctx, openPause) != nil {
			return nil, err
		}
	}
}

// settle waits, until late at most, for this node's place in the cluster.
func (s *Server) settle(ctx context.Context, late time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(0, late.Sub(s.opt.Seam.Now())))
	defer cancel()
	return s.opt.Cluster.Settled(ctx)
}

// openPause is how long a read waits until it looks again whether its app is open.
const openPause = 20 * time.Millisecond

// notOpen says whether the cluster has an app that is not open at this node.
func notOpen(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeNotReady
}

// app finds an app by name.
func (s *Server) app(name string) (*App, error) {
	var known []string
	for _, a := range s.node.Apps() {
		if a.Name == name {
			return a, nil
		}
		known = append(known, a.Name)
	}
	if s.opt.Cluster != nil && s.opt.Cluster.Place(name) != nil {
		return nil, &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
			Message: fmt.Sprintf("app %q is not open at this node", name), Next: "`tally status` says why"}
	}
	e := &Error{Status: http.StatusNotFound, Code: CodeUnknownApp,
		Message: fmt.Sprintf("this node has no app %q", name), Next: "it has " + strings.Join(known, ", ")}
	if len(known) == 0 {
		e.Next = "it has none yet: `tally submit FILE`"
	}
	return nil, e
}

// views waits until the lanes are loaded and have reached what the query asks for.
func (rd *read) views(ctx context.Context) ([]LaneView, error) {
	views, err := rd.pick(rd.app.Lanes())
	for ; ; views, err = rd.pickNow() {
		if err != nil {
			return nil, err
		}
		why := rd.missing(views)
		if why == nil && rd.freshEnough(views) {
			return views, nil
		}
		for _, v := range views {
			if v.Hurry != nil {
				v.Hurry()
			}
		}
		if err := rd.pause(ctx, why); err != nil {
			return nil, err
		}
	}
}

// look asks for the input's end anew: what proves that an answer is fresh, or that there is none.
func (rd *read) look() {
	if rd.app.Look != nil {
		rd.app.Look()
	}
}

// freshEnough reports whether all that the input held when the question came is counted, or the
// wait for it is over: then the answer says its lag.
func (rd *read) freshEnough(views []LaneView) bool {
	if !rd.waitsForFresh() {
		return true
	}
	if !rd.softReached(views) {
		return false
	}
	enough := true
	for _, v := range views {
		for _, t := range v.Tasks {
			rd.noteEnd(v, t)
			enough = enough && rd.ends.passed(t.Partition, position(v, t))
		}
	}
	if !enough {
		rd.look()
	}
	return enough
}

func (rd *read) waitsForFresh() bool {
	return rd.fresh && rd.left() > 0 && rd.s.opt.Seam.Now().Before(rd.freshUntil)
}

// softReached reports whether the views have what the first stage had sent.
func (rd *read) softReached(views []LaneView) bool {
	for i := range rd.bounds {
		if b := &rd.bounds[i]; b.soft && rd.reached(views, b) != nil {
			return false
		}
	}
	return true
}

// pause waits a moment before another try; at the deadline it returns why.
func (rd *read) pause(ctx context.Context, why error) error {
	left := rd.left()
	if left <= 0 {
		return why
	}
	if _, err := rd.reopened(); err != nil {
		return err
	}
	return rd.s.opt.Seam.Sleep(ctx, min(left, rd.pollInterval()))
}

// reopened is the app as it is open now, which after a change of its spec is not the one that the
// read began with. It fails where the app was deleted, and where the counts are of another
// generation, or of another app of the name.
func (rd *read) reopened() (*App, error) {
	now, err := rd.s.app(rd.app.Name)
	if notOpen(err) { // it is just being opened, or this node cannot
		if now, err = rd.s.opt.Cluster.Listed(rd.app.Name), nil; now == nil || now.ID == rd.app.ID && now.Generation == rd.app.Generation {
			return rd.app, nil
		}
	}
	switch {
	case err != nil:
		return nil, err
	case now.ID != rd.app.ID:
		return nil, &Error{Status: http.StatusConflict, Code: CodeConflict,
			Message: fmt.Sprintf("app %s was deleted meanwhile, and another has its name", now.Name), Next: "ask again"}
	case now.Generation != rd.app.Generation:
		return nil, &Error{Status: http.StatusConflict, Code: CodeConflict,
			Message: fmt.Sprintf("app %s was reset meanwhile (generation %d)", now.Name, now.Generation), Next: "ask again"}
	}
	return now, nil
}

// pickNow picks of the lanes of the app as it is open now.
func (rd *read) pickNow() ([]LaneView, error) {
	now, err := rd.reopened()
	if err != nil {
		return nil, err
	}
	return rd.pick(now.Lanes())
}

// pollMost bounds how long a read that waits may miss what it waits for.
const pollMost = 250 * time.Millisecond

// pollInterval is the time until the next look: a twentieth of what a read has waited already, so
// that a thousand reads which wait for what does not come are no burden to who counts.
func (rd *read) pollInterval() time.Duration {
	waited := rd.s.opt.Seam.Now().Sub(rd.begun)
	return max(rd.s.opt.PollInterval, min(waited/20, pollMost))
}

// left is what remains of the wait, and waited what is over of it, for people.
func (rd *read) left() time.Duration { return rd.deadline.Sub(rd.s.opt.Seam.Now()) }

func (rd *read) waited() time.Duration {
	return rd.s.opt.Seam.Since(rd.begun).Round(10 * time.Millisecond)
}

// missing says what is still to wait for; nil when the query can be answered.
func (rd *read) missing(views []LaneView) error {
	if err := rd.unloaded(views); err != nil {
		return err
	}
	for i := range rd.bounds {
		if b := &rd.bounds[i]; !b.soft {
			if err := rd.reached(views, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (rd *read) unloaded(views []LaneView) error {
	if len(views) == 0 {
		return rd.notReady("this node runs no lane of app " + rd.app.Name + " yet")
	}
	for _, v := range views {
		if v.Store == nil {
			return rd.notReady(fmt.Sprintf("lane %d of app %s is not loaded (%s)", v.Lane, rd.app.Name, v.Why))
		}
	}
	return nil
}

func (rd *read) notReady(what string) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeNotReady,
		Message: fmt.Sprintf("%s; waited %s", what, rd.waited()), Next: "see `tally status`, or ask with a longer --wait"}
}

func (rd *read) reached(views []LaneView, b *bound) error {
	if b.input {
		return rd.through(views, b)
	}
	at, known := int64(0), []int32(nil)
	for _, v := range views {
		for _, t := range v.Tasks {
			known = append(known, t.Partition)
			if t.Partition == b.partition {
				at = position(v, t)
			}
		}
	}
	if !slices.Contains(known, b.partition) && b.carried { // another node has counted it: it is to come
		return rd.notReady(fmt.Sprintf("app %s reads no partition %d of %s here yet, of which the token says a position",
			rd.app.Name, b.partition, rd.app.Source))
	}
	if !slices.Contains(known, b.partition) {
		return badRequest("app %s reads no partition %d of %s here: the lanes of this node read %v", rd.app.Name, b.partition, rd.app.Source, known)
	}
	if at >= b.position {
		return nil
	}
	return rd.late(fmt.Sprintf("%s is counted up to offset %d, and %d was asked for",
		sourceName(rd.app, b.partition), at-1, b.position-1))
}

// through waits for a position in the input of an app of two stages: first until the stage that
// reads it has come there, then until the other has counted all that the first one's lane had sent
// by then.
func (rd *read) through(views []LaneView, b *bound) error {
	if err := rd.readThrough(views, b); err != nil {
		return err
	}
	for _, v := range views {
		for _, t := range v.Tasks {
			if at := position(v, t); at < b.sent[t.Partition] {
				return rd.late(fmt.Sprintf("%s is counted up to offset %d, and what %s/%d has up to offset %d lies below %d",
					sourceName(rd.app, t.Partition), at-1, rd.app.Input, b.partition, b.position-1, b.sent[t.Partition]))
			}
		}
	}
	return nil
}

// readThrough is the first half of through: it notes how far the lane had sent when it was there.
func (rd *read) readThrough(views []LaneView, b *bound) error {
	if b.sent != nil {
		return nil
	}
	var known []int32
	for _, v := range views {
		known = append(known, v.Inputs...)
		if !slices.Contains(v.Inputs, b.partition) {
			continue
		}
		if v.Role() == RoleStandby {
			return rd.late(fmt.Sprintf("a standby answers for %s/%d, and does not know how far it was sent on", rd.app.Input, b.partition))
		}
		if at := v.Read(b.partition); at < b.position {
			return rd.late(fmt.Sprintf("%s/%d is read up to offset %d, and %d was asked for", rd.app.Input, b.partition, at-1, b.position-1))
		}
		b.sent = map[int32]int64{}
		for q := range int32(rd.app.Repartitions) {
			b.sent[q] = v.Sent(q)
		}
		return nil
	}
	slices.Sort(known)
	return badRequest("app %s reads no partition %d of %s here: the lanes of this node read %v", rd.app.Name, b.partition, rd.app.Input, known)
}

func (rd *read) late(what string) *Error {
	return &Error{Status: http.StatusGatewayTimeout, Code: CodeTimeout,
		Message: fmt.Sprintf("%s; waited %s", what, rd.waited()), Next: "see `tally status`, or ask with a longer --wait"}
}

// position is the offset below which everything is in the store. The read position is taken before
// the store's own, and either is true of a read of the store that comes after both.
func position(v LaneView, t state.Task) int64 {
	in := v.Input(t.Partition)
	if pos, ok := v.Store.Position(t); ok {
		in = max(in, pos.Record.Input)
	}
	return in
}

// newPart describes a task. roleBefore was asked before the read; the copy is an owner's only if it
// was one before and after.
func (rd *read) newPart(v LaneView, t state.Task, input int64, roleBefore Role) Part {
	role := v.Role()
	if role != roleBefore {
		role = RoleUnsure
	}
	asOf := v.AsOfMs() // before the lag: a look between the two must not prove an older lag
	lag := v.Lag(t.Partition)
	if v.Input != nil { // the lag is of where the lane is by now, and the answer of where it was
		lag += max(v.Input(t.Partition)-input, 0)
	}
	return Part{
		Partition: t.Partition, Lane: v.Lane, Node: v.Node, Role: role, Epoch: v.Epoch,
		Position: map[string]int64{sourceName(rd.app, t.Partition): input},
		Lag:      lag, AsOfMs: asOf,
	}
}

// finishParts orders the parts as people look for them.
func finishParts(parts []Part) []Part {
	slices.SortFunc(parts, func(a, b Part) int { return int(a.Partition - b.Partition) })
	return parts
}

// parseCount reads a number of things from 1 to limit.
func parseCount(name, text string, def, limit int) (int, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, badRequest("%s=%q is not a number from 1 to %d", name, text, limit)
	}
	return n, nil
}

// retryable says whether a failed read may succeed with new views: the store was closed because the
// lane moved or began anew.
func retryable(err error) bool {
	var e *Error
	return !errors.As(err, &e) && !errors.Is(err, context.Canceled)
}
